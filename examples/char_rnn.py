"""Read a text a character at a time, guess the next one, and write more of it.

Karpathy's min-char-rnn grown up: vanilla RNN, LSTM or GRU over one-hot characters,
truncated back-propagation with the state carried from chunk to chunk, clipped
gradients, bits per character on the held-out tail, a sample of its own writing every so
often, and exact resume, state and place in the text included.

    python examples/char_rnn.py                            # learns its own source
    python examples/char_rnn.py --text FILE --cell gru     # any UTF-8 text
    python examples/char_rnn.py --data-dir DIR --batch-size 32 --epochs 10
                                                           # Tiny Shakespeare
    python examples/char_rnn.py --run-dir runs/a --resume  # go on where it ended

Expected on 2 CPU cores, shared with others: its own source: about 2.1 nats a character
in half a minute, and text that looks like Python. Tiny Shakespeare, LSTM 1 x 256: 1.575
nats (2.27 bits) a character on the last tenth after 10 passes, 4900 steps, in 19
minutes; below 1.75 after 3 of them, 1470 steps, in 6.5 minutes.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from char_model import CharRNN, read, write
from flax import nnx
from plots import save_curves
from runs import environment, prepare, write_json

from jaxnets import data, train
from jaxnets import functional as F

WRITTEN = (
    "history.csv",
    "metrics.json",
    "curves.png",
    "samples",
    "checkpoints",
    "final_model",
    "vocabulary.json",
)


@dataclass(frozen=True)
class Config:
    """Train a recurrent network to continue a text; write results to a folder.

    Args:
        text: UTF-8 file to learn, packed with gzip or not; else this script's source.
        data_dir: learn Tiny Shakespeare, from this folder.
        cell: which recurrent network.
        units: size of its state.
        layers: how many of them lie upon each other.
        run_dir: folder to write to; None takes runs/char_rnn_<cell>.
        resume: go on from the newest checkpoint of the run folder.
        overwrite: replace what an earlier run left in the run folder.
        epochs: passes over the text, at most.
        steps: stop after so many steps, for a quick look.
        batch_size: how many places of the text are read side by side.
        length: characters a chunk: gradients reach back no further.
        learning_rate: of Adam at the beginning; it falls along a cosine to a tenth.
        clip: largest norm of a gradient.
        patience: epochs without a lower validation loss before it stops.
        validation_split: share of the text to validate on, its tail.
        checkpoint_every: steps between checkpoints within an epoch.
        sample_every: steps between samples.
        sample_length: characters a sample.
        temperature: of the samples: below 1 safer, above 1 bolder.
        seed: of parameters and samples.
    """

    text: Path | None = None
    data_dir: Path | None = None
    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    units: int = 256
    layers: int = 1
    run_dir: Path | None = None
    resume: bool = False
    overwrite: bool = False
    epochs: int = 30
    steps: int | None = None
    batch_size: int = 8
    length: int = 64
    learning_rate: float = 3e-3
    clip: float = 1.0
    patience: int = 3
    validation_split: float = 0.1
    checkpoint_every: int = 200
    sample_every: int = 200
    sample_length: int = 400
    temperature: float = 0.8
    seed: int = 0


def evaluate(model: CharRNN, ids: np.ndarray) -> dict[str, float]:
    """Mean surprise over a text, read in order with the state carried along.

    It is read as a few streams side by side, 500 characters each or more, for speed;
    each begins knowing nothing, which costs less than 0.01 nats.
    """
    streams = min(32, max(1, len(ids) // 500))
    length = min(100, (len(ids) - 1) // streams)
    batches = data.StreamBatches(ids, batch_size=streams, length=length)
    carry, total = model.start(streams), jnp.zeros(())
    for x, y in batches:
        carry, loss = read(model, carry, x, y)
        total += loss
    count = len(batches) * streams * length
    bits = F.bits_per_character(total, count)
    return {"loss": float(total) / count, "bits": float(bits)}


class NewPass(train.Callback):
    """Forgets the state where the text begins again."""

    def __init__(self, steps: int):
        self.steps = steps

    def on_epoch_begin(self, trainer: train.Trainer, epoch: int) -> None:
        state = trainer.state
        # A resumed fit may begin in the middle of a pass.
        if int(state.step) % self.steps == 0:
            fresh = jax.tree.map(jnp.zeros_like, state.model_state)
            trainer.set_state(state._replace(model_state=fresh))


class Validate(train.Callback):
    """Adds the figures of the held-out tail to an epoch's."""

    def __init__(self, ids: np.ndarray):
        self.ids = ids

    def on_epoch_end(self, trainer: train.Trainer, epoch: int, logs: dict) -> None:
        figures = evaluate(trainer.model, self.ids)
        logs |= {f"val_{name}": value for name, value in figures.items()}
        shown = {k: f"{v:.4f}" for k, v in logs.items() if np.ndim(v) == 0}
        line = "  ".join(f"{name} {value}" for name, value in shown.items())
        print(f"epoch {epoch}  {line}", flush=True)


class Sample(train.Callback):
    """Writes a sample every so often, each to a file of its own."""

    def __init__(self, config: Config, vocabulary: data.Vocabulary, folder: Path):
        self.sync_every = config.sample_every
        self.config, self.vocabulary, self.folder = config, vocabulary, folder
        folder.mkdir(exist_ok=True)

    def on_sync(self, trainer: train.Trainer, step: int, logs: dict) -> None:
        key = jax.random.fold_in(jax.random.key(self.config.seed), step)
        text = sample(key, trainer.model, self.config, self.vocabulary)
        (self.folder / f"step_{step:08d}.txt").write_text(text)
        print(f"--- step {step}, loss {logs['loss']:.3f} ---\n{text}\n---", flush=True)


def sample(
    key: jax.Array, model: CharRNN, config: Config, vocabulary: data.Vocabulary
) -> str:
    """A text of the model's own, begun as if after the end of a line."""
    first = max(vocabulary.characters.find("\n"), 0)
    temperature = jnp.asarray(config.temperature)
    length = config.sample_length
    ids = write(key, model, jnp.asarray(first), temperature, length=length)
    return vocabulary.decode(ids)


def read_input(config: Config) -> str:
    """The text to learn."""
    if config.data_dir is not None:
        if config.text is not None:
            raise ValueError("--text and --data-dir exclude each other")
        return data.load_text("tinyshakespeare", data_dir=config.data_dir)
    return data.read_text(config.text or Path(__file__))


def main(config: Config) -> dict[str, Any]:
    """Train, validate, sample, save and draw; returns what metrics.json holds."""
    if config.temperature <= 0:
        raise ValueError(f"--temperature must be above 0; got {config.temperature}")
    text = read_input(config)
    vocabulary = data.Vocabulary.of(text)
    ids, tail = data.split_validation(vocabulary.encode(text), config.validation_split)
    if len(tail) < 2:
        raise ValueError(
            f"--validation-split {config.validation_split} of {len(text)} characters "
            f"leaves {len(tail)} to validate on, and 2 are needed"
        )
    batches = data.StreamBatches(
        ids, batch_size=config.batch_size, length=config.length
    )
    run_dir = config.run_dir or Path("runs") / f"char_rnn_{config.cell}"
    prepare("char_rnn", run_dir, WRITTEN, config)
    vocabulary.save(run_dir / "vocabulary.json")
    print(
        f"{len(ids)} characters to learn, {len(tail)} to validate on, "
        f"{len(vocabulary)} different; {len(batches)} steps a pass"
    )
    rate = optax.cosine_decay_schedule(
        config.learning_rate, config.epochs * len(batches), alpha=0.1
    )
    trainer = train.Trainer(
        CharRNN(
            len(vocabulary),
            cell=config.cell,
            units=config.units,
            layers=config.layers,
            batch_size=config.batch_size,
            rngs=nnx.Rngs(config.seed),
        ),
        optimizer=optax.chain(optax.clip_by_global_norm(config.clip), optax.adam(rate)),
        loss=lambda logits, y: F.sequence_cross_entropy(logits, y) / config.length,
        seed=config.seed,
    )
    began = time.perf_counter()
    history = trainer.fit(
        batches,
        epochs=config.epochs,
        steps=config.steps,
        callbacks=[
            NewPass(len(batches)),
            Validate(tail),
            Sample(config, vocabulary, run_dir / "samples"),
            train.EarlyStopping(
                "val_loss", patience=config.patience, restore_best=True
            ),
            train.Checkpoint(
                run_dir / "checkpoints", every_steps=config.checkpoint_every, keep=3
            ),
            train.CSVLogger(run_dir / "history.csv"),
        ],
        resume=run_dir / "checkpoints" if config.resume else None,
    )
    seconds = time.perf_counter() - began
    trainer.save(run_dir / "final_model")
    figures = evaluate(trainer.model, tail)
    result = {
        "cell": config.cell,
        "characters": len(text),
        "classes": len(vocabulary),
        "val_loss": figures["loss"],
        "val_bits": figures["bits"],
        "val_perplexity": float(np.exp(figures["loss"])),
        "epochs": len(history.epochs),
        "steps": int(trainer.state.step),
        "seconds": seconds,
        "seed": config.seed,
        **environment(),
    }
    write_json(run_dir / "metrics.json", result)
    save_curves(history, run_dir / "curves.png", metric=None)
    key = jax.random.key(config.seed)
    print(sample(key, trainer.model, config, vocabulary))
    print(
        f"validation {figures['loss']:.4f} nats or {figures['bits']:.4f} bits a "
        f"character after {result['epochs']} passes; results in {run_dir}"
    )
    return result


if __name__ == "__main__":
    try:
        main(tyro.cli(Config))
    except (OSError, ValueError) as error:
        raise SystemExit(f"char_rnn: {error}") from error
