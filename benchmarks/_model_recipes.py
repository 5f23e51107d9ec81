"""The networks of `benchmarks.models` as recipes that any library can follow.

A recipe calls layers by the paths that the weights have in our own network, whose
shapes say the rest: `net.conv("stages.0.0.convs.0", x, padding=1)`. What `net` does is
in `_model_peers`: stock layers of Flax, Keras or PyTorch. So there is one description
of each network besides ours, and results are compared before anything is timed.
"""

from collections.abc import Callable
from typing import Any


def lenet(net: Any, x: Any) -> Any:
    x = net.max_pool(net.relu(net.conv("conv1", x, padding=2)), 2, 2)
    x = net.max_pool(net.relu(net.conv("conv2", x)), 2, 2)
    x = net.relu(net.dense("dense1", net.flatten(x)))
    return net.dense("head", net.relu(net.dense("dense2", x)))


def alexnet(net: Any, x: Any) -> Any:
    layers = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))
    for number, (stride, padding) in enumerate(layers):
        x = _block(net, f"blocks.{number}", x, stride, padding)
        if number in (0, 1, 4):
            x = net.max_pool(x, 3, 2)
    x = net.flatten(net.adaptive_mean(x, 6))
    for number in range(2):
        x = net.dropout(x, 0.5)
        x = net.relu(net.dense(f"head.layers.{number}", x))
    return net.dense("head.out", x)


def vgg(net: Any, x: Any) -> Any:
    for stage in range(5):
        for place in net.count(f"stages.{stage}"):
            x = _block(net, f"stages.{stage}.{place}", x, 1, 1)
        x = net.max_pool(x, 2, 2)
    x = net.flatten(net.adaptive_mean(x, 7))
    for number in range(2):
        x = net.relu(net.dense(f"head.layers.{number}", x))
        x = net.dropout(x, 0.5)
    return net.dense("head.out", x)


def googlenet(net: Any, x: Any) -> Any:
    x = net.max_pool(_block(net, "conv1", x, 2, 3), 3, 2, ceil=True)
    x = _block(net, "conv3", _block(net, "conv2", x, 1, 0), 1, 1)
    x = net.max_pool(x, 3, 2, ceil=True)
    for stage in range(3):
        for place in net.count(f"stages.{stage}"):
            x = _inception(net, f"stages.{stage}.{place}", x)
        if stage < 2:
            x = net.max_pool(x, 3 if stage == 0 else 2, 2, ceil=True)
    return net.dense("head", net.dropout(net.mean(x), 0.2))


def resnet(net: Any, x: Any) -> Any:
    if net.side("stem.conv") == 7:
        x = net.max_pool(_block(net, "stem", x, 2, 3), 3, 2, padding=1)
    else:
        x = _block(net, "stem", x, 1, 1)
    for stage in range(4):
        for place in net.count(f"stages.{stage}"):
            stride = 2 if stage > 0 and place == 0 else 1
            x = _residual(net, f"stages.{stage}.{place}", x, stride)
    return net.dense("head", net.mean(x))


def _block(net: Any, path: str, x: Any, stride: int, padding: int) -> Any:
    x = net.conv(f"{path}.conv", x, stride=stride, padding=padding)
    return net.relu(net.norm(f"{path}.norm", x, 1e-5 if path == "stem" else 1e-3))


def _inception(net: Any, path: str, x: Any) -> Any:
    parts = [_block(net, f"{path}.branches.0.0", x, 1, 0)]
    for number in (1, 2):
        reduced = _block(net, f"{path}.branches.{number}.0", x, 1, 0)
        parts.append(_block(net, f"{path}.branches.{number}.1", reduced, 1, 1))
    pooled = net.max_pool(x, 3, 1, padding=1)
    return net.concat([*parts, _block(net, f"{path}.pooled", pooled, 1, 0)])


def _residual(net: Any, path: str, x: Any, stride: int) -> Any:
    y = net.conv(f"{path}.convs.0", x, stride=stride, padding=1)
    y = net.relu(net.norm(f"{path}.norms.0", y, 1e-5))
    y = net.norm(f"{path}.norms.1", net.conv(f"{path}.convs.1", y, padding=1), 1e-5)
    if net.has(f"{path}.project.kernel"):
        x = net.conv(f"{path}.project", x, stride=stride)
        x = net.norm(f"{path}.project_norm", x, 1e-5)
    elif stride > 1:
        x = net.pad_channels(net.every(x, stride))
    return net.relu(net.add(x, y))


# Name of our network: its recipe, the usual size of an image, its channels, and
# whether dropout makes every step another one.
Recipe = Callable[[Any, Any], Any]
NETWORKS: dict[str, tuple[Recipe, int, int, bool]] = {
    "lenet5_modern": (lenet, 28, 1, False),
    "resnet20_cifar": (resnet, 32, 3, False),
    "alexnet": (alexnet, 224, 3, True),
    "vgg11": (vgg, 224, 3, True),
    "googlenet": (googlenet, 224, 3, True),
    "resnet18": (resnet, 224, 3, False),
}
