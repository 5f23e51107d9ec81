"""The examples of sequences: a few steps of each, and a kill in the middle of one."""

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import tyro

from jaxnets.train._checkpoint_files import read_arrays, verify_checkpoint
from tests.helpers import assert_close

ROOT = Path(__file__).parent.parent
EXAMPLES = ("char_rnn", "sequence_tasks", "forecast", "tagging")
# Small enough for seconds; 206 steps, checkpoints where passes neither begin nor end.
JOB = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, "examples")
import char_rnn

run_dir, resume, kill = Path(sys.argv[1]), sys.argv[2] == "resume", int(sys.argv[3])
write = char_rnn.Sample.on_sync

def on_sync(self, trainer, step, logs):
    if step == kill:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, trainer, step, logs)

char_rnn.Sample.on_sync = on_sync
char_rnn.main(char_rnn.Config(
    text=run_dir.parent / "text", cell="lstm", units=16, run_dir=run_dir,
    resume=resume, epochs=2, batch_size=4, length=16, checkpoint_every=40,
    sample_every=50, sample_length=40, patience=9,
))
"""


@pytest.fixture
def example(monkeypatch):
    """Imports an example by name, as the interpreter finds what lies beside it."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module


def metrics(run_dir: Path, pictures: tuple[str, ...]) -> dict:
    """What a run wrote, once all its pictures are there."""
    for name in pictures:
        content = (run_dir / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG"), name
    return json.loads((run_dir / "metrics.json").read_text())


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_header_and_the_help_say_what_there_is(example, name, capsys):
    module = example(name)
    assert f"python examples/{name}.py" in module.__doc__
    assert "Expected on 2 CPU cores" in module.__doc__
    with pytest.raises(SystemExit) as stopped:
        tyro.cli(module.Config, args=["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr()
    assert not shown.err
    for option in module.Config.__dataclass_fields__:
        assert f"--{option.replace('_', '-')}" in shown.out, option


@pytest.mark.slow
def test_char_rnn(example, tmp_path):
    char_rnn = example("char_rnn")
    config = char_rnn.Config(
        cell="gru",
        units=12,
        run_dir=tmp_path / "run",
        batch_size=4,
        length=16,
        steps=60,
        sample_every=25,
        sample_length=30,
    )
    result = char_rnn.main(config)
    assert result == metrics(tmp_path / "run", ("curves",))
    assert result["steps"] == 60
    assert 1 < result["val_loss"] < np.log(result["classes"])
    assert_close(
        np.array(result["val_bits"] * np.log(2)), np.array(result["val_loss"]), tol=1e-5
    )
    samples = sorted((tmp_path / "run/samples").iterdir())
    assert [path.name for path in samples] == [
        "step_00000025.txt",
        "step_00000050.txt",
    ]
    source = set((ROOT / "examples/char_rnn.py").read_text())
    for path in samples:
        text = path.read_bytes().decode()
        assert len(text) == 30
        assert set(text) <= source
    with pytest.raises(SystemExit, match=r"holds an earlier run .*give --resume"):
        char_rnn.main(config)


def job(run_dir: Path, *options: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", JOB, str(run_dir), *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def left(run_dir: Path) -> tuple[dict, list, dict]:
    """Arrays, history and samples that a run left."""
    model = run_dir / "final_model"
    arrays = read_arrays(model, verify_checkpoint(model), {})
    with (run_dir / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    samples = {p.name: p.read_text() for p in (run_dir / "samples").iterdir()}
    return arrays, rows, samples


@pytest.mark.slow
def test_char_rnn_killed_and_resumed_gives_the_same_bits(tmp_path):
    words = np.random.default_rng(0).choice(["to", "be", "or", "not"], 2500)
    (tmp_path / "text").write_text(" ".join(words))
    whole = job(tmp_path / "whole", "begin", "0")
    assert whole.returncode == 0, whole.stderr
    killed = job(tmp_path / "killed", "begin", "150")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "killed/metrics.json").exists()
    # A pass has 103 steps: step 120 lies in the second, where a state is carried.
    assert (tmp_path / "killed/checkpoints/step_00000120").is_dir()
    resumed = job(tmp_path / "killed", "resume", "0")
    assert resumed.returncode == 0, resumed.stderr
    assert "step_00000120 (step 120)" in resumed.stderr
    arrays, rows, samples = left(tmp_path / "killed")
    expected, expected_rows, expected_samples = left(tmp_path / "whole")
    assert arrays.keys() == expected.keys()
    assert any("carry" in name and np.any(expected[name]) for name in expected)
    for name, array in expected.items():
        if jax.numpy.issubdtype(array.dtype, jax.dtypes.prng_key):
            array = jax.random.key_data(array)
            arrays[name] = jax.random.key_data(arrays[name])
        assert np.asarray(arrays[name]).tobytes() == np.asarray(array).tobytes(), name
    assert rows == expected_rows
    assert samples == expected_samples


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"aaaa", "at least two characters"),
        (b"ab\xff\xfe" * 99, "must be UTF-8; byte 2 is 0xff"),
        (b"ab" * 4, r"--validation-split 0\.1 of 8 characters leaves 1"),
        (b"ab" * 99, r"one batch needs batch_size · length \+ 1 = 513 ids; got 178"),
    ],
)
def test_char_rnn_says_what_is_wrong_with_a_text(example, tmp_path, content, message):
    char_rnn = example("char_rnn")
    (tmp_path / "text").write_bytes(content)
    config = char_rnn.Config(text=tmp_path / "text", run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        char_rnn.main(config)
    # Nothing was begun.
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="--text and --data-dir exclude each other"):
        char_rnn.main(replace(config, data_dir=tmp_path))
    with pytest.raises(ValueError, match="--temperature must be above 0; got 0"):
        char_rnn.main(replace(config, temperature=0.0))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["adding", "copy", "digits"])
def test_sequence_tasks(example, tmp_path, task):
    tasks = example("sequence_tasks")
    # The quickest to compile, but for the LSTM, whose state is a pair.
    cells = ("rnn", "lstm") if task == "adding" else ("rnn",)
    config = tasks.Config(
        task=task,
        length=12,
        cells=cells,
        units=8,
        steps=30,
        batch_size=8,
        run_dir=tmp_path / "run",
    )
    result = tasks.main(config)
    assert result == metrics(tmp_path / "run", ("losses", "gradients"))
    assert tuple(result["cells"]) == cells
    for figures in result["cells"].values():
        assert 0 <= figures["figure"] <= 1
        assert all(norm > 0 for norm in figures["gradient_before"])
    with pytest.raises(ValueError, match="--length must be at least 2; got 1"):
        tasks.main(replace(config, length=1))


def test_the_gradient_by_step_is_that_of_the_states(example):
    """For a linear network with one unit it is known: w^(T − 1 − t) times the last."""
    tasks = example("sequence_tasks")
    task = example("tasks").adding(6)
    w = 0.5
    params = {
        "layer": tasks.F.RNNParams(np.zeros((2, 1)), np.full((1, 1), w)),
        "head": (np.ones((1, 1)), np.zeros(1)),
    }
    # All states are zero, where tanh is the identity; the outputs are zero.
    xs, targets = task.draw(jax.random.key(0), 5)
    norms = tasks.gradient_by_step("rnn", params, task, xs, targets)
    last = float(np.mean(2 * np.abs(np.asarray(targets))))
    expected = last * w ** np.arange(5.0, -1, -1)
    assert_close(norms, expected.astype(np.float32), tol=1e-6)


@pytest.mark.slow
def test_forecast(example, tmp_path):
    forecast = example("forecast")
    config = forecast.Config(
        units=8, context=12, horizon=30, stride=50, steps=20, run_dir=tmp_path / "run"
    )
    result = forecast.main(config)
    assert result == metrics(tmp_path / "run", ("curves", "forecast"))
    best = result["rmse"].pop("best possible")
    assert 1 < best < min(result["rmse"].values())
    assert result["rmse"]["season and hour"] < 4


@pytest.mark.slow
def test_tagging(example, tmp_path, monkeypatch):
    tagging = example("tagging")
    # Compiling all four takes 20 s.
    monkeypatch.setattr(tagging, "NETWORKS", {"flat": (1, 1), "deep": (2, 2)})
    config = tagging.Config(
        units=6, steps=5, sentences=50, batch_size=8, run_dir=tmp_path / "run"
    )
    result = tagging.main(config)
    grammar = example("grammar")
    assert result == metrics(tmp_path / "run", ("tagging",))
    assert set(result["networks"]) == {"flat", "deep"}
    assert result["networks"]["flat"]["accuracy"].keys() == set(grammar.CLASSES)


def test_the_language_is_what_it_says(example):
    """Each class's tag is a function of what is said to decide it, and of no less."""
    grammar = example("grammar")
    sentences = grammar.generate(0, 300)
    seen: dict[tuple, set] = {}
    for words, tags, kinds, length in zip(*sentences, strict=True):
        spoken = [grammar.VOCABULARY[i] for i in words[:length]]
        assert "" not in spoken
        assert not words[length:].any()
        assert not tags[length:].any()
        opener = None
        for t, word in enumerate(spoken):
            if word in grammar.OPENERS:
                opener = word
            if kinds[t] >= 0:
                closer = next(w for w in spoken[t:] if w in grammar.CLOSERS)
                name = grammar.CLASSES[kinds[t]]
                assert word in grammar.WORDS[name]
                for what in ((name, opener, closer), (name, opener), (name, closer)):
                    seen.setdefault(what, set()).add(grammar.TAGS[tags[t]])
    many = {what for what, tags in seen.items() if len(tags) > 1}
    assert many == {
        *(("both", mark) for mark in grammar.OPENERS + grammar.CLOSERS),
        *(("left", closer) for closer in grammar.CLOSERS),
        *(("right", opener) for opener in grammar.OPENERS),
    }


def test_no_forecast_beats_the_best(example):
    """Not even the same formula with the noise remembered a little more or less."""
    weather = example("weather")
    drawn = weather.generate(1, 40_000)
    now = np.arange(100, 39_900)
    truth = drawn.temperature[now[:, None] + np.arange(1, 25)]
    best = weather.best_forecast(drawn, now, 24)
    error = np.mean((best - truth) ** 2)
    for factor in (0.9, 1.1):
        mean = weather.cycles(now[:, None] + np.arange(1, 25), 0.0)
        other = mean + factor * (best - mean)
        assert error < np.mean((other - truth) ** 2)
    # The variance of the spells a day ahead, and of what the sky adds to it.
    share = 1 - weather.MOOD_MEMORY**48
    assert 0.9 < np.mean((best - truth)[:, -1] ** 2) / (9 * share + 1.125) < 1.1
