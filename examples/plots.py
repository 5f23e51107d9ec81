"""The pictures that the examples write: curves, confusion matrix, mistakes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from jaxnets.train import History


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure and let go of it."""
    figure.savefig(path, dpi=120)
    plt.close(figure)


def save_curves(history: History, path: Path, *, metric: str | None = "acc") -> None:
    """Loss, and a metric unless it is None, by epoch, of training and validation."""
    names = ["loss"] if metric is None else ["loss", metric]
    figure, panels = plt.subplots(
        1,
        len(names),
        figsize=(4.5 * len(names), 3.4),
        squeeze=False,
        layout="constrained",
    )
    for panel, name in zip(panels[0], names, strict=True):
        for prefix, label in (("", "training"), ("val_", "validation")):
            if prefix + name in history:
                values = history[prefix + name]
                panel.plot(history.epochs, values, marker="o", ms=3, label=label)
        panel.set_xlabel("epoch")
        panel.set_ylabel({"acc": "accuracy"}.get(name, name))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
        panel.legend()
    save_figure(figure, path)


def save_confusion_matrix(
    matrix: np.ndarray, class_names: Sequence[str], path: Path
) -> None:
    """How often each class was taken for which: `(classes, classes)`, rows true."""
    size = 2 + 0.42 * len(class_names)
    figure, panel = plt.subplots(figsize=(size, size), layout="constrained")
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    panel.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if share[row, column] > 0.5 else "black"
            panel.text(
                column,
                row,
                f"{count:d}",
                ha="center",
                va="center",
                color=colour,
                size=7,
            )
    ticks = range(len(class_names))
    turned = {"rotation": 45, "ha": "right"} if max(map(len, class_names)) > 3 else {}
    panel.set_xticks(ticks, class_names, **turned)
    panel.set_yticks(ticks, class_names)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    panel.set_title(f"{matrix.trace() / max(matrix.sum(), 1):.2%} right")
    save_figure(figure, path)


def save_worst_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
    class_names: Sequence[str],
    path: Path,
    *,
    count: int = 24,
) -> None:
    """The images that the model is most sure about and wrong, the worst first."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    chance = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    guessed = logits.argmax(axis=1)
    wrong = np.flatnonzero(guessed != labels)
    worst = wrong[np.argsort(chance[wrong, labels[wrong]], kind="stable")][:count]
    columns = 8
    rows = max(1, -(-len(worst) // columns))
    figure, panels = plt.subplots(
        rows,
        columns,
        figsize=(1.35 * columns, 1.6 * rows + 0.5),
        squeeze=False,
        layout="constrained",
    )
    figure.suptitle(f"{len(wrong)} mistakes in {len(labels)}; true → predicted")
    for panel in panels.flat:
        panel.axis("off")
    for panel, i in zip(panels.flat, worst, strict=False):
        panel.imshow(images[i].squeeze(), cmap="gray", vmin=0, vmax=1)
        names = f"{class_names[labels[i]]} → {class_names[guessed[i]]}"
        panel.set_title(f"{names}\n{chance[i, guessed[i]]:.0%}", size=8)
    save_figure(figure, path)
