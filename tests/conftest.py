"""Settings that every test runs under. They stand before jax starts its backend."""

import os
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["KERAS_BACKEND"] = "jax"

import jax
import jaxtyping
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")

# Most of the suite's time goes into compiling, op by op, what did not change since the
# last run: thousands of programs of some milliseconds each.
CACHE = Path(__file__).parents[1] / ".pytest_cache" / "jax"
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

settings.register_profile(
    "jaxnets",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("jaxnets")


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Every worker would otherwise keep all programs of the suite, up to 10 GB."""
    yield
    jax.clear_caches()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that differ between tests and not between runs."""
    seed = [ord(letter) for letter in request.node.name]
    return np.random.default_rng(seed)


@pytest.fixture
def untyped():
    """Run the test without run-time checks of annotations, as users do."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def x64():
    """Run the test with 64-bit types switched on."""
    with jax.enable_x64(True):
        yield
