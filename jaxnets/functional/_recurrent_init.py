"""Initial parameters of recurrent cells."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integer, check_integers
from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional._recurrent_params import (
    ConvLSTMParams,
    GRUParams,
    LSTMNorm,
    LSTMParams,
    MGUParams,
    RNNParams,
)

_glorot = initializers.glorot_uniform()


def orthogonal_blocks(
    key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32
) -> jax.Array:
    """A `(units, gates * units)` matrix whose rows are orthonormal, as Keras draws it.

    Keras draws one orthogonal matrix over all gates; QR has no half types.
    """
    wide = wide_dtype(dtype)
    return initializers.orthogonal()(key, shape, wide).astype(dtype)


def init_rnn(
    key: ArrayLike,
    in_features: int,
    units: int,
    *,
    use_bias: bool = True,
    dtype: Any = jnp.float32,
) -> RNNParams:
    """Draw parameters of `rnn`: Glorot kernel, orthogonal recurrent kernel, zero bias.

    Args:
        key: a random key.
        in_features: size of an input.
        units: size of the state.
        use_bias: whether there is a bias.
        dtype: dtype of the parameters.

    Returns:
        `RNNParams` of `(in_features, units)`, `(units, units)` and `(units,)`.

    Raises:
        TypeError: if a size is no integer.
        ValueError: if a size is below 1.

    Example:
        >>> params = init_rnn(jax.random.key(0), 3, 4)
        >>> jax.tree.map(jnp.shape, params)
        RNNParams(kernel=(3, 4), recurrent_kernel=(4, 4), bias=(4,))

    Source:
        Glorot, Bengio 2010, equation 16; Saxe, McClelland, Ganguli 2014.
    """
    kernel, recurrent = _kernels("init_rnn", key, in_features, units, 1, dtype)
    return RNNParams(kernel, recurrent, _zeros(use_bias, units, dtype))


def init_lstm(
    key: ArrayLike,
    in_features: int,
    units: int,
    *,
    use_bias: bool = True,
    unit_forget_bias: bool = True,
    peephole: bool = False,
    proj_size: int | None = None,
    layer_norm: bool = False,
    coupled: bool = False,
    dtype: Any = jnp.float32,
) -> LSTMParams:
    """Draw parameters of `lstm`: Glorot and orthogonal kernels, unit forget bias.

    Args:
        key: a random key.
        in_features: size of an input.
        units: size of the cell.
        use_bias: whether there is a bias.
        unit_forget_bias: whether the forget gate's bias begins at 1, not 0.
        peephole: whether the gates see the cell; these weights begin at 0.
        proj_size: size that outputs are projected to, or None.
        layer_norm: whether the sums and the cell are normalised.
        coupled: whether the input gate is 1 minus the forget gate.
        dtype: dtype of the parameters.

    Returns:
        `LSTMParams` of `(in_features, 4 * units)`, `(units, 4 * units)` and
        `(4 * units,)`, and what the options add.

    Raises:
        TypeError: if a size is no integer.
        ValueError: if a size is below 1, or peephole meets proj_size.

    Example:
        >>> params = init_lstm(jax.random.key(0), 3, 2)
        >>> jax.tree.map(jnp.shape, params[:2])
        ((3, 8), (2, 8))
        >>> params.bias
        Array([0., 0., 1., 1., 0., 0., 0., 0.], dtype=float32)

    Source:
        Gers, Schmidhuber, Cummins 2000; Jozefowicz, Zaremba, Sutskever 2015, section 5
        (the forget bias).
    """
    function, gates = "init_lstm", 3 if coupled else 4
    if proj_size is not None:
        proj_size = check_integer(function, "proj_size", proj_size, minimum=1)
    if peephole and proj_size is not None:
        raise ValueError(
            f"{function}: peephole and proj_size exclude each other; got "
            f"peephole=True with proj_size={proj_size} (leave out one of them)"
        )
    key, project = jax.random.split(key)
    kernel, recurrent = _kernels(
        function, key, in_features, units, gates, dtype, outputs=proj_size
    )
    bias = _zeros(use_bias, gates * units, dtype)
    if bias is not None and unit_forget_bias:
        start = units * (gates - 3)
        bias = bias.at[start : start + units].set(1)
    norm = None
    if layer_norm:
        sums, cell = jnp.ones(gates * units, dtype), jnp.ones(units, dtype)
        norm = LSTMNorm(sums, sums, cell, jnp.zeros(units, dtype))
    return LSTMParams(
        kernel,
        recurrent,
        bias,
        jnp.zeros((gates - 1, units), dtype) if peephole else None,
        None if proj_size is None else _glorot(project, (units, proj_size), dtype),
        norm,
    )


def init_gru(
    key: ArrayLike,
    in_features: int,
    units: int,
    *,
    use_bias: bool = True,
    recurrent_bias: bool = False,
    dtype: Any = jnp.float32,
) -> GRUParams:
    """Draw parameters of `gru`: Glorot and orthogonal kernels, zero biases.

    Args:
        key: a random key.
        in_features: size of an input.
        units: size of the state.
        use_bias: whether there is a bias.
        recurrent_bias: whether there is a second one, as torch and Keras have.
        dtype: dtype of the parameters.

    Returns:
        `GRUParams` of `(in_features, 3 * units)`, `(units, 3 * units)` and
        `(3 * units,)`.

    Raises:
        TypeError: if a size is no integer.
        ValueError: if a size is below 1.

    Example:
        >>> params = init_gru(jax.random.key(0), 3, 2)
        >>> jax.tree.map(jnp.shape, params)
        GRUParams(kernel=(3, 6), recurrent_kernel=(2, 6), bias=(6,),
                  recurrent_bias=None)

    Source:
        Cho et al. 2014, "Learning phrase representations", section 2.3.
    """
    kernel, recurrent = _kernels("init_gru", key, in_features, units, 3, dtype)
    biases = (_zeros(use, 3 * units, dtype) for use in (use_bias, recurrent_bias))
    return GRUParams(kernel, recurrent, *biases)


def init_mgu(
    key: ArrayLike,
    in_features: int,
    units: int,
    *,
    use_bias: bool = True,
    dtype: Any = jnp.float32,
) -> MGUParams:
    """Draw parameters of `mgu_cell`: Glorot and orthogonal kernels, zero bias.

    Args:
        key: a random key.
        in_features: size of an input.
        units: size of the state.
        use_bias: whether there is a bias.
        dtype: dtype of the parameters.

    Returns:
        `MGUParams` of `(in_features, 2 * units)`, `(units, 2 * units)` and
        `(2 * units,)`.

    Raises:
        TypeError: if a size is no integer.
        ValueError: if a size is below 1.

    Example:
        >>> params = init_mgu(jax.random.key(0), 3, 2)
        >>> jax.tree.map(jnp.shape, params)
        MGUParams(kernel=(3, 4), recurrent_kernel=(2, 4), bias=(4,))

    Source:
        Zhou, Wu, Zhang, Zhou 2016, "Minimal gated unit".
    """
    kernel, recurrent = _kernels("init_mgu", key, in_features, units, 2, dtype)
    return MGUParams(kernel, recurrent, _zeros(use_bias, 2 * units, dtype))


def init_conv_lstm(
    key: ArrayLike,
    in_features: int,
    filters: int,
    window: tuple[int, ...],
    *,
    use_bias: bool = True,
    unit_forget_bias: bool = True,
    peephole_shape: tuple[int, ...] | None = None,
    dtype: Any = jnp.float32,
) -> ConvLSTMParams:
    """Draw parameters of `conv_lstm_cell`: Glorot kernels, unit forget bias.

    Args:
        key: a random key.
        in_features: channels of an input.
        filters: channels of the state.
        window: cells of both kernels, one entry a spatial axis.
        use_bias: whether there is a bias.
        unit_forget_bias: whether the forget gate's bias begins at 1, not 0.
        peephole_shape: spatial sizes of the state, for gates that see the cell; these
            weights begin at 0. None: no peepholes.
        dtype: dtype of the parameters.

    Returns:
        `ConvLSTMParams` of `(*window, in_features, 4 * filters)`,
        `(*window, filters, 4 * filters)` and `(4 * filters,)`.

    Raises:
        TypeError: if a size is no integer.
        ValueError: if a size is below 1.

    Example:
        >>> params = init_conv_lstm(jax.random.key(0), 3, 2, (5, 5))
        >>> jax.tree.map(jnp.shape, params[:3])
        ((5, 5, 3, 8), (5, 5, 2, 8), (8,))

    Source:
        Shi et al. 2015, "Convolutional LSTM network", section 3.1.
    """
    function = "init_conv_lstm"
    check_integer(function, "in_features", in_features, minimum=1)
    check_integer(function, "filters", filters, minimum=1)
    window = check_integers(function, "window", window, length=None, minimum=1)
    first, second = jax.random.split(key)
    bias = _zeros(use_bias, 4 * filters, dtype)
    if bias is not None and unit_forget_bias:
        bias = bias.at[filters : 2 * filters].set(1)
    peephole = None
    if peephole_shape is not None:
        peephole = jnp.zeros((3, *peephole_shape, filters), dtype)
    return ConvLSTMParams(
        _glorot(first, (*window, in_features, 4 * filters), dtype),
        _glorot(second, (*window, filters, 4 * filters), dtype),
        bias,
        peephole,
    )


def _kernels(function, key, in_features, units, gates, dtype, outputs=None):
    """The kernel and the recurrent kernel; the state has `outputs` or `units`."""
    check_integer(function, "in_features", in_features, minimum=1)
    check_integer(function, "units", units, minimum=1)
    first, second = jax.random.split(key)
    kernel = _glorot(first, (in_features, gates * units), dtype)
    return kernel, orthogonal_blocks(second, (outputs or units, gates * units), dtype)


def _zeros(use: bool, size: int, dtype: Any) -> jax.Array | None:
    return jnp.zeros(size, dtype) if use else None
