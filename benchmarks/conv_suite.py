"""Is our convolution the fastest? Layers of real networks against the peers.

    python -m benchmarks.conv_suite [--quick] [--only PATTERN] [--all]
    python -m benchmarks.conv_suite --accuracy relaxed
    python -m benchmarks.conv_suite --network --algorithms [--no-layers]

Forward pass and training step (forward, and both gradients of a fixed cotangent) of
every layer in `_conv_cases`, float32: ours with `algorithm="auto"`, `lax`, PyTorch in
the better of its memory formats, `nnx.Conv` and Keras on JAX on some layers (`--all`:
on all; they run on the convolution of `lax`), and for long kernels `torch.fft`,
`jax.scipy.signal.fftconvolve` and (forward) SciPy's `oaconvolve`. All use all cores;
every result is compared with ours first. `--quick` takes the third of the layers marked
in `_conv_cases`, fewer rounds, and no `nnx.Conv` nor Keras.

Ours runs in both classes of accuracy, side by side: elementwise, the default of
functions, and relaxed, that of layers. `--accuracy` takes one of them.

`--algorithms` times every algorithm on every part of the layers and says how often
`auto` takes one within 10 % of the fastest (relaxed, unless `--accuracy elementwise`
says otherwise); for random convolutions see
`benchmarks.calibrate_conv`. `--network` times whole networks: compilation and steps of
20 layers, and the MNIST convnet against Flax, Keras and PyTorch.
"""

import argparse
import gc
import sys

from benchmarks._conv_algorithms import time_algorithms
from benchmarks._conv_cases import LAYERS, Layer, select
from benchmarks._conv_fft_peers import fftconvolve_apply, oaconvolve_peer
from benchmarks._conv_networks import time_networks
from benchmarks._conv_peers import (
    Contestant,
    add_accuracy,
    classes_of,
    compiled,
    jax_peers,
    missing,
)
from benchmarks._conv_plots import draw_ratios, draw_times
from benchmarks._conv_report import ConvReport
from benchmarks._conv_summary import summarise


def contestants(
    layer: Layer, part: str, frameworks: str, classes: tuple[str, ...]
) -> dict[str, Contestant]:
    """Everyone who can run the layer, ours first."""
    absent, arrays = missing(), layer.draw()
    found = jax_peers(layer, part, arrays, frameworks, classes)
    long = layer.kind == "long kernels"
    if long:
        found["fftconvolve"] = compiled(fftconvolve_apply(layer), part, arrays)
        if part == "forward" and "scipy" not in absent:
            found["oaconvolve"] = oaconvolve_peer(layer, arrays)
    if "torch" not in absent:
        from benchmarks._conv_torch import torch_fft_peer, torch_peer

        found["torch"] = torch_peer(layer, part, arrays)
        if long and "scipy" not in absent:
            found["torch.fft"] = torch_fft_peer(layer, part, arrays)
    return found


def time_layers(options: argparse.Namespace, layers: list[Layer]) -> None:
    rounds, seconds = ((2, 5), 0.6) if options.quick else ((3, 11), 8.0)
    frameworks = "none" if options.quick else "all" if options.all else "some"
    report = ConvReport("conv_suite", options.quick)
    report.notes.extend(f"{name} left out: {why}" for name, why in missing().items())
    report.begin()
    for layer in layers:
        for part in ("forward", "training"):
            classes = classes_of(options.accuracy)
            runs = contestants(layer, part, frameworks, classes)
            report.meet(str(layer), part, runs, rounds, seconds)
            # A peer's buffers of this layer must not crowd the next one's.
            del runs
            gc.collect()
    summarise(report, layers)
    report.store(draw_ratios)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a third, fewer rounds")
    parser.add_argument("--only", metavar="PATTERN", help="layers or kinds with it")
    parser.add_argument("--all", action="store_true", help="nnx.Conv and Keras always")
    parser.add_argument("--algorithms", action="store_true", help="is auto right?")
    parser.add_argument("--network", action="store_true", help="whole networks, too")
    parser.add_argument("--no-layers", action="store_true", help="not the layers")
    add_accuracy(parser, "both")
    options = parser.parse_args()
    classes = classes_of(options.accuracy)
    layers = select(options.quick, options.only)
    if not layers:
        sys.exit(f"conv_suite: no layer matches {options.only!r}")
    print(f"{len(layers)} of {len(LAYERS)} layers\n")
    if not options.no_layers:
        time_layers(options, layers)
    if options.algorithms:
        report = ConvReport("conv_algorithms", options.quick)
        report.begin()
        rounds, seconds = ((2, 5), 0.5) if options.quick else ((3, 9), 3.0)
        time_algorithms(report, layers, rounds, seconds, classes[-1])
        report.store(draw_ratios)
    if options.network:
        report = ConvReport("conv_network", options.quick)
        report.begin()
        time_networks(report, options.quick, classes)
        report.store(draw_times)


if __name__ == "__main__":
    main()
