"""What a unit can see, and what it does see: two kinds of receptive field.

For each network the gradient of a unit in the middle of every stage, averaged over
random inputs and random weights, and around it the square that `nn.receptive_field`
works out. The effective field is the cells above 4.55 % of the greatest value, which is
two deviations of a Gaussian (Luo et al. 2016).

    python examples/receptive_fields.py
    python examples/receptive_fields.py --networks vgg11_bn resnet18 --size 224

Expected on 2 CPU cores, in two to three minutes: the last stage of plain20_cifar sees
81 cells a side, effectively 51; that of resnet20_cifar 81 and 42, because shortcuts
make paths of few layers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from flax import nnx
from plots import plt, save_figure
from runs import environment, prepare, write_json

from jaxnets import models, nn

WRITTEN = ("results.json", "fields.png")


@dataclass(frozen=True)
class Config:
    """Measure and draw the receptive fields of the stages of networks.

    Args:
        networks: names of jaxnets.models whose `features` are maps of stages.
        size: rows and columns of the images, of three channels.
        stages: how many stages from the first on; 0 takes all.
        draws: random inputs for each network.
        seeds: random networks to average over.
        run_dir: folder to write to.
        overwrite: replace what an earlier run left in the run folder.
    """

    networks: tuple[str, ...] = ("plain20_cifar", "resnet20_cifar")
    size: int = 96
    stages: int = 0
    draws: int = 16
    seeds: int = 4
    run_dir: Path = Path("runs/receptive_fields")
    overwrite: bool = False


def fields(name: str, config: Config) -> list[dict[str, Any]]:
    """For each stage of a network its field, and the map that the gradients give."""
    shape = (config.size, config.size, 3)
    nets = [models.create(name, rngs=nnx.Rngs(seed)) for seed in range(config.seeds)]
    x = jax.ShapeDtypeStruct((1, *shape), np.float32)
    count = len(nnx.eval_shape(lambda net, x: net.features(x), nets[0], x))
    found = []
    for stage in range(min(config.stages or count, count)):

        def features(model: Any, x: jax.Array, stage: int = stage) -> jax.Array:
            return model.features(x)[stage]

        field = nn.receptive_field(nets[0], shape, method=features)
        measured = np.mean(
            [
                nn.effective_receptive_field(
                    jax.random.key(seed),
                    net,
                    shape,
                    draws=config.draws,
                    method=features,
                )
                ** 2
                for seed, net in enumerate(nets)
            ],
            axis=0,
        )
        measured = np.sqrt(measured / measured.max())
        place = int(config.size / field.jump[0]) // 2
        found.append(
            {
                "stage": stage,
                "size": field.size[0],
                "jump": field.jump[0],
                "cells": field.cells((place, place)),
                "effective": float(np.sqrt(np.sum(measured > 0.0455))),
                "map": measured,
            }
        )
    return found


def save_fields(all_fields: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """A row a network, a column a stage: the map, and the theoretical square."""
    columns = max(map(len, all_fields.values()))
    figure, panels = plt.subplots(
        len(all_fields),
        columns,
        figsize=(2.9 * columns, 3.1 * len(all_fields)),
        squeeze=False,
        layout="constrained",
    )
    for panel in panels.flat:
        panel.axis("off")
    for row, (name, found) in zip(panels, all_fields.items(), strict=True):
        for panel, field in zip(row, found, strict=False):
            panel.imshow(field["map"], cmap="magma", vmin=0, vmax=1)
            (top, bottom), (left, right) = field["cells"]
            panel.add_patch(
                plt.Rectangle(
                    (left - 0.5, top - 0.5),
                    right - left + 1,
                    bottom - top + 1,
                    fill=False,
                    ec="cyan",
                    lw=1.5,
                )
            )
            panel.set_title(
                f"{name}, stage {field['stage'] + 1}\n{field['size']} cells a side, "
                f"effective {field['effective']:.0f}",
                size=9,
            )
    save_figure(figure, path)


def main(config: Config) -> dict[str, Any]:
    """Measure, draw, and return what results.json holds."""
    prepare("receptive_fields", config.run_dir, WRITTEN, config)
    all_fields = {name: fields(name, config) for name in config.networks}
    save_fields(all_fields, config.run_dir / "fields.png")
    rows = [
        {"network": name, **{k: v for k, v in field.items() if k != "map"}}
        for name, found in all_fields.items()
        for field in found
    ]
    for row in rows:
        print(
            f"{row['network']:16} stage {row['stage'] + 1}: {row['size']:4} cells a "
            f"side, effective {row['effective']:5.1f}"
        )
    result = {"fields": rows, **environment()}
    write_json(config.run_dir / "results.json", result)
    print(f"results in {config.run_dir}")
    return result


if __name__ == "__main__":
    try:
        main(tyro.cli(Config))
    except (OSError, ValueError) as error:
        raise SystemExit(f"receptive_fields: {error}") from error
