"""Train a network on images that lie on disk, as ImageNet is trained.

Shows Grain reading, decoding and cropping in threads or processes, bytes sent to the
device, bfloat16 with float32 parameters, label smoothing, a cosine schedule with a
warm-up, a moving average of the weights, top-1 and top-5, and exact resume.

    python examples/imagenet.py --data-dir DIR                  # DIR/train/CLASS/*.jpg
    python examples/imagenet.py --data-dir DIR --run-dir runs/a --resume
    python examples/imagenet.py --data-dir DIR --write-records OUT
    python examples/imagenet.py --data-dir DIR --check        # names undecodable files

DIR holds train/ and val/ with a folder for every class, or what --write-records made of
them: train.array_record, val.array_record and classes.txt. docs/models.md has the
recipe for ResNet-50 and says what of it was measured.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import image_files
import jax
import jax.numpy as jnp
import optax
import tyro
from flax import nnx
from image_batches import ImageBatches, SetEpoch
from plots import save_curves
from runs import environment, prepare, write_json

from jaxnets import data, models, nn, train

WRITTEN = (
    "history.csv",
    "metrics.json",
    "curves.png",
    "checkpoints",
    "final_model",
    "averaged_model",
)
# Of ImageNet's pixels between 0 and 1, as most published weights have them.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Config:
    """Train a network on a folder of images and write results to another folder.

    Args:
        data_dir: folder with train/ and val/, or with array records.
        run_dir: folder to write to.
        resume: go on from the newest checkpoint of the run folder.
        overwrite: replace what an earlier run left in the run folder.
        check: only decode every image, and name those that cannot be.
        write_records: only pack the images into array records in this folder.
        model: a name of jaxnets.models.names().
        image_size: rows and columns that the network sees.
        epochs: passes over the training images.
        steps: stop after so many steps, for a quick look.
        batch_size: images a step, over all devices and processes.
        learning_rate: the greatest, for 256 images a step; it grows with the batch.
        warmup_epochs: over which the rate rises from 0.
        weight_decay: of kernels, not of biases and normalisations.
        label_smoothing: share of the target that all classes get.
        average_decay: of the moving average of the weights.
        float32: compute in float32 in place of bfloat16.
        remat: compute maps again in the backward pass (ResNet only): less memory.
        threads: that read and decode, in every worker.
        workers: processes that read and decode; 0 does it in this one.
        checkpoint_every: steps between checkpoints, besides the end of every epoch.
        distributed: call jax.distributed.initialize() first: several processes.
        seed: of the parameters, the order of the images and their crops.
    """

    data_dir: Path
    run_dir: Path = Path("runs/imagenet")
    resume: bool = False
    overwrite: bool = False
    check: bool = False
    write_records: Path | None = None
    model: str = "resnet50"
    image_size: int = 224
    epochs: int = 90
    steps: int | None = None
    batch_size: int = 256
    learning_rate: float = 0.1
    warmup_epochs: int = 5
    weight_decay: float = 5e-5
    label_smoothing: float = 0.1
    average_decay: float = 0.9999
    float32: bool = False
    remat: bool = False
    threads: int = 8
    workers: int = 0
    checkpoint_every: int | None = 1000
    distributed: bool = False
    seed: int = 0


class Pixels(nnx.Module):
    """Bytes `(batch, rows, columns, 3)` normalised, then a network."""

    def __init__(self, network: nnx.Module, dtype: Any):
        self.network = network
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32) / 255
        x = (x - jnp.asarray([[[MEAN]]])) / jnp.asarray([[[DEVIATION]]])
        logits: Any = self.network(x.astype(self.dtype))  # pyright: ignore
        return logits.astype(jnp.float32)


def make_model(config: Config, classes: int) -> Pixels:
    """The network, computing in bfloat16 from float32 parameters."""
    options: dict[str, Any] = {"num_classes": classes, "in_features": 3}
    if config.remat:
        if "res" not in config.model and "plain" not in config.model:
            raise ValueError(f"--remat is for residual networks; got {config.model}")
        options["remat"] = True
    network = models.create(config.model, rngs=nnx.Rngs(config.seed), **options)
    dtype = jnp.float32 if config.float32 else jnp.bfloat16
    if not config.float32:
        # The last layer stays in float32, and so do the statistics inside BatchNorm.
        for _, module in nnx.iter_modules(network):
            if isinstance(module, nn.Conv | nnx.BatchNorm):
                module.dtype = dtype
    return Pixels(network, dtype)


def parameter_average(decay: float) -> optax.GradientTransformation:
    """Keeps the moving average of the parameters in the optimizer's state.

    The decay is at most (1 + t) / (10 + t), so that the first steps are forgotten soon.
    """

    def init(params: Any) -> Any:
        return jnp.zeros((), jnp.int32), params

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        count, average = state
        now = jnp.minimum(decay, (1.0 + count) / (10.0 + count))
        after = optax.apply_updates(params, updates)
        return updates, (count + 1, optax.incremental_update(after, average, 1 - now))

    return optax.GradientTransformation(init, update)


def make_trainer(config: Config, classes: int, steps_per_epoch: int) -> train.Trainer:
    """Model, optimizer, loss and metrics put together."""
    warmup = config.warmup_epochs * steps_per_epoch
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate * config.batch_size / 256,
        warmup,
        max(config.epochs * steps_per_epoch, warmup + 1),
    )

    def kernels(params: Any) -> Any:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        targets = jax.nn.one_hot(labels, classes)
        smooth = optax.smooth_labels(targets, config.label_smoothing)
        return optax.softmax_cross_entropy(logits, smooth)

    devices = len(jax.devices())
    return train.Trainer(
        make_model(config, classes),
        optimizer=optax.chain(
            optax.add_decayed_weights(config.weight_decay, mask=kernels),
            optax.sgd(schedule, momentum=0.9, nesterov=True),
            parameter_average(config.average_decay),
        ),
        loss=loss,
        metrics={"top1": train.accuracy, "top5": train.top_k(min(5, classes))},
        augment=data.random_flip,
        mesh=jax.make_mesh((devices,), ("data",)) if devices > 1 else None,
        local_batches=jax.process_count() > 1,
        seed=config.seed,
    )


def averaged(trainer: train.Trainer) -> None:
    """Put the averaged parameters in the place of the last ones."""
    state = trainer.state
    average = state.opt_state[-1][1]
    trainer.set_state(state._replace(params=jax.tree.map(jnp.copy, average)))


def main(config: Config) -> dict[str, Any]:
    """Train, evaluate the last and the averaged weights, and save both."""
    if config.distributed:
        jax.distributed.initialize()
    classes = image_files.find_classes(config.data_dir)
    training = image_files.open_split(config.data_dir, "train", classes)
    testing = image_files.open_split(config.data_dir, "val", classes)
    if config.write_records:
        return pack(config.write_records, classes, training, testing)
    if config.check:
        bad = [*image_files.undecodable(training), *image_files.undecodable(testing)]
        print("\n".join([*bad, f"{len(bad)} images cannot be decoded"]))
        return {"undecodable": len(bad)}
    prepare("imagenet", config.run_dir, WRITTEN, config)
    batches = ImageBatches(training, config, training=True)
    validation = ImageBatches(testing, config, training=False)
    print(f"{len(training)} + {len(testing)} images of {len(classes)} classes")
    trainer = make_trainer(config, len(classes), len(batches))
    checkpoints = config.run_dir / "checkpoints"
    began = time.perf_counter()
    history = trainer.fit(
        batches,
        epochs=config.epochs,
        steps=config.steps,
        validation_data=validation,
        callbacks=[
            SetEpoch(batches),
            train.Checkpoint(checkpoints, keep=2, every_steps=config.checkpoint_every),
            train.CSVLogger(config.run_dir / "history.csv"),
        ],
        resume=checkpoints if config.resume else None,
    )
    seconds = time.perf_counter() - began
    score = {"last": trainer.evaluate(validation)}
    trainer.save(config.run_dir / "final_model")
    averaged(trainer)
    score["averaged"] = trainer.evaluate(validation)
    trainer.save(config.run_dir / "averaged_model")
    result = {
        "model": config.model,
        "classes": classes,
        "steps": int(trainer.state.step),
        "epochs": len(history.epochs),
        "images_per_s": config.batch_size * len(batches) / history["seconds"][-1],
        "seconds": seconds,
        **{
            f"{kind}_{name}": float(value)
            for kind, figures in score.items()
            for name, value in figures.items()
        },
        **environment(),
    }
    write_json(config.run_dir / "metrics.json", result)
    save_curves(history, config.run_dir / "curves.png", metric="top1")
    for kind in score:
        top1, top5 = result[f"{kind}_top1"], result[f"{kind}_top5"]
        print(f"{kind} weights: top-1 {top1:.4f}, top-5 {top5:.4f}")
    return result


def pack(folder: Path, classes: list[str], training: Any, testing: Any) -> dict:
    """Write classes.txt and both splits as array records."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in (("train", training), ("val", testing)):
        path = folder / f"{name}.array_record"
        if path.exists():
            raise ValueError(f"{path} is there already; take another folder")
        image_files.write_records(source, path)
    (folder / "classes.txt").write_text("\n".join(classes) + "\n")
    print(f"{len(training)} + {len(testing)} images in {folder}")
    return {"records": len(training) + len(testing)}


if __name__ == "__main__":
    try:
        main(tyro.cli(Config))
    except (OSError, ValueError) as error:
        raise SystemExit(f"imagenet: {error}") from error
