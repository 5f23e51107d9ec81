"""The benchmarks start: their imports and options hold. What they measure is theirs."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
COMMANDS = sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))

pytest.importorskip("equinox")
pytest.importorskip("keras")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_the_benchmark_does(name, monkeypatch, capsys):
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    first = module.__doc__.splitlines()[0].split(":")[0]
    assert first in shown
