"""One run a folder: a second one is refused, and a lock left by a kill is not."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jaxnets import train
from jaxnets.train import _run_lock
from jaxnets.train._checkpoint_files import find_checkpoints
from jaxnets.train._run_lock import RunLock
from tests.train.networks import blobs, linear_trainer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def holder(tmp_path):
    """Another process in the middle of a fit in `tmp_path / "run"`."""
    job = subprocess.Popen(
        [sys.executable, "-m", "tests.train.lock_job", str(tmp_path / "run")],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert job.stdout is not None
        assert job.stdout.readline() == "holding\n"
        yield job
    finally:
        job.kill()
        job.communicate()


def fit(directory, **options):
    x, y = blobs(20)
    callbacks = [train.Checkpoint(directory)]
    return linear_trainer().fit(x, y, epochs=3, callbacks=callbacks, **options)


@pytest.mark.slow
def test_a_second_process_is_refused_until_the_first_ends(tmp_path, holder):
    run = tmp_path / "run"
    before = sorted(os.listdir(run))
    message = (
        rf"in use by process {holder.pid} on {re.escape(socket.gethostname())} since 20"
        r".*overwrite each other's checkpoints .*folder of its own"
    )
    for options in ({}, {"resume": run}, {"resume": "auto"}):
        with pytest.raises(BlockingIOError, match=message) as caught:
            fit(run, **options)
        assert caught.value.filename == str(run)
    assert sorted(os.listdir(run)) == before == [".lock", "epoch_0001"]
    holder.communicate(input="")
    assert holder.returncode == 0
    assert sorted(os.listdir(run)) == ["epoch_0001", "epoch_0002", "epoch_0003"]
    assert fit(run, resume=run).resumed.path == run / "epoch_0003"


@pytest.mark.slow
def test_a_lock_left_by_a_kill_is_taken_over(tmp_path, holder, caplog):
    run = tmp_path / "run"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (run / ".lock").exists()
    with caplog.at_level(logging.WARNING, logger="jaxnets.train"):
        history = fit(run, resume=run)
    assert f"took over the lock of process {holder.pid} on" in caplog.text
    assert history.resumed.path == run / "epoch_0001"
    assert not (run / ".lock").exists()


def test_the_lock_goes_with_the_fit_also_after_an_error(tmp_path):
    x, y = blobs(20)

    def fail(trainer, logs):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
        raise RuntimeError("on purpose")

    trainer = linear_trainer()
    # Two callbacks in one folder, and a resume from it, are one run.
    fit(tmp_path)
    pair = [train.Checkpoint(tmp_path), train.Checkpoint(tmp_path, pattern="last")]
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.fit(x, y, epochs=5, callbacks=[*pair, fail], resume=tmp_path)
    assert not (tmp_path / ".lock").exists()
    assert RunLock.held == {}
    with pytest.raises(ValueError, match="batch_size it began with"):
        fit(tmp_path, resume=tmp_path, batch_size=5)
    assert RunLock.held == {}


def test_another_trainer_of_the_same_process_is_refused(tmp_path):
    def nested(trainer, logs):
        with pytest.raises(BlockingIOError, match="another trainer of this process"):
            fit(tmp_path)

    x, y = blobs(20)
    linear_trainer().fit(x, y, callbacks=[train.Checkpoint(tmp_path), nested])


@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning")
def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    lock = RunLock(tmp_path, "parent")
    ready, wait = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(wait[1])
        os.write(ready[1], b"x")
        os.read(wait[0], 1)
        os._exit(len(RunLock.held))
    os.read(ready[0], 1)
    os.close(lock.descriptor)  # as if the parent had been killed
    RunLock.held.clear()
    RunLock(tmp_path, "other").release()
    os.close(wait[1])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("host", "alive", "refused"),
    [
        ("here", True, "in use by process 77 on .*delete .*lock"),
        ("here", False, None),
        ("elsewhere", False, "in use by process 77 on elsewhere .*delete"),
        ("", False, None),
    ],
)
def test_without_file_locks_the_record_decides(
    tmp_path, monkeypatch, host, alive, refused
):
    monkeypatch.setattr(_run_lock, "_flock", lambda path, descriptor: False)
    monkeypatch.setattr(_run_lock, "is_alive", lambda pid: alive)
    if host:
        host = socket.gethostname() if host == "here" else host
        record = json.dumps({"host": host, "pid": 77, "since": 1e9})
        (tmp_path / ".lock").write_text(record)
    if refused:
        with pytest.raises(BlockingIOError, match=refused):
            fit(tmp_path)
    else:
        assert len(fit(tmp_path)) == 3


def test_a_damaged_record_says_another_process(tmp_path):
    (tmp_path / ".lock").write_text("damaged")
    descriptor = os.open(tmp_path / ".lock", os.O_RDWR)
    assert _run_lock._flock(tmp_path / ".lock", descriptor)
    with pytest.raises(BlockingIOError, match="in use by another process;"):
        fit(tmp_path)
    os.close(descriptor)
    assert len(fit(tmp_path)) == 3


def test_a_folder_that_cannot_be_written_to_can_be_resumed_from(tmp_path, monkeypatch):
    fit(tmp_path)
    opened = os.open

    def read_only(path, flags, *mode):
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", path)
        return opened(path, flags, *mode)

    monkeypatch.setattr(_run_lock.os, "open", read_only)
    x, y = blobs(20)
    history = linear_trainer().fit(x, y, epochs=3, resume=tmp_path)
    assert history.resumed.path == tmp_path / "epoch_0003"


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    """A save without a fit has no lock; its name says whose it is."""
    fit(tmp_path)
    host = socket.gethostname()
    others = tmp_path / f".unfinished-epoch_0003~{host}-{os.getppid()}-0123abcd"
    (tmp_path / "epoch_0002").rename(others)
    dead = tmp_path / f".unfinished-epoch_0003~{host}-{2**22 + 1}-0123abcd"
    (tmp_path / "epoch_0001").rename(dead)
    good, bad = find_checkpoints(tmp_path)
    assert {path.name for path, _ in good} == {"epoch_0003", dead.name}
    assert bad == {others.name: "it is being written by a process that is running"}
    (tmp_path / "epoch_0003").rename(tmp_path / "aside")
    linear_trainer().save(tmp_path / "epoch_0003")
    assert sorted(os.listdir(tmp_path)) == [others.name, "aside", "epoch_0003"]
