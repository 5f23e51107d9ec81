"""What a trunk learnt on other classes is worth when labels are few.

A residual network learns to tell the first half of the classes of a data set. Its trunk
is then used to tell the others, with 1, 10 and 100 % of their labels, in three ways:

    probe      the trunk stays as it is, a new dense head is trained on its features
    finetune   on from there, all layers, each stage at a lower rate than the one above
    scratch    the same network and the same number of steps from random weights

BatchNorm: a trunk that is kept is run with its running averages, in evaluation mode,
and so is one that is finetuned: a few labels say little about means and variances.

    python examples/transfer_learning.py                          # digits, no network
    python examples/transfer_learning.py --dataset mnist --data-dir DIR
    python examples/transfer_learning.py --dataset cifar10 --data-dir DIR \
        --batch-size 64 --trunk-steps 1200

It writes results.json, transfer.png (accuracy by share of labels with the range over
the seeds) and the last trunk; --weights FILE takes one from a file and trains none.

Expected on 2 CPU cores: CIFAR-10 with --batch-size 64 --trunk-steps 1200 in up to 16
minutes: with 250 labels (1 %) probe 0.67, finetune 0.68, scratch 0.56; with all 0.70,
0.75, 0.75, means of three seeds. Digits in 6 minutes: with 5 labels 0.53, 0.54, 0.63; a
trunk that has seen 720 images of five digits is worth less than a fresh start.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from images import shrink, standardise
from plots import plt, save_figure
from runs import environment, prepare, write_json
from transfer_parts import Classifier, Method, Part, accuracy, draws, features

from jaxnets import data, interop, models, nn

WRITTEN = ("results.json", "transfer.png", "trunk.safetensors")
METHODS = ("probe", "finetune", "scratch")


@dataclass(frozen=True)
class Config:
    """Train a trunk on half of the classes, use it for the others.

    Args:
        dataset: what to learn; digits needs no network.
        data_dir: folder of the data set's files.
        run_dir: folder to write to; None takes runs/transfer_learning_<dataset>.
        overwrite: replace what an earlier run left in the run folder.
        shares: of the labels of the new classes, at least one a class.
        seeds: one run of everything a seed: parameters, order, which labels are known.
        depth: layers of the network, 6n + 2, if it is one for CIFAR.
        network: a ResNet of jaxnets.models by its name; anything but those for CIFAR
            wants larger images.
        weights: take the trunk from this file and train none, with the names of
            `source`; an earlier run's trunk.safetensors has those of "jaxnets".
        source: see `jaxnets.interop.load_safetensors`.
        shrink: images are made smaller by means over so many cells a side.
        trunk_steps: steps on the first half of the classes.
        steps: steps on the others, for each of the three ways.
        batch_size: images a step.
        learning_rate: of AdamW; it falls to 0 along a cosine.
        probe_rate: of the head on a trunk that stays as it is, likewise.
        decay: of the rate from each stage to the one below, when finetuning.
        weight_decay: likewise.
    """

    dataset: Literal["digits", "mnist", "cifar10"] = "digits"
    data_dir: Path | None = None
    run_dir: Path | None = None
    overwrite: bool = False
    shares: tuple[float, ...] = (0.01, 0.1, 1.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    depth: int = 8
    network: str = "resnet20_cifar"
    weights: Path | None = None
    source: str = "jaxnets"
    shrink: int = 2
    trunk_steps: int = 600
    steps: int = 300
    batch_size: int = 32
    learning_rate: float = 3e-3
    probe_rate: float = 3e-2
    decay: float = 0.3
    weight_decay: float = 1e-3


def optimizer(config: Config, steps: int, rate: float) -> optax.GradientTransformation:
    """AdamW whose rate falls to 0 along a cosine."""
    schedule = optax.cosine_decay_schedule(rate, steps)
    return optax.adamw(schedule, weight_decay=config.weight_decay)


def by_stage(config: Config, stages: int) -> optax.GradientTransformation:
    """AdamW with the full rate for the head and a lower one for each stage below."""
    rates = {"head": config.learning_rate}
    for stage in reversed(range(stages)):
        rates[f"stage {stage}"] = config.learning_rate * config.decay ** (
            stages - stage
        )
    rates["stem"] = config.learning_rate * config.decay ** (stages + 1)

    def labels(params: dict) -> dict:
        def name(path: tuple, _: Any) -> str:
            keys = [entry.key for entry in path]
            if keys[0] == "head":
                return "head"
            return f"stage {keys[2]}" if keys[1] == "stages" else "stem"

        return jax.tree_util.tree_map_with_path(name, params)

    parts = {n: optimizer(config, config.steps, rate) for n, rate in rates.items()}
    return optax.partition(parts, labels)


class Experiment:
    """The three ways on one data set."""

    def __init__(self, config: Config):
        self.config = config
        (x, y), (x_test, y_test) = data.load(config.dataset, data_dir=config.data_dir)
        x, x_test = (shrink(part, config.shrink) for part in (x, x_test))
        count = len(data.class_names(config.dataset))
        old, new = range(count // 2), range(count // 2, count)
        # What the new classes look like on average is not known beforehand.
        mine = np.isin(y, old)
        _, x, x_test = standardise(x[mine], x, x_test)
        self.source, self.source_test = Part(x, y, old), Part(x_test, y_test, old)
        self.target, self.target_test = Part(x, y, new), Part(x_test, y_test, new)
        self.classes = len(new)
        image = jax.ShapeDtypeStruct((1, *x.shape[1:]), jnp.float32)
        maps = nnx.eval_shape(lambda x: self.new_trunk(nnx.Rngs(0)).features(x), image)
        self.widths = [y.shape[-1] for y in maps]
        rate = config.learning_rate
        self.on_source, self.scratch = (
            Method(self.fresh(0), optimizer(config, steps, rate))
            for steps in (config.trunk_steps, config.steps)
        )
        kept = self.fresh(0, keep_averages=True)
        probing = optimizer(config, config.steps, config.probe_rate)
        self.probe = Method(kept.head, probing)
        self.finetune = Method(kept, by_stage(config, len(self.widths)))

    def fresh(self, seed: int, *, keep_averages: bool = False) -> Classifier:
        """A network of random weights."""
        rngs = nnx.Rngs(seed)
        trunk, head = self.new_trunk(rngs), self.new_head(rngs)
        return Classifier(trunk, head, keep_averages=keep_averages)

    def new_trunk(self, rngs: nnx.Rngs) -> models.ResNet:
        """A network without a head."""
        options = {"in_features": self.source.x.shape[-1], "num_classes": 0}
        if self.config.network.endswith("_cifar"):
            n, rest = divmod(self.config.depth - 2, 6)
            if rest or n < 1:
                raise ValueError(
                    f"--depth must be 6n + 2, n at least 1; got {self.config.depth}"
                )
            options["depths"] = (n, n, n)
        return models.create(self.config.network, rngs=rngs, **options)

    def new_head(self, rngs: nnx.Rngs) -> nn.Dense:
        """A dense layer on the features of the trunk."""
        return nn.Dense(sum(self.widths), self.classes, rngs=rngs)

    def batches(self, x: np.ndarray, y: np.ndarray, seed: int, steps: int) -> Iterator:
        """The same order for every method."""
        rng = np.random.default_rng((seed, 1))
        return draws(x, y, steps, self.config.batch_size, rng)

    def train_trunk(self, seed: int) -> tuple[models.ResNet, float | None]:
        """The trunk, and the accuracy on the classes that it has learnt.

        One from a file does not depend on the seed, and has learnt other classes.
        """
        if self.config.weights:
            trunk = self.new_trunk(nnx.Rngs(seed))
            interop.load_safetensors(
                trunk, self.config.weights, source=self.config.source, skip_head=True
            )
            return trunk, None
        steps = self.config.trunk_steps
        self.on_source.begin(self.fresh(seed))
        x, y = self.source.x, self.source.y
        model = self.on_source.run(self.batches(x, y, seed, steps))
        return model.trunk, accuracy(self.on_source, self.source_test)

    def compare(
        self, trunk: models.ResNet, share: float, seed: int
    ) -> dict[str, float]:
        """Accuracy on the new classes of each method."""
        known = self.target.labelled(share, np.random.default_rng((seed, 0)))
        x, y, steps = self.target.x[known], self.target.y[known], self.config.steps
        head = self.new_head(nnx.Rngs(seed + 1000))
        joined = Classifier(trunk, head, keep_averages=True)
        joined.eval()
        run = nnx.jit(features)
        parts = [run(trunk, x[i : i + 500]) for i in range(0, len(x), 500)]
        seen = np.concatenate([np.asarray(part) for part in parts])
        self.probe.begin(head)
        joined.head = self.probe.run(self.batches(seen, y, seed, steps))
        self.finetune.begin(joined)
        found = {"probe": accuracy(self.finetune, self.target_test)}
        self.finetune.run(self.batches(x, y, seed, steps))
        found["finetune"] = accuracy(self.finetune, self.target_test)
        self.scratch.begin(self.fresh(seed + 2000))
        self.scratch.run(self.batches(x, y, seed, steps))
        found["scratch"] = accuracy(self.scratch, self.target_test)
        return {"labels": len(known), **found}


def save_plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy by labels: means over seeds, and the range."""
    figure, panel = plt.subplots(figsize=(5.4, 3.8), layout="constrained")
    shares = sorted({row["share"] for row in rows})
    for number, method in enumerate(METHODS):
        values = [[r[method] for r in rows if r["share"] == s] for s in shares]
        panel.fill_between(
            shares, [min(v) for v in values], [max(v) for v in values], alpha=0.2
        )
        means = [np.mean(v) for v in values]
        panel.plot(shares, means, "os^"[number] + "-", label=method)
    panel.set_xscale("log")
    panel.set_xticks(shares, [f"{100 * share:g} %" for share in shares])
    panel.minorticks_off()
    panel.set_xlabel("labels of the new classes")
    panel.set_ylabel("test accuracy")
    panel.grid(alpha=0.3)
    panel.legend()
    save_figure(figure, path)


def main(config: Config) -> dict[str, Any]:
    """Train trunks, compare, draw, and return what results.json holds."""
    run_dir = config.run_dir or Path("runs") / f"transfer_learning_{config.dataset}"
    prepare("transfer_learning", run_dir, WRITTEN, config)
    began = time.perf_counter()
    experiment, rows, trunks = Experiment(config), [], []
    for seed in config.seeds:
        trunk, known = experiment.train_trunk(seed)
        trunks.append({"seed": seed, "accuracy_on_its_classes": known})
        if known is not None:
            print(f"seed {seed}: trunk {known:.4f} right on its classes", flush=True)
            file = run_dir / "trunk.safetensors"
            interop.save_safetensors(trunk, file, source="jaxnets")
        for share in config.shares:
            row = {"seed": seed, "share": share}
            row |= experiment.compare(trunk, share, seed)
            rows.append(row)
            figures = "  ".join(f"{m} {row[m]:.4f}" for m in METHODS)
            print(f"seed {seed}, {row['labels']} labels: {figures}", flush=True)
    result = {
        "rows": rows,
        "trunks": trunks,
        "minutes": (time.perf_counter() - began) / 60,
        **environment(),
    }
    write_json(run_dir / "results.json", result)
    save_plot(rows, run_dir / "transfer.png")
    print(f"{result['minutes']:.1f} minutes; results in {run_dir}")
    return result


if __name__ == "__main__":
    try:
        main(tyro.cli(Config))
    except (OSError, ValueError) as error:
        raise SystemExit(f"transfer_learning: {error}") from error
