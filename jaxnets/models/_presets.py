"""Networks by name."""

import difflib
from typing import Any

from flax import nnx

from jaxnets.models import _alexnet, _googlenet, _lenet, _resnet, _vgg

PRESETS: dict[str, tuple[Any, dict[str, Any]]] = {
    **_lenet.PRESETS,
    **_alexnet.PRESETS,
    **_vgg.PRESETS,
    **_googlenet.PRESETS,
    **_resnet.PRESETS,
}


def names() -> tuple[str, ...]:
    """The names that `create` takes.

    Returns:
        All of them, family by family.

    Example:
        >>> "resnet50" in names(), "plain56_cifar" in names()
        (True, True)
    """
    return tuple(PRESETS)


def create(name: str, *, rngs: nnx.Rngs, **overrides: Any) -> Any:
    """Make a network by its name.

    Args:
        name: one of `names()`.
        rngs: where the initializers take their keys, and dropout its draws.
        **overrides: arguments of the family's class in place of the preset's:
            `num_classes` and `in_features` in all of them.

    Returns:
        The network, an `nnx.Module`.

    Raises:
        ValueError: if there is no network of this name.
        TypeError: if the family has no such argument.

    Example:
        >>> from flax import nnx
        >>> model = create("resnet20_cifar", num_classes=5, rngs=nnx.Rngs(0))
        >>> model.head.out_features
        5
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=3)
        hint = f"did you mean {', '.join(close)}? " if close else ""
        raise ValueError(
            f"create: there is no network {name!r} ({hint}names() gives all of them)"
        )
    family, options = PRESETS[name]
    return family(**options | overrides, rngs=rngs)
