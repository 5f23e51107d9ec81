"""What layers with several kernels, one a position or a tile, have in common."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn import dtypes
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_choice, check_integers
from jaxnets.functional._conv_accuracy import check_accuracy, layer_accuracy
from jaxnets.functional._shapes import DATA_FORMATS, IntOrInts, Padding
from jaxnets.nn._conv_sizes import check_features, window_of
from jaxnets.nn._metadata import Constraint, Regularizer
from jaxnets.nn._parameters import (
    Activation,
    Initializer,
    ParameterOptions,
    activated,
    default_bias_init,
    default_kernel_init,
    hashable,
    make_activity,
    make_bias,
    make_parameter,
)


class UnsharedConv(nnx.Module):
    """What `LocalConv` and `TiledConv` have in common: `counts` kernels and biases.

    Accuracy: `"relaxed"` by default, errors relative to the largest values; see
    `jaxnets.functional.conv_accuracy`.

    Args:
        in_features: channels of `x`.
        out_features: channels of `y`.
        kernel_size: cells of the window, one entry a spatial axis; an int means one
            axis.
        counts: how many kernels there are along every spatial axis.
        strides: cells from one window to the next, for all axes or one an axis.
        padding: as in `jaxnets.functional.conv`.
        kernel_dilation: cells from one tap to the next.
        feature_group_count: the channels are cut into this many groups.
        use_bias: whether there is a bias.
        shared_bias: True gives one bias a channel, in place of one for each kernel.
        dtype: dtype of the computation; None infers it from `x` and the parameters.
        param_dtype: dtype of the parameters.
        precision: as in `jax.lax.conv_general_dilated`.
        accuracy: as in `jaxnets.functional.conv`; None takes the class that
            `conv_accuracy` set, or else `"relaxed"`.
        kernel_init: initializer of one kernel, `(*kernel_size, in_features // groups,
            out_features)`; each has a key of its own.
        bias_init: initializer of the bias.
        promote_dtype: function that brings `(x, kernel, bias)` to one dtype.
        data_format: `"channels_last"` or `"channels_first"`, of `x` and `y`.
        activation: function of the sums, such as `jax.nn.relu`; None is the identity.
        kernel_regularizer: function of all kernels giving a scalar, see `penalty`.
        bias_regularizer: the same for the bias.
        activity_regularizer: function of `y` giving a scalar; `penalty` adds it
            divided by the number of examples, the product of the batch axes.
        kernel_constraint: projection of all kernels, see `constrain`.
        bias_constraint: the same for the bias.
        trainable: False for parameters that `freeze` holds.
        kernel_metadata: further metadata of the kernels.
        bias_metadata: further metadata of the bias.
        rngs: where the initializers take their keys, stream `params`.

    Raises:
        TypeError: if a size is no integer or a function not callable.
        ValueError: if a size is below 1, the groups do not divide the channels, or an
            option is given twice.
    """

    function: Callable[..., jax.Array]

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: IntOrInts,
        counts: tuple[int, ...],
        *,
        strides: IntOrInts = 1,
        padding: Padding,
        kernel_dilation: IntOrInts = 1,
        feature_group_count: int = 1,
        use_bias: bool = True,
        shared_bias: bool = False,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        accuracy: str | None = None,
        kernel_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        promote_dtype: Callable[..., Any] = dtypes.promote_dtype,
        data_format: str = "channels_last",
        activation: Activation | None = None,
        kernel_regularizer: Regularizer | None = None,
        bias_regularizer: Regularizer | None = None,
        activity_regularizer: Regularizer | None = None,
        kernel_constraint: Constraint | None = None,
        bias_constraint: Constraint | None = None,
        trainable: bool = True,
        kernel_metadata: Mapping[str, Any] = MappingProxyType({}),
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
        rngs: nnx.Rngs,
    ):
        layer = type(self).__name__
        check_choice(layer, "data_format", data_format, DATA_FORMATS)
        window = window_of(layer, kernel_size)
        rank = len(window)
        self.kernel_size = window
        self.in_features, self.out_features, groups = check_features(
            layer, in_features, out_features, feature_group_count
        )
        self.feature_group_count = groups
        self.strides, self.kernel_dilation = (
            check_integers(layer, name, value, length=rank, minimum=1)
            for name, value in (
                ("strides", strides),
                ("kernel_dilation", kernel_dilation),
            )
        )
        self.padding = hashable(padding)
        kernel = ParameterOptions(
            _of_each(kernel_init, rank),
            kernel_regularizer,
            kernel_constraint,
            trainable,
            kernel_metadata,
        )
        bias = ParameterOptions(
            bias_init, bias_regularizer, bias_constraint, trainable, bias_metadata
        )
        shape = (*counts, *window, in_features // groups, out_features)
        self.kernel = make_parameter(layer, "kernel", shape, param_dtype, kernel, rngs)
        shape = (out_features,) if shared_bias else (*counts, out_features)
        self.bias = nnx.data(make_bias(layer, use_bias, shape, param_dtype, bias, rngs))

        self.use_bias = use_bias
        self.shared_bias = shared_bias
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.accuracy = check_accuracy(layer, accuracy)
        self.promote_dtype = promote_dtype
        self.data_format = data_format
        self.activation = activation
        self.activity_regularizer = activity_regularizer
        self.deterministic = False
        self.activity_penalty = nnx.data(
            make_activity(activity_regularizer, param_dtype)
        )

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Apply the layer.

        Args:
            x: `(*batch, *spatial, in_features)`, any number of batch axes, none
                included; with `data_format="channels_first"`
                `(*batch, in_features, *spatial)`.

        Returns:
            `(*batch, *positions, out_features)`, or `(*batch, out_features,
            *positions)`.
        """
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = self.promote_dtype(
            (jnp.asarray(x), self.kernel[...], bias), dtype=self.dtype
        )
        y = self.function(
            x,
            kernel,
            bias,
            strides=self.strides,
            padding=self.padding,
            dilation=self.kernel_dilation,
            groups=self.feature_group_count,
            data_format=self.data_format,
            precision=self.precision,
            accuracy=layer_accuracy(self.accuracy),
        )
        return activated(self, y, y.shape[: y.ndim - len(self.kernel_size) - 1])


def _of_each(init: Initializer, rank: int) -> Initializer:
    """The initializer with a key for each kernel, whose fan-in is one window's."""

    def every(key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
        keys = jax.random.split(key, prod(shape[:rank]))
        values = jax.vmap(lambda key: init(key, tuple(shape[rank:]), dtype))(keys)
        return values.reshape(shape)

    return every
