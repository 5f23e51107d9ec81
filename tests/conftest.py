"""Settings that every test runs under. They stand before jax starts its backend."""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import numpy as np
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that differ from test to test and stay the same from run to run."""
    seed = [ord(letter) for letter in request.node.name]
    return np.random.default_rng(seed)


@pytest.fixture
def x64():
    """Run the test with 64-bit types switched on."""
    with jax.enable_x64(True):
        yield
