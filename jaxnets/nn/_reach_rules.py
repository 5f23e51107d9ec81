"""What the operations on arrays make of what their operands depend on."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

from jaxnets.nn._reach import Reach, union

Shape = tuple[int, ...]

# Each cell of the result is made of the cells of the operands at the same place.
ELEMENTWISE = frozenset(
    """
    abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp
    convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2
    expm1 floor ge gt imag integer_pow is_finite le lgamma log log1p logistic lt max min
    mul name ne neg nextafter not optimization_barrier or pow real reduce_precision rem
    round rsqrt select_n shift_left shift_right_arithmetic shift_right_logical sign sin
    sinh sqrt square stop_gradient sub tan tanh xor
    """.split()
)


def concatenate(
    equation: Any, operands: Sequence[Reach | None], shapes: list[Shape]
) -> Reach | None:
    axis = equation.params["dimension"]
    out = equation.outvars[0].aval.shape
    lengths = [shape[axis] for shape in shapes]
    starts = accumulate(lengths, initial=0)
    moved = [
        None if reach is None else reach.windowed(axis, 1, (-start,))
        for reach, start in zip(operands, starts, strict=False)
    ]
    # What is put before and behind a longer part is its border, as padding is.
    longest = max(range(len(moved)), key=lambda i: lengths[i])
    reach = moved[longest]
    along = reach is not None and axis in dict(reach.steps)
    if along and 2 * lengths[longest] > sum(lengths):
        return reach
    return union(moved, out)


def dot_general(
    equation: Any, operands: Sequence[Reach | None], shapes: list[Shape]
) -> Reach | None:
    contracted, batched = equation.params["dimension_numbers"]
    moved, place = [], len(batched[0])
    for side, (reach, shape) in enumerate(zip(operands, shapes, strict=True)):
        axes = {axis: number for number, axis in enumerate(batched[side])}
        for axis in range(len(shape)):
            if axis not in batched[side] and axis not in contracted[side]:
                axes[axis], place = place, place + 1
        if reach is not None:
            for axis in contracted[side]:
                reach = reach.reduced(axis, shape[axis])
            moved.append(reach.renumbered(axes))
    return union(moved, equation.outvars[0].aval.shape)


def _reduce(reach: Reach, equation: Any, shape: Shape) -> Reach:
    gone = equation.params["axes"]
    for axis in gone:
        reach = reach.reduced(axis, shape[axis])
    return _without(reach, gone)


def _without(reach: Reach, gone: Sequence[int]) -> Reach:
    """The axes behind those that are gone move up."""
    return reach.renumbered(
        {axis: axis - sum(g < axis for g in gone) for axis, _ in reach.steps}
    )


def _squeeze(reach: Reach, equation: Any, shape: Shape) -> Reach:
    gone = equation.params["dimensions"]
    for axis in gone:
        reach = reach.reduced(axis, 1)
    return _without(reach, gone)


def _reshape(reach: Reach, equation: Any, shape: Shape) -> Reach:
    return reach.reshaped(shape, equation.outvars[0].aval.shape)


def _broadcast(reach: Reach, equation: Any, shape: Shape) -> Reach:
    for axis, size in enumerate(shape):
        if size == 1:
            reach = reach.reduced(axis, 1)
    places = equation.params["broadcast_dimensions"]
    return reach.renumbered(dict(enumerate(places)))


def _transpose(reach: Reach, equation: Any, shape: Shape) -> Reach:
    order = equation.params["permutation"]
    return reach.renumbered({old: new for new, old in enumerate(order)})


def _reverse(reach: Reach, equation: Any, shape: Shape) -> Reach:
    for axis in equation.params["dimensions"]:
        reach = reach.windowed(axis, -1, (shape[axis] - 1,))
    return reach


def _slice(reach: Reach, equation: Any, shape: Shape) -> Reach:
    params = equation.params
    strides = params["strides"] or (1,) * len(shape)
    for axis, (start, stride) in enumerate(
        zip(params["start_indices"], strides, strict=True)
    ):
        reach = reach.windowed(axis, stride, (start,))
    return reach


def _split(reach: Reach, equation: Any, shape: Shape) -> list[Reach]:
    starts = accumulate(equation.params["sizes"], initial=0)
    axis = equation.params["axis"]
    pairs = zip(starts, equation.outvars, strict=False)
    return [reach.windowed(axis, 1, (start,)) for start, _ in pairs]


def _pad(reach: Reach, equation: Any, shape: Shape) -> Reach:
    for axis, (low, _, inner) in enumerate(equation.params["padding_config"]):
        reach = reach.spread(axis, inner + 1, shape)
        reach = reach.windowed(axis, 1, (-int(low),))
    return reach


def _reduce_window(reach: Reach, equation: Any, shape: Shape) -> Reach:
    params = equation.params
    rank = len(shape)
    window = params["window_dimensions"]
    spread = params.get("base_dilation") or (1,) * rank
    apart = params.get("window_dilation") or (1,) * rank
    for axis in range(rank):
        reach = reach.spread(axis, spread[axis], shape)
        low = params["padding"][axis][0]
        taps = [apart[axis] * t - low for t in range(window[axis])]
        reach = reach.windowed(axis, params["window_strides"][axis], taps)
    return reach


def _lax_conv(reach: Reach, equation: Any, shape: Shape) -> Reach:
    params = equation.params
    numbers = params["dimension_numbers"]
    kernel = equation.invars[1].aval.shape
    for number, axis in enumerate(numbers.lhs_spec[2:]):
        reach = reach.spread(axis, params["lhs_dilation"][number], shape)
        low, apart = params["padding"][number][0], params["rhs_dilation"][number]
        taps = [apart * t - low for t in range(kernel[numbers.rhs_spec[2 + number]])]
        reach = reach.windowed(axis, params["window_strides"][number], taps)
    features = numbers.lhs_spec[1]
    reach = reach.reduced(features, shape[features])
    return reach.renumbered(dict(zip(numbers.lhs_spec, numbers.out_spec, strict=True)))


def _conv(reach: Reach, equation: Any, shape: Shape) -> Reach:
    spec, kernel = equation.params["spec"], equation.invars[1].aval.shape
    for number, stride in enumerate(spec.strides):
        low, apart = spec.padding[number][0], spec.dilation[number]
        taps = [apart * t - low for t in range(kernel[number])]
        reach = reach.windowed(number + 1, stride, taps)
    return reach.reduced(len(shape) - 1, shape[-1])


def _conv_input_grad(reach: Reach, equation: Any, shape: Shape) -> Reach:
    # Cell i of x meets tap t of window k where i = stride · k + dilation · t - low.
    spec, kernel = equation.params["spec"], equation.invars[1].aval.shape
    for number, stride in enumerate(spec.strides):
        low, apart = spec.padding[number][0], spec.dilation[number]
        reach = reach.spread(number + 1, stride, shape)
        taps = [low - apart * t for t in range(kernel[number])]
        reach = reach.windowed(number + 1, 1, taps)
    return reach.reduced(len(shape) - 1, shape[-1])


# For operations of which the first operand alone depends on the input.
RULES: dict[str, Callable[[Reach, Any, Shape], Any]] = {
    **dict.fromkeys(
        (
            "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod "
            "reduce_sum reduce_xor"
        ).split(),
        _reduce,
    ),
    **dict.fromkeys(
        ("reduce_window reduce_window_max reduce_window_min reduce_window_sum").split(),
        _reduce_window,
    ),
    "broadcast_in_dim": _broadcast,
    "conv_general_dilated": _lax_conv,
    "jaxnets_conv": _conv,
    "jaxnets_conv_input_grad": _conv_input_grad,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _reverse,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "transpose": _transpose,
}
