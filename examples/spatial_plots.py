"""The pictures of spatial transformers: alignment, its animation, robustness."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter

from jaxnets import functional as F

NAMES = {"rotation": "rotation (degrees)", "shift": "shift (pixels)", "scale": "scale"}


def save_alignment(model, images: jax.Array, path: Path) -> None:
    """Inputs with the grid that is read, above what the transformer makes of them."""
    transformer = model.layers[0]
    results = np.asarray(transformer(images))
    theta = transformer.theta(images)
    if transformer.transform == "tps":
        grids = F.thin_plate_spline_grid(theta, (8, 8), align_corners=True)
    elif transformer.transform == "projective":
        grids = F.projective_grid(theta, (8, 8), align_corners=True)
    else:
        grids = F.affine_grid(theta, (8, 8), align_corners=True)
    figure, panels = plt.subplots(
        2, len(images), figsize=(1.1 * len(images), 2.4), layout="constrained"
    )
    for column, (image, result, grid) in enumerate(
        zip(np.asarray(images), results, np.asarray(grids), strict=True)
    ):
        height, width = image.shape[:2]
        places = ((grid + 1) * np.asarray([width, height]) - 1) / 2
        above, below = panels[:, column]
        above.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
        for line in (*places, *places.swapaxes(0, 1)):
            above.plot(*line.T, color="tab:orange", lw=0.6, alpha=0.7)
        # The upper edge of what is read, so that one sees which way is up.
        above.plot(*places[0].T, color="tab:cyan", lw=1.5)
        above.set_xlim(-0.5, width - 0.5)
        above.set_ylim(height - 0.5, -0.5)
        below.imshow(result[..., 0], cmap="gray", vmin=0, vmax=1)
        for panel in (above, below):
            panel.set_xticks([])
            panel.set_yticks([])
    panels[0, 0].set_ylabel("input")
    panels[1, 0].set_ylabel("transformed")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def save_animation(
    images: np.ndarray, frames: Sequence[tuple[int, np.ndarray]], path: Path
) -> None:
    """What the transformer makes of the same inputs, from step to step."""
    # Six images and 21 frames at most: a small file.
    images, every = images[:6], -(-len(frames) // 20)
    frames = [*frames[:-1:every], frames[-1]]
    count = len(images)
    figure, panels = plt.subplots(
        2, count, figsize=(0.8 * count, 2.0), layout="constrained"
    )
    for panel in panels.flat:
        panel.axis("off")
    for panel, image in zip(panels[0], images, strict=True):
        panel.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    shown = [
        panel.imshow(result[..., 0], cmap="gray", vmin=0, vmax=1)
        for panel, result in zip(panels[1], frames[0][1], strict=False)
    ]

    def draw(i: int):
        step, results = frames[i]
        for image, result in zip(shown, results, strict=False):
            image.set_data(result[..., 0])
        figure.suptitle(f"step {step}", size=9)
        return shown

    animation = FuncAnimation(figure, draw, frames=len(frames))
    animation.save(path, writer=PillowWriter(fps=5), dpi=50)
    plt.close(figure)


def save_robustness(
    curves: Mapping[str, Mapping[str, np.ndarray]],
    amounts: Mapping[str, Sequence[float]],
    path: Path,
) -> None:
    """Accuracy of every network against every move, on undistorted test images."""
    figure, panels = plt.subplots(
        1, len(amounts), figsize=(3.4 * len(amounts), 3), layout="constrained"
    )
    for panel, (move, values) in zip(panels, amounts.items(), strict=True):
        for name, of_model in curves.items():
            panel.plot(values, of_model[move], marker="o", ms=3, label=name)
        panel.set_xlabel(NAMES[move])
        panel.set_ylim(0, 1.02)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy")
    panels[0].legend()
    figure.savefig(path, dpi=90)
    plt.close(figure)
