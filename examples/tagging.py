"""Tag words by what stands left and right of them: one direction, two, and two deep.

The language is generated (examples/grammar.py): the tags of some words are decided by
the clause's beginning, of others by its end, of others by both together. A network that
reads from left to right can only guess at the last two. One bidirectional layer with a
linear output adds up what either direction says, and "both together" is no such sum
(an exclusive or). The deep bidirectional LSTM of Graves, Mohamed, Hinton (2013), with
peepholes as theirs, gets all of them.

    python examples/tagging.py

Expected on 2 CPU cores: 100 % of the words that each network can know, 50 % of the
others (they are a throw of a coin), in 10 s (one direction) to a minute (both, deep).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from grammar import CLASSES, TAGS, VOCABULARY, Sentences, generate
from plots import plt, save_figure
from runs import environment, prepare, write_json
from steps import run_steps

from jaxnets import functional as F

WRITTEN = ("metrics.json", "tagging.png")
# Name: directions, layers.
NETWORKS = {
    "one direction": (1, 1),
    "one direction, deep": (1, 2),
    "both directions": (2, 1),
    "both directions, deep": (2, 2),
}


@dataclass(frozen=True)
class Config:
    """Train four taggers on a generated language and write results to a folder.

    Args:
        units: size of the state of each direction and layer.
        embedding: size of a word's vector.
        steps: training steps.
        sentences: how many there are to learn from; 1000 others are for testing.
        batch_size: sentences a step.
        learning_rate: of Adam at the beginning; it falls along a cosine to a hundredth.
        clip: largest norm of a gradient.
        run_dir: folder to write to; None takes runs/tagging.
        overwrite: replace what an earlier run left in the run folder.
        seed: of the language, the parameters and the batches.
    """

    units: int = 32
    embedding: int = 16
    steps: int = 800
    sentences: int = 4000
    batch_size: int = 64
    learning_rate: float = 1e-2
    clip: float = 1.0
    run_dir: Path | None = None
    overwrite: bool = False
    seed: int = 0


def init(
    key: jax.Array, directions: int, layers: int, config: Config
) -> dict[str, Any]:
    """Vectors of the words, recurrent layers, and the linear layer that tags."""
    words, head, key = jax.random.split(key, 3)

    def one(key: jax.Array, inputs: int) -> F.LSTMParams:
        return F.init_lstm(key, inputs, config.units, peephole=True)

    stack = []
    for number in range(layers):
        inputs = directions * config.units if number else config.embedding
        keys = jax.random.split(jax.random.fold_in(key, number), directions)
        pair = tuple(one(key, inputs) for key in keys)
        stack.append(pair if directions == 2 else pair[0])
    glorot = jax.nn.initializers.glorot_uniform()
    return {
        "words": 0.3 * jax.random.normal(words, (len(VOCABULARY), config.embedding)),
        "stack": stack,
        "kernel": glorot(head, (directions * config.units, len(TAGS))),
        "bias": jnp.zeros(len(TAGS)),
    }


def tag(
    directions: int, params: Any, words: jax.Array, lengths: jax.Array
) -> jax.Array:
    """Logits `(batch, time, tags)`."""
    layer: Callable = F.lstm
    if directions == 2:
        layer = partial(F.bidirectional, F.lstm)
    xs = params["words"][words]
    _, ys = F.stacked(layer, params["stack"], xs, lengths=lengths)
    return F.dense(ys, params["kernel"], params["bias"])


def train_tagger(
    directions: int, layers: int, learn: Sentences, test: Sentences, config: Config
) -> dict[str, Any]:
    """Train one network and test it class by class."""
    begin, during = jax.random.split(jax.random.key(config.seed))
    params = init(begin, directions, layers, config)
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps, alpha=0.01)
    tx = optax.chain(optax.clip_by_global_norm(config.clip), optax.adam(rate))
    words, tags, _, lengths = map(jnp.asarray, learn)

    def loss_fn(params: Any, key: jax.Array) -> jax.Array:
        rows = jax.random.randint(key, (config.batch_size,), 0, len(words))
        logits = tag(directions, params, words[rows], lengths[rows])
        mask = tags[rows] > 0
        loss = F.sequence_cross_entropy(logits, tags[rows], mask=mask)
        return loss.sum() / mask.sum()

    began = time.perf_counter()
    params, losses = run_steps(during, loss_fn, params, tx, steps=config.steps)
    seconds = time.perf_counter() - began
    logits = jax.jit(tag, static_argnums=0)(
        directions, params, test.words, jnp.asarray(test.lengths)
    )
    right = np.asarray(logits.argmax(axis=-1)) == test.tags
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    return {
        "parameters": sum(sizes),
        "seconds": seconds,
        "loss": float(losses[-100:].mean()),
        "accuracy": {
            name: float(right[test.kinds == kind].mean())
            for kind, name in enumerate(CLASSES)
        },
    }


def save_table(results: dict[str, Any], path: Path) -> None:
    """Accuracy by network and class of words, as a coloured table."""
    table = np.array([list(r["accuracy"].values()) for r in results.values()])
    figure, panel = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
    panel.imshow(table, cmap="RdYlGn", vmin=0.4, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        colour = "white" if value > 0.9 else "black"
        panel.text(column, row, f"{value:.1%}", ha="center", va="center", color=colour)
    causes = {"plain": "the word", "left": "left of it", "right": "right of it"}
    panel.set_xticks(range(len(CLASSES)), [causes.get(name, name) for name in CLASSES])
    panel.set_yticks(range(len(results)), list(results))
    panel.set_title("words tagged right, by what decides their tag")
    save_figure(figure, path)


def main(config: Config) -> dict[str, Any]:
    """Train all taggers, compare and draw; returns what metrics.json holds."""
    run_dir = config.run_dir or Path("runs") / "tagging"
    prepare("tagging", run_dir, WRITTEN, config)
    # Seeds of their own, so that no test sentence depends on how many were learnt from.
    learn = generate(2 * config.seed, config.sentences)
    test = generate(2 * config.seed + 1, 1000)
    results = {}
    for name, (directions, layers) in NETWORKS.items():
        results[name] = train_tagger(directions, layers, learn, test, config)
        shares = results[name]["accuracy"].items()
        line = "  ".join(f"{kind} {share:.3f}" for kind, share in shares)
        print(f"{name:22} {line}  {results[name]['seconds']:.0f} s", flush=True)
    save_table(results, run_dir / "tagging.png")
    metrics = {"networks": results, "seed": config.seed, **environment()}
    write_json(run_dir / "metrics.json", metrics)
    return metrics


if __name__ == "__main__":
    try:
        main(tyro.cli(Config))
    except (OSError, ValueError) as error:
        raise SystemExit(f"tagging: {error}") from error
