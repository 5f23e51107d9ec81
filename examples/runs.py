"""What all examples do around a run: its folder, its settings, where it ran."""

import json
import platform
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax


def prepare(example: str, run_dir: Path, written: Iterable[str], config: Any) -> Path:
    """Make the run folder and note the settings, or say why it cannot be used.

    An earlier run's files (those named in `written`) are removed if `config.overwrite`
    is set, kept if it has a `resume` that is set, and a reason to stop otherwise.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "config.json").touch()
    except OSError as error:
        raise SystemExit(
            f"{example}: cannot write to the run folder: {error}"
        ) from error
    left = [name for name in written if (run_dir / name).exists()]
    if left and not getattr(config, "resume", False):
        if not config.overwrite:
            go_on = "--resume to go on with it, " if hasattr(config, "resume") else ""
            raise SystemExit(
                f"{example}: {run_dir} holds an earlier run ({', '.join(left)}); "
                f"give {go_on}--overwrite to replace it, or another --run-dir"
            )
        for name in left:
            path = run_dir / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    settings = {
        k: str(v) if isinstance(v, Path) else v for k, v in vars(config).items()
    }
    write_json(run_dir / "config.json", settings)
    return run_dir


def write_json(path: Path, content: Any) -> None:
    """Write JSON that people can read."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def environment() -> dict[str, Any]:
    """Versions and device, for metrics.json."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("jaxnets", "jax", "flax", "optax")},
        },
        "device": jax.devices()[0].device_kind,
    }
