"""Parameters and states of recurrent cells: tuples of arrays."""

from typing import Any, NamedTuple


class RNNParams(NamedTuple):
    """Parameters of `rnn` and `rnn_cell`; the state is the array h.

    Attributes:
        kernel: `(in, units)`.
        recurrent_kernel: `(units, units)`.
        bias: `(units,)`, or None.
    """

    kernel: Any
    recurrent_kernel: Any
    bias: Any = None


class LSTMNorm(NamedTuple):
    """What layer normalisation adds to an LSTM; the biases of the sums are `bias`.

    Attributes:
        kernel_scale: `(4 * units,)`, of the input's part of the sums.
        recurrent_scale: `(4 * units,)`, of the state's part.
        cell_scale: `(units,)`, of the cell before its tanh.
        cell_bias: `(units,)`.
    """

    kernel_scale: Any
    recurrent_scale: Any
    cell_scale: Any
    cell_bias: Any


class LSTMParams(NamedTuple):
    """Parameters of `lstm` and `lstm_cell`, gates in the order i, f, g, o.

    With coupled gates there is no i, the order is f, g, o and every 4 below is a 3.

    Attributes:
        kernel: `(in, 4 * units)`.
        recurrent_kernel: `(units, 4 * units)`, or `(proj_size, 4 * units)`.
        bias: `(4 * units,)`, or None.
        peephole: `(3, units)` in the order i, f, o (coupled: `(2, units)`, f, o), or
            None.
        projection: `(units, proj_size)`, or None.
        norm: scales of layer normalisation, or None.
    """

    kernel: Any
    recurrent_kernel: Any
    bias: Any = None
    peephole: Any = None
    projection: Any = None
    norm: LSTMNorm | None = None


class LSTMState(NamedTuple):
    """State of an LSTM.

    Attributes:
        h: `(*batch, units)`, or `(*batch, proj_size)`: the last output.
        c: `(*batch, units)`: the cell.
    """

    h: Any
    c: Any


class GRUParams(NamedTuple):
    """Parameters of `gru` and `gru_cell`, gates in the order r, z, n.

    Attributes:
        kernel: `(in, 3 * units)`.
        recurrent_kernel: `(units, 3 * units)`.
        bias: `(3 * units,)`, or None.
        recurrent_bias: `(3 * units,)`, or None; its n part stands inside the reset.
    """

    kernel: Any
    recurrent_kernel: Any
    bias: Any = None
    recurrent_bias: Any = None


class MGUParams(NamedTuple):
    """Parameters of `mgu_cell`, gates in the order f, n; the state is the array h.

    Attributes:
        kernel: `(in, 2 * units)`.
        recurrent_kernel: `(units, 2 * units)`.
        bias: `(2 * units,)`, or None.
    """

    kernel: Any
    recurrent_kernel: Any
    bias: Any = None


class ConvLSTMParams(NamedTuple):
    """Parameters of `conv_lstm_cell`, gates in the order i, f, g, o.

    Attributes:
        kernel: `(*window, in, 4 * filters)`.
        recurrent_kernel: `(*window, filters, 4 * filters)`.
        bias: `(4 * filters,)`, or None.
        peephole: `(3, *positions, filters)` in the order i, f, o, or None.
    """

    kernel: Any
    recurrent_kernel: Any
    bias: Any = None
    peephole: Any = None
