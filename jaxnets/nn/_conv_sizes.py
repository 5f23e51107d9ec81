"""What every layer of the convolution family checks about its sizes."""

from jaxnets.functional._checks import check_integer, check_integers
from jaxnets.functional._shapes import IntOrInts


def window_of(layer: str, kernel_size: IntOrInts) -> tuple[int, ...]:
    """The window as a tuple; an int means one axis."""
    if isinstance(kernel_size, int):
        kernel_size = (kernel_size,)
    return check_integers(layer, "kernel_size", kernel_size, length=None, minimum=1)


def check_features(
    layer: str, in_features: int, out_features: int, groups: int
) -> tuple[int, int, int]:
    """The channels and the groups that both must divide into."""
    in_features, out_features, groups = (
        check_integer(layer, name, value, minimum=1)
        for name, value in (
            ("in_features", in_features),
            ("out_features", out_features),
            ("feature_group_count", groups),
        )
    )
    if in_features % groups or out_features % groups:
        raise ValueError(
            f"{layer}: feature_group_count must divide in_features and out_features; "
            f"got {groups} for {in_features} and {out_features}"
        )
    return in_features, out_features, groups
