"""What a checkpoint holds of a fit, and how a fit goes on from it."""

import errno
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.train._callbacks import CallbackList
from jaxnets.train._checkpoint import Checkpoint, newest_checkpoint
from jaxnets.train._checkpoint_files import library_versions, read_host
from jaxnets.train._facts import check_facts
from jaxnets.train._fit import FitRun
from jaxnets.train._flatten import flatten
from jaxnets.train._history import History
from jaxnets.train._run_lock import RunLock

logger = logging.getLogger("jaxnets.train")

PLACE = ("epoch", "step", "step_in_epoch", "skipped", "seconds", "stopped")


def snapshot(run: FitRun) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a checkpoint holds beside the trainer's state: arrays, and the rest."""
    arrays: dict[str, Any] = {}
    callbacks: dict[str, Any] = {}
    for name, callback in run.callbacks.names().items():
        callbacks[name] = {}
        for key, value in callback.state_dict().items():
            if isinstance(value, jax.Array | np.ndarray):
                arrays[f"callbacks.{name}.{key}"] = value
            else:
                callbacks[name][key] = value
    fit = {name: getattr(run, name) for name in (*PLACE, "learning_rate")}
    fit |= {"facts": facts(run), "totals": None}
    if run.tally is not None:
        fit["totals"] = run.tally.totals.tolist()
        arrays |= flatten(run.tally.counts, "counts")
    return arrays, {
        "fit": fit,
        "history": run.history.to_json(),
        "callbacks": callbacks,
    }


def facts(run: FitRun) -> dict[str, Any]:
    """What must be the same when this fit is resumed."""
    validation = {} if run.validation is None else run.validation.facts()
    return {
        **run.source.facts(),
        "validation size": validation.get("data size"),
        "validation data": validation.get("data"),
        "validation weights": validation.get("weights"),
        **run.engine.facts(),
    }


@contextmanager
def locked(
    folder: str | os.PathLike[str] | None, callbacks: CallbackList, owner: Any
) -> Iterator[Path | None]:
    """The folder to resume from, locked if there is one that can be written to."""
    directory = None if folder is None else resume_folder(folder, callbacks)
    lock = None
    if directory is not None and directory.is_dir():
        try:
            lock = RunLock.take(directory, owner)
        except OSError as error:
            # A folder that cannot be written to needs no lock to be read.
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
    try:
        yield directory
    finally:
        if lock is not None:
            lock.release()


def resume_folder(folder: str | os.PathLike[str], callbacks: CallbackList) -> Path:
    """The folder that `resume` means."""
    if folder != "auto":
        return Path(folder)
    for callback in callbacks.callbacks:
        if isinstance(callback, Checkpoint):
            return callback.directory
    raise ValueError(
        "fit: resume='auto' takes the folder of a Checkpoint callback; got no such "
        "callback (give one, or the folder)"
    )


def restore(
    run: FitRun, directory: Path, *, required: bool, allow: Iterable[str] = ()
) -> None:
    """Go on from the newest complete checkpoint of a folder.

    Args:
        run: the fit, before its first step.
        directory: the folder.
        required: whether it is an error if no checkpoint is complete.
        allow: which facts may differ.
    """
    path, meta, resumed = newest_checkpoint(directory, required=required)
    if path is None:
        run.history.resumed = resumed
        return
    host = read_host(path)
    if "fit" not in host:
        raise ValueError(
            f"fit: resume needs a checkpoint of a fit; {path} has a model alone "
            "(use Trainer.load)"
        )
    fit = host["fit"]
    run.engine.check(path, meta)
    changed = check_facts(
        str(path),
        fit["facts"],
        _comparable(facts(run)),
        allow=allow,
        in_epoch=fit["step_in_epoch"] > 0,
        same_libraries=meta["libraries"] == library_versions(),
    )
    for name, (old, new) in changed.items():
        logger.warning("resume: %s is %s, it was %s", name, new, old)
    flat = run.engine.restore(path, meta)
    begun = {name.split(".")[-1] for name in changed if name.startswith("optimizer.")}
    if begun:
        run.engine.begin_hyperparameters(begun)
    for name in (*PLACE, "learning_rate", "totals"):
        setattr(run, name, fit[name])
    run.counts = {name: flat[name] for name in flat if name.startswith("counts.")}
    run.history = History.from_json(host["history"])
    run.history.resumed = resumed
    _restore_callbacks(run.callbacks, host["callbacks"], flat)


def _comparable(now: dict[str, Any]) -> dict[str, Any]:
    # The checkpoint has the facts of the first process; data may differ in the others.
    if jax.process_index() == 0:
        return now
    return {name: value for name, value in now.items() if "data" not in name}


def _restore_callbacks(
    callbacks: CallbackList, saved: dict[str, Any], flat: dict[str, Any]
) -> None:
    for name, callback in callbacks.names().items():
        if name in saved:
            prefix = f"callbacks.{name}."
            arrays = {
                key.removeprefix(prefix): jnp.asarray(value)
                for key, value in flat.items()
                if key.startswith(prefix)
            }
            callback.load_state_dict({**saved[name], **arrays})
