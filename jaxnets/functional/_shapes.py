"""Integers only: windows, padding and output sizes, one truth for conv and pool."""

from collections.abc import Sequence

from jaxnets.functional._checks import check_choice, check_integer

IntOrInts = int | Sequence[int]
Padding = str | int | Sequence[int | Sequence[int]]
DataFormat = str  # one of DATA_FORMATS
Pairs = tuple[tuple[int, int], ...]

MOST_PIXELS = 2**31 - 1
"""Along an axis, with its padding: what 32-bit integers count."""

PADDING_NAMES = ("VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL")
DATA_FORMATS = ("channels_last", "channels_first")


def dilated_size(size: int, dilation: int) -> int:
    """Cells that a window of `size` taps spans: dilation · (size − 1) + 1."""
    return dilation * (size - 1) + 1


def output_size(
    size: int,
    window: int,
    stride: int,
    dilation: int,
    padding: tuple[int, int],
    *,
    ceil_mode: bool = False,
) -> int:
    """Number of window positions along one axis, 0 where the window does not fit.

    floor((size + lo + hi − span) / stride) + 1, where the window spans
    dilation · (window − 1) + 1 cells.
    With `ceil_mode` the division rounds up, and a last window that would begin in the
    padding at the far end is dropped (PyTorch's rule).
    """
    room = size + sum(padding) - dilated_size(window, dilation)
    if room < 0:
        return 0
    count = room // stride + 1
    if ceil_mode and room % stride and count * stride < size + padding[0]:
        count += 1
    return count


def named_padding(
    name: str, size: int, window: int, stride: int, dilation: int
) -> tuple[int, int]:
    """The (lo, hi) cells that a padding name means along one axis.

    SAME gives ceil(size / stride) outputs and puts an odd cell behind the data,
    SAME_LOWER before it; FULL lets every cell meet every tap; CAUSAL lets an output
    see only cells at or before its own place.
    """
    reach = dilated_size(window, dilation) - 1
    match name:
        case "VALID":
            return 0, 0
        case "FULL":
            return reach, reach
        case "CAUSAL":
            return reach, 0
        case _:
            outputs = -(-size // stride)
            total = max((outputs - 1) * stride + reach + 1 - size, 0)
            lo = total // 2 if name == "SAME" else total - total // 2
            return lo, total - lo


def canonical_padding(
    function: str,
    padding: Padding,
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> Pairs:
    """Every spelling of `padding` as one (lo, hi) pair an axis.

    Args:
        function: the public function's name, for messages.
        padding: a name of `PADDING_NAMES` in any case, an int for both sides of all
            axes, or one int or (lo, hi) pair an axis.
        sizes: spatial sizes of the input.
        window: taps an axis.
        strides: steps between windows, an axis.
        dilation: cells between taps, an axis.

    Returns:
        A tuple of (lo, hi), both ≥ 0.

    Raises:
        TypeError: if an entry is neither an integer nor a pair of integers.
        ValueError: for an unknown name, a wrong number of entries or a negative one.
    """
    if isinstance(padding, str):
        name = padding.upper()
        check_choice(function, "padding", name, PADDING_NAMES)
        return tuple(
            named_padding(name, *axis)
            for axis in zip(sizes, window, strides, dilation, strict=True)
        )
    if hasattr(padding, "__index__"):
        both = check_integer(function, "padding", padding, minimum=0)
        return ((both, both),) * len(window)
    if not isinstance(padding, Sequence):
        raise TypeError(
            f"{function}: padding must be a name, an integer, or one integer or "
            f"(lo, hi) pair a spatial axis; got {padding!r}"
        )
    if len(padding) != len(window):
        remedy = " (write ((lo, hi),) for one axis)" if len(window) == 1 else ""
        raise ValueError(
            f"{function}: padding must have {len(window)} entries, one a spatial axis; "
            f"got {len(padding)} in {tuple(padding)}{remedy}"
        )
    return tuple(_pair(function, entry) for entry in padding)


def _pair(function: str, entry: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(entry, Sequence) and not isinstance(entry, str):
        if len(entry) != 2:
            raise ValueError(
                f"{function}: padding pairs must be (lo, hi); got {tuple(entry)}"
            )
        lo, hi = (check_integer(function, "padding", v, minimum=0) for v in entry)
        return lo, hi
    both = check_integer(function, "padding", entry, minimum=0)
    return both, both
