"""A full disk and a limit on file sizes: one error that names the path."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from jaxnets import train
from jaxnets.train import _checkpoint_files
from jaxnets.train._checkpoint_files import find_checkpoints
from tests.train.networks import blobs, linear_trainer

ROOT = Path(__file__).parents[2]

# What Orbax raises when a disk is full.
ORBAX = (
    'RESOURCE_EXHAUSTED: Error writing "state.step/0" in OCDBT database: Failed to '
    "write 725410 bytes to file 4: No space left on device [os_error_code='28']"
)

LIMITED = """
import resource, sys
from jaxnets import train
from tests.train.networks import blobs, small_trainer
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
x, y = blobs(20)
try:
    small_trainer().fit(x, y, callbacks=[train.Checkpoint(sys.argv[1])], verbose=False)
except OSError as error:
    print(type(error).__name__, error.errno, error, error.filename, sep="|")
    print(error.__suppress_context__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [300, 1500, 4000])
def test_a_limit_on_file_sizes_is_one_error(tmp_path, limit):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "run"), str(limit)],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    kind, number, message, name = done.stdout.splitlines()[0].split("|")
    assert (kind, int(number)) == ("OSError", errno.EFBIG)
    assert "save: a file is larger than this process may write" in message
    assert "ulimit -f" in message
    assert name == str(tmp_path / "run" / "epoch_0001")
    assert done.stdout.splitlines()[1] == "True"
    # Neither Orbax's log nor "Event loop is closed".
    assert done.stderr == ""
    # Writes that were under way may have left files; none is taken for a checkpoint.
    assert find_checkpoints(tmp_path / "run")[0] == []
    run = tmp_path / "run"
    linear_trainer().fit(*blobs(20), callbacks=[train.Checkpoint(run)])
    assert os.listdir(run) == ["epoch_0001"]


@pytest.mark.parametrize("kind", ["orbax", "file", "quota"])
def test_a_full_disk_names_the_path_and_what_to_do(tmp_path, monkeypatch, kind):
    x, y = blobs(20)
    trainer = linear_trainer()
    trainer.fit(x, y, callbacks=[train.Checkpoint(tmp_path)])

    def fail(*args, **options):
        if kind == "orbax":
            raise ValueError(ORBAX)
        # The standard library names no file when a write fails.
        raise OSError(errno.EDQUOT if kind == "quota" else errno.ENOSPC, "bare")

    owner, name = {
        "orbax": (_checkpoint_files.ocp.StandardCheckpointer, "save"),
    }.get(kind, (Path, "write_bytes"))
    monkeypatch.setattr(owner, name, fail)
    message = r"save: the disk or quota is full: .* MB are to be written.*free space"
    with pytest.raises(OSError, match=message) as caught:
        trainer.fit(x, y, epochs=2, callbacks=[train.Checkpoint(tmp_path)])
    assert caught.value.errno == errno.EDQUOT if kind == "quota" else errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "epoch_0001")
    # What was written of it is gone, the older checkpoint is not.
    assert os.listdir(tmp_path) == ["epoch_0001"]
    monkeypatch.undo()
    assert linear_trainer().load(tmp_path / "epoch_0001")


def test_other_errors_keep_their_reason(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise OSError(errno.EIO, "bare")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match=r"save: the files cannot be written \(Input"):
        linear_trainer().save(tmp_path / "model")

    def wrong(*args, **options):
        raise RuntimeError("not of the system")

    monkeypatch.setattr(Path, "write_bytes", wrong)
    with pytest.raises(RuntimeError, match="not of the system"):
        linear_trainer().save(tmp_path / "model")


def test_a_full_disk_under_the_csv_logger(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "history.csv"

    def lower(trainer, logs):
        resource.setrlimit(resource.RLIMIT_FSIZE, (30, limit[1]))

    x, y = blobs(20)
    try:
        with pytest.raises(OSError, match="CSVLogger: a file is larger") as caught:
            linear_trainer().fit(
                x, y, epochs=3, callbacks=[train.CSVLogger(path), lower]
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert caught.value.filename == str(path)
