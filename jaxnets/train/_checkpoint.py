"""The callback that keeps checkpoints of a fit, and the way back from them."""

import json
import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxnets.functional._checks import check_integer
from jaxnets.train._callbacks import Callback, Logs, better, improves, monitored
from jaxnets.train._checkpoint_arrays import BadCheckpoint
from jaxnets.train._checkpoint_files import (
    find_checkpoints,
    remove_checkpoint,
    settle,
    verify_checkpoint,
)
from jaxnets.train._checkpoint_names import TEMPORARY, leftovers, writer_lives
from jaxnets.train._history import History
from jaxnets.train._run_lock import RunLock

logger = logging.getLogger("jaxnets.train")


class Resumed(NamedTuple):
    """Where a resumed fit went on.

    Attributes:
        path: the checkpoint that was taken, None if there was none yet.
        skipped: the folders that were left aside, and why.
    """

    path: Path | None
    skipped: dict[str, str]


class Checkpoint(Callback):
    """Save everything a fit needs to go on bit for bit, every epoch.

    While the fit runs, the folder is locked: a second run in it is refused.

    Args:
        directory: the folder of the checkpoints; it is made.
        pattern: a checkpoint's name; `{epoch}` (from 1) and `{step}` are filled in,
            and figures too: `"epoch_{epoch:03d}_{val_loss:.3f}"`.
        monitor: the figure that decides which checkpoint is the best.
        mode: "min", "max", or "auto" to tell from the name of `monitor`.
        best_only: save only when `monitor` is better than ever; NaN never is.
        keep: how many checkpoints stay; the oldest that this callback wrote go first.
            None keeps all.
        every_steps: save every so many steps as well, under `step_{step:08d}`.

    Raises:
        TypeError: if a number is not an integer.
        ValueError: if an argument is out of range or `best_only` lacks a monitor.
        BlockingIOError: before training, if another run uses the folder.
        OSError: before training, if the folder cannot be written to.

    Example:
        >>> callback = Checkpoint("runs/first", monitor="val_loss", best_only=True)
    """

    runs_last = True

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        pattern: str = "epoch_{epoch:04d}",
        monitor: str | None = None,
        mode: str = "auto",
        best_only: bool = False,
        keep: int | None = None,
        every_steps: int | None = None,
    ):
        if best_only and monitor is None:
            raise ValueError(
                "Checkpoint: best_only needs the figure to go by; got monitor=None "
                "(give monitor='val_loss')"
            )
        if keep is not None:
            keep = check_integer("Checkpoint", "keep", keep, minimum=1)
        if every_steps is not None:
            every_steps = check_integer(
                "Checkpoint", "every_steps", every_steps, minimum=1
            )
        self.directory = Path(directory)
        self.pattern = pattern
        self.monitor = monitor
        self.sign = 0 if monitor is None else better(monitor, mode, "Checkpoint")
        self.best_only = best_only
        self.keep = keep
        self.sync_every = every_steps
        self.best: float | None = None
        self.written: list[str] = []
        self.lock: RunLock | None = None

    def on_fit_begin(self, trainer: Any, history: History) -> None:
        """Make the folder, see that it can be written to, and lock it."""
        if not history.continues:
            self.best, self.written = None, []
        check_writable(self.directory)
        self.lock = RunLock.take(self.directory, trainer)

    def close(self) -> None:
        """Unlock the folder."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None

    def on_sync(self, trainer: Any, step: int, logs: Logs) -> None:
        """Save in the middle of an epoch."""
        self._save(trainer, f"step_{step:08d}")

    def on_epoch_end(self, trainer: Any, epoch: int, logs: Logs) -> None:
        """Save an epoch, or the best so far."""
        if self.monitor is not None:
            value = monitored(self.monitor, logs, "Checkpoint")
            if improves(value, self.best, self.sign):
                self.best = value
            elif self.best_only:
                return
        fields = {**logs, "epoch": epoch, "step": int(trainer.state.step)}
        try:
            name = self.pattern.format(**fields)
        except (KeyError, IndexError) as error:
            raise ValueError(
                f"Checkpoint: pattern {self.pattern!r} has the unknown field {error}; "
                f"there are {', '.join(fields)}"
            ) from None
        if Path(name).name != name or name.startswith("."):
            raise ValueError(
                "Checkpoint: what pattern gives must be the name of a folder; got "
                f"{name!r}"
            )
        self._save(trainer, name)

    def _save(self, trainer: Any, name: str) -> None:
        # Noted before it is written, so that the checkpoint knows of itself.
        self.written = [*(old for old in self.written if old != name), name]
        trainer.save_fit(self.directory / name)
        while self.keep is not None and len(self.written) > self.keep:
            remove_checkpoint(self.directory / self.written.pop(0))

    def state_dict(self) -> dict[str, Any]:
        """The best figure and the names of what was written."""
        return {"best": self.best, "written": json.dumps(self.written)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.best, self.written = state["best"], json.loads(state["written"])


def check_writable(directory: Path) -> None:
    """Make a folder and raise OSError unless files can be made in it."""
    probe = directory / f"{TEMPORARY}probe-{os.getpid()}"
    try:
        if jax.process_index() == 0:
            directory.mkdir(parents=True, exist_ok=True)
            probe.mkdir()
            probe.rmdir()
    except OSError as error:
        raise type(error)(
            error.errno,
            f"Checkpoint: the folder cannot be written to ({error.strerror}; choose "
            "another or free it)",
            str(directory),
        ) from error


def newest_checkpoint(
    directory: Path, *, required: bool = True
) -> tuple[Path | None, dict[str, Any], Resumed]:
    """Choose the checkpoint to resume from, and say so in the log.

    Args:
        directory: a folder of checkpoints.
        required: whether it is an error if none is complete.

    Returns:
        The newest complete checkpoint (None if there is none and none is required), its
        manifest, and what there is to tell about the choice.

    Raises:
        FileNotFoundError: if a checkpoint is required and there is no such folder.
        ValueError: if a checkpoint is required and none is complete.
    """
    if not directory.is_dir() and required:
        raise FileNotFoundError(
            f"fit: resume must be a folder of checkpoints; there is no {directory}"
        )
    good, bad = find_checkpoints(directory) if directory.is_dir() else ([], {})
    for name, reason in bad.items():
        logger.warning("resume: left aside %s: %s", directory / name, reason)
    if not good:
        if required:
            listed = "; ".join(f"{name}: {reason}" for name, reason in bad.items())
            raise ValueError(
                f"fit: no checkpoint in {directory} is complete: "
                f"{listed or 'there is none'} (leave out resume, or give "
                "resume='auto', to start anew)"
            )
        logger.warning("resume: no complete checkpoint in %s, starting anew", directory)
        return None, {}, Resumed(None, bad)
    path, meta = good[0]
    path = settle(path)
    logger.warning("resume: took %s (step %d)", path, meta["step"])
    return path, meta, Resumed(path, bad)


def checked(path: Path) -> tuple[Path, dict[str, Any]]:
    """One checkpoint and its manifest; a clear error if it is none.

    A complete one that a kill has left under its temporary name is renamed.
    """
    if not path.is_dir():
        path = _left_by_a_kill(path)
    try:
        meta = verify_checkpoint(path)
    except BadCheckpoint as error:
        raise BadCheckpoint(
            f"load: {path} is no complete checkpoint: {error}"
        ) from None
    try:
        return settle(path), meta
    except OSError:
        return path, meta  # read where it is if the folder cannot be written to


def _left_by_a_kill(path: Path) -> Path:
    """The newest complete folder that belongs to a checkpoint which is not there."""
    found, listed = [], ""
    for other in leftovers(path):
        if writer_lives(other):
            listed += f"; {other.name} is being written by a process that is running"
            continue
        try:
            found.append((verify_checkpoint(other)["written"], other))
        except BadCheckpoint as error:
            listed += f"; {other.name} is left of it: {error}"
    if not found:
        raise FileNotFoundError(f"load: there is no checkpoint {path}{listed}")
    newest = max(found)[1]
    logger.warning("load: %s was not renamed to its end, took %s", path, newest.name)
    return newest
