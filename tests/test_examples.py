"""Every example runs from the command line; a few steps here, all in `make demo`."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*arguments: object, script: str = "mnist_cnn") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, f"examples/{script}.py", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )


QUICK = ("--steps", 2, "--epochs", 1, "--batch-size", 32)


@pytest.mark.slow
def test_mnist_cnn_writes_all_that_it_promises(tmp_path):
    done = run("--run-dir", tmp_path / "run", *QUICK)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["dataset"] == "digits"
    assert 0 <= metrics["test_acc"] <= 1
    assert metrics["steps"] == 2
    rows = list(csv.DictReader((tmp_path / "run/history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1"]
    for name in ("curves", "confusion_matrix", "worst_mistakes"):
        picture = tmp_path / f"run/{name}.png"
        assert picture.read_bytes().startswith(b"\x89PNG"), name
    assert (tmp_path / "run/final_model").is_dir()

    again = run("--run-dir", tmp_path / "run", *QUICK)
    assert again.returncode != 0
    assert "give --resume to go on with it, --overwrite to replace it" in again.stderr


@pytest.mark.slow
def test_mnist_cnn_says_where_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run("--run-dir", tmp_path / "file/run", *QUICK)
    assert done.returncode != 0
    assert "mnist_cnn: cannot write to the run folder" in done.stderr


def test_mnist_cnn_knows_its_data_sets():
    done = run("--dataset", "imagenet")
    assert done.returncode != 0
    assert "digits" in done.stderr + done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("distortion", "transform"), [("rts", "affine"), ("e", "tps"), ("tc", "attention")]
)
def test_spatial_transformer_writes_all_that_it_promises(
    distortion, transform, tmp_path
):
    done = run(
        *("--run-dir", tmp_path, "--steps", 2, "--batch-size", 16, "--test-size", 20),
        *("--distortion", distortion, "--transform", transform),
        *("--models", "cnn_stride", "st_fcn"),
        script="spatial_transformer",
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert [row["model"] for row in results] == ["cnn_stride", "st_fcn"]
    assert all(0 <= row["error_percent"] <= 100 for row in results)
    for name in ("robustness.png", "st_fcn_alignment.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG"), name
    assert (tmp_path / "st_fcn_training.gif").read_bytes().startswith(b"GIF8")
