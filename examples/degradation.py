"""Why residual connections: deeper plain networks train worse, residual ones do not.

Plain and residual networks of 20 and 56 layers on the same data, from the same seeds,
as in He et al. 2015, section 4.2. It writes results.json and four pictures: errors.png
(the curves), layers.png (gradient norm and speed of the weights, layer by layer, at the
beginning and the end), blocks.png (what a block's branch adds to its input, and the two
ways that the gradient takes back through it).

    python examples/degradation.py --data-dir DIR                # CIFAR-10, small
    python examples/degradation.py --dataset digits              # no network needed
    python examples/degradation.py --data-dir DIR --full         # the paper's recipe

Expected on 2 CPU cores, in up to 28 minutes (2048 images of CIFAR-10 at half their
size, 10 epochs): training errors of plain-20 61 % and plain-56 81 %, resnet-20 16 % and
resnet-56 26 %; test errors of 66, 80, 59, 57 %. With --zero-init resnet-20 54 % and
resnet-56 50 %; test errors of 62, 57 %.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import optax
import tyro
from depth_plots import save_blocks, save_errors, save_layers
from depth_probes import Watch
from flax import nnx
from images import shrink, standardise
from runs import environment, prepare, write_json

from jaxnets import data, models, train

WRITTEN = ("results.json", "errors.png", "layers.png", "blocks.png")
Kind = Literal["plain", "resnet"]


@dataclass(frozen=True)
class Config:
    """Train plain and residual networks of several depths and compare them.

    Args:
        dataset: what to learn; digits needs no network.
        data_dir: folder of the data set's files.
        run_dir: folder to write to; None takes runs/degradation_<dataset>.
        overwrite: replace what an earlier run left in the run folder.
        kinds: with or without shortcuts.
        depths: layers, 6n + 2 each.
        train_size: training images, the first ones, cut to whole batches; 0 takes all.
        test_size: test images, likewise.
        shrink: images are made smaller by means over so many cells a side.
        augment: shift by up to 4 pixels and mirror at random.
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: of SGD with momentum 0.9; a tenth of it after half of the steps,
            a hundredth after three quarters.
        clip: largest norm of a gradient, 0 for none. The gradient of a plain network
            of 56 layers grows a thousandfold on its way to the input: without it the
            first steps throw the early kernels so far that nothing is learnt after.
        weight_decay: on all parameters.
        zero_init: let the last scale of each branch begin at 0: a residual block is
            then its shortcut.
        full: the paper's recipe, for an accelerator: all images at their size,
            augmented, 164 epochs of batches of 128; settings above it are ignored.
        seed: of parameters, order and augmentation, the same for every network.
    """

    dataset: Literal["cifar10", "digits"] = "cifar10"
    data_dir: Path | None = None
    run_dir: Path | None = None
    overwrite: bool = False
    kinds: tuple[Kind, ...] = ("plain", "resnet")
    depths: tuple[int, ...] = (20, 56)
    train_size: int = 2048
    test_size: int = 1024
    shrink: int = 2
    augment: bool = False
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 0.05
    clip: float = 1.0
    weight_decay: float = 1e-4
    zero_init: bool = False
    full: bool = False
    seed: int = 0


# 64,000 steps, as in the paper, the rate falling after 32,000 and 48,000.
FULL = {
    "train_size": 0,
    "test_size": 0,
    "shrink": 1,
    "augment": True,
    "epochs": 164,
    "batch_size": 128,
    "learning_rate": 0.1,
    "clip": 0.0,
    "weight_decay": 1e-4,
}


def make_model(kind: Kind, depth: int, config: Config, channels: int) -> models.ResNet:
    """The network of the paper's section 4.2."""
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise ValueError(f"--depths must be 6n + 2 with n at least 1; got {depth}")
    return models.create(
        f"{kind}20_cifar",
        depths=(n, n, n),
        in_features=channels,
        # A plain network whose scales are 0 gives nothing and learns nothing.
        zero_init=config.zero_init and kind == "resnet",
        rngs=nnx.Rngs(config.seed),
    )


def load(config: Config) -> tuple[tuple, tuple]:
    """Images and labels of training and test, as the settings want them."""
    parts = data.load(config.dataset, data_dir=config.data_dir)
    sizes = (config.train_size, config.test_size)
    kept = []
    for (x, y), size in zip(parts, sizes, strict=True):
        size = min(size or len(x), len(x))
        size -= size % config.batch_size
        if not size:
            raise ValueError(
                f"--batch-size {config.batch_size} leaves no whole batch of "
                "the images (give a smaller one, or more images)"
            )
        kept.append((shrink(x[:size], config.shrink), y[:size]))
    (x, y), (x_test, y_test) = kept
    x, x_test = standardise(x, x_test)
    return (x, y), (x_test, y_test)


def augment(key: jax.Array, x: jax.Array) -> jax.Array:
    """Shifted by up to 4 pixels, mirrored or not."""
    crop, flip = jax.random.split(key)
    return data.random_flip(flip, data.random_crop(crop, x, padding=4))


def train_network(
    kind: Kind, depth: int, config: Config, training: tuple, test: tuple
) -> dict[str, Any]:
    """Train one network; gives its curves and what the probes saw."""
    (x, y), name = training, f"{kind}-{depth}"
    model = make_model(kind, depth, config, x.shape[-1])
    steps = config.epochs * (len(x) // config.batch_size)
    rate = optax.piecewise_constant_schedule(
        config.learning_rate, {steps // 2: 0.1, 3 * steps // 4: 0.1}
    )
    trainer = train.Trainer(
        model,
        optimizer=optax.chain(
            optax.clip_by_global_norm(config.clip) if config.clip else optax.identity(),
            optax.add_decayed_weights(config.weight_decay),
            optax.sgd(rate, momentum=0.9),
        ),
        loss=optax.softmax_cross_entropy_with_integer_labels,
        metrics={"acc": train.accuracy},
        augment=augment if config.augment else None,
        seed=config.seed,
    )
    watch = Watch(model, x[: config.batch_size], y[: config.batch_size])

    def report(_: train.Trainer, logs: dict) -> None:
        errors = [100 * (1 - logs[name]) for name in ("acc", "val_acc")]
        print(f"{name}  training {errors[0]:5.2f} %  test {errors[1]:5.2f} %", flush=1)

    began = time.perf_counter()
    history = trainer.fit(
        x,
        y,
        batch_size=config.batch_size,
        epochs=config.epochs,
        validation_data=test,
        callbacks=[watch, report],
    )
    seconds = time.perf_counter() - began
    final = trainer.evaluate(x, y, batch_size=config.batch_size)
    return {
        "network": name,
        "kind": kind,
        "depth": depth,
        "steps": steps,
        "seconds": seconds,
        # Over the epoch, in training mode, as in the paper; at the end also afterwards.
        "train_error": [100 * (1 - acc) for acc in history["acc"]],
        "test_error": [100 * (1 - acc) for acc in history["val_acc"]],
        "train_loss": list(history["loss"]),
        "final_train_error": 100 * (1 - float(final["acc"])),
        **watch.values,
    }


def main(config: Config) -> dict[str, Any]:
    """Train every network, draw, and return what results.json holds."""
    if config.full:
        config = replace(config, **FULL)
    run_dir = config.run_dir or Path("runs") / f"degradation_{config.dataset}"
    prepare("degradation", run_dir, WRITTEN, config)
    training, test = load(config)
    print(f"{len(training[1])} training and {len(test[1])} test images", flush=True)
    networks = []
    result = {"networks": networks, "seed": config.seed, **environment()}
    for kind in config.kinds:
        for depth in config.depths:
            networks.append(train_network(kind, depth, config, training, test))
            write_json(run_dir / "results.json", result)
    save_errors(networks, run_dir / "errors.png")
    save_layers(networks, run_dir / "layers.png")
    save_blocks(networks, run_dir / "blocks.png")
    for network in networks:
        print(
            f"{network['network']:10} training error {network['train_error'][-1]:.2f} "
            f"% (evaluated {network['final_train_error']:.2f} %), test error "
            f"{network['test_error'][-1]:.2f} %, {network['seconds'] / 60:.1f} minutes"
        )
    print(f"results in {run_dir}")
    return result


if __name__ == "__main__":
    try:
        main(tyro.cli(Config))
    except (OSError, ValueError) as error:
        raise SystemExit(f"degradation: {error}") from error
