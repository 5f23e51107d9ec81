"""200 steps in one go, and 200 steps with a SIGKILL in between: the same bits."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def job(directory, *options):
    directory.mkdir(exist_ok=True)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "tests.train.resume_job", str(directory), *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def result(directory):
    with np.load(directory / "result.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("uninterrupted")
    done = job(directory)
    assert done.returncode == 0, done.stderr
    arrays = result(directory)
    assert arrays["state.step"] == 200
    assert {name.split(".")[1] for name in arrays if name.startswith("state.")} == {
        *("step", "params", "model_state", "opt_state", "key", "nonfinite")
    }
    return arrays


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kill", "taken"),
    [
        # In the middle of an epoch, fifty steps after the last checkpoint within one.
        (("--kill-step", "137"), "epoch_0009"),
        # Epochs end at 15, 30, 45; checkpoint 4 is that of step 50.
        (("--kill-checkpoint", "4-arrays"), "epoch_0003"),
        (("--kill-checkpoint", "4-manifest"), "epoch_0003"),
        # Written whole and not renamed yet: complete, so it is taken.
        (("--kill-checkpoint", "4-rename"), "step_00000050"),
    ],
)
def test_killed_and_resumed_gives_the_same_bits(tmp_path, uninterrupted, kill, taken):
    killed = job(tmp_path, *kill)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "result.npz").exists()
    resumed = job(tmp_path, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert f"taken={taken}" in resumed.stdout
    arrays = result(tmp_path)
    assert arrays.keys() == uninterrupted.keys()
    for name, expected in uninterrupted.items():
        assert arrays[name].dtype == expected.dtype
        assert arrays[name].tobytes() == expected.tobytes(), name
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    epochs = uninterrupted["history.epochs"]
    assert [int(row["epoch"]) for row in rows] == epochs.tolist()
    losses = [float(row["loss"]) for row in rows]
    assert losses == uninterrupted["history.loss"].tolist()
