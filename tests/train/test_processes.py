"""Two processes that each hold half of every batch train as NumPy does on all of it."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

ROOT = Path(__file__).parent.parent.parent


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
def test_processes_give_the_rows_of_their_own_devices(tmp_path):
    port, result = free_port(), tmp_path / "result.npz"
    command = [sys.executable, "-m", "tests.train.processes_job"]
    jobs = [
        subprocess.Popen(
            [*command, str(index), str(port), str(result)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        for job in jobs:
            _, errors = job.communicate(timeout=300)
            assert job.returncode == 0, errors
    finally:
        # One that fails leaves the other waiting for it.
        for job in jobs:
            job.kill()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((24, 5)).astype(np.float32)
    y = x.sum(axis=1, keepdims=True)
    # Gradient descent on the mean of (x w + b − y)², three batches, twice.
    w = np.asarray(nnx.Linear(5, 1, rngs=nnx.Rngs(0)).kernel[...], np.float64)
    b, losses = np.zeros(1), []
    for _ in range(2):
        for i in range(0, 24, 8):
            error = x[i : i + 8] @ w + b - y[i : i + 8]
            losses.append(np.mean(error**2))
            w = w - 0.1 * 2 * x[i : i + 8].T @ error / 8
            b = b - 0.1 * 2 * error.mean(0)
    got = np.load(result)
    np.testing.assert_allclose(got["kernel"], w, rtol=1e-4)
    np.testing.assert_allclose(
        got["loss"], [np.mean(losses[:3]), np.mean(losses[3:])], rtol=1e-4
    )
    np.testing.assert_allclose(got["score"], np.mean((x @ w + b - y) ** 2), rtol=1e-3)
