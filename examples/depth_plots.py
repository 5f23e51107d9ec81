"""The pictures of the degradation experiment."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from plots import plt, save_figure

STYLES = {"plain": "--", "resnet": "-"}


def save_errors(networks: list[dict[str, Any]], path: Path) -> None:
    """Error by epoch, a panel for each kind: training dashed, test in full."""
    kinds = list(dict.fromkeys(n["kind"] for n in networks))
    figure, panels = plt.subplots(
        1,
        len(kinds),
        figsize=(4.6 * len(kinds), 3.6),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    colours = _colours(networks)
    for panel, kind in zip(panels[0], kinds, strict=True):
        for network in (n for n in networks if n["kind"] == kind):
            epochs = np.arange(1, len(network["train_error"]) + 1)
            colour, name = colours[network["depth"]], network["network"]
            panel.plot(
                epochs, network["train_error"], "--", c=colour, label=f"{name} training"
            )
            panel.plot(epochs, network["test_error"], c=colour, label=f"{name} test")
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    panels[0, 0].set_ylabel("error (%)")
    save_figure(figure, path)


def save_layers(networks: list[dict[str, Any]], path: Path) -> None:
    """By layer, at the beginning and the end: gradient norms, speed of the weights."""
    figure, panels = plt.subplots(2, 2, figsize=(9.2, 6.4), layout="constrained")
    colours = _colours(networks)
    rows = (
        ("gradient", "norm of the gradient"),
        ("speed", "change in an epoch / norm of the kernel"),
    )
    for row, (figures, label) in zip(panels, rows, strict=True):
        whens = (
            (0, "before training" if figures == "gradient" else "first epoch"),
            (-1, "after training" if figures == "gradient" else "last epoch"),
        )
        for panel, (place, when) in zip(row, whens, strict=True):
            for network in networks:
                values = network[figures][place]
                panel.semilogy(
                    np.linspace(0, 1, len(values)),
                    values,
                    STYLES[network["kind"]],
                    c=colours[network["depth"]],
                    lw=1.2,
                    label=network["network"],
                )
            panel.set_title(when, size=10)
            panel.set_xlabel("layer, from input (0) to head (1)")
            panel.grid(alpha=0.3)
        low = min(panel.get_ylim()[0] for panel in row)
        high = max(panel.get_ylim()[1] for panel in row)
        for panel in row:
            panel.set_ylim(low, high)
        row[0].set_ylabel(label)
    panels[0, 0].legend(fontsize=8)
    save_figure(figure, path)


def save_blocks(networks: list[dict[str, Any]], path: Path) -> None:
    """By block, at the end: what the branch adds, and the gradient's two ways back."""
    figure, panels = plt.subplots(1, 3, figsize=(12.6, 3.6), layout="constrained")
    colours = _colours(networks)
    residual = [n for n in networks if n["kind"] == "resnet"]
    for network in residual:
        for place, style, when in ((0, ":", "before"), (-1, "-", "after")):
            ratios = network["ratio"][place]
            panels[0].plot(
                range(1, len(ratios) + 1),
                ratios,
                style,
                c=colours[network["depth"]],
                label=f"{network['network']}, {when} training",
            )
    panels[0].set_ylabel("|branch(x)| / |shortcut(x)|")
    panels[0].set_ylim(bottom=0)
    for panel, place, when in ((panels[1], 0, "before"), (panels[2], -1, "after")):
        for network in networks:
            colour, name = colours[network["depth"]], network["network"]
            style = STYLES[network["kind"]]
            blocks = range(1, len(network["ratio"][place]) + 1)
            branch = network["through_branch"][place]
            panel.semilogy(blocks, branch, style, c=colour, label=f"{name} branch")
            if network["kind"] == "resnet":
                direct = network["through_shortcut"][place]
                panel.semilogy(blocks, direct, ":", c=colour, label=f"{name} shortcut")
        panel.set_ylabel(f"gradient of a block's input, {when} training")
    for panel in panels:
        panel.set_xlabel("block")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
    for panel in panels[:2]:
        # The third shows what the second does.
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=7)
    save_figure(figure, path)


def _colours(networks: list[dict[str, Any]]) -> dict[int, str]:
    depths = sorted({n["depth"] for n in networks})
    return {depth: f"C{number}" for number, depth in enumerate(depths)}
