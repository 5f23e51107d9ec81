"""SeparableConv: a convolution of every channel by itself, then a mixture of them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn import dtypes
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_choice, check_integer, check_integers
from jaxnets.functional._conv_accuracy import check_accuracy, layer_accuracy
from jaxnets.functional._conv_separable import separable_conv
from jaxnets.functional._shapes import DATA_FORMATS, IntOrInts, Padding
from jaxnets.nn._conv_sizes import window_of
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


class SeparableConv(nnx.Module):
    """A depthwise separable layer: y = activation(separable_conv(x, kernels) + bias).

    `x (*batch, *spatial, in_features)` gives `y (*batch, *positions, out_features)`;
    `depthwise_kernel` is `(*kernel_size, 1, in_features * depth_multiplier)` and
    `pointwise_kernel` `(*ones, in_features * depth_multiplier, out_features)`.

    Accuracy: `"relaxed"` by default, errors relative to the largest values; see
    `jaxnets.functional.conv_accuracy`.

    Args:
        in_features: channels of `x`.
        out_features: channels of `y`.
        kernel_size: cells of the window, one entry a spatial axis; an int means one
            axis.
        strides: cells from one window to the next, for all axes or one an axis.
        padding: as in `jaxnets.functional.conv`.
        kernel_dilation: cells from one tap to the next.
        depth_multiplier: kernels a channel of `x`.
        use_bias: whether there is a bias, after the mixture.
        dtype: dtype of the computation; None infers it from `x` and the parameters.
        param_dtype: dtype of the parameters.
        precision: as in `jax.lax.conv_general_dilated`.
        depthwise_init: initializer of the depthwise kernel.
        pointwise_init: initializer of the pointwise kernel.
        bias_init: initializer of the bias.
        promote_dtype: function that brings `(x, depthwise, pointwise, bias)` to one
            dtype.
        padding_mode: as in `jaxnets.functional.conv`.
        data_format: `"channels_last"` or `"channels_first"`, of `x` and `y`.
        algorithm: of the depthwise convolution, as in `jaxnets.functional.conv`.
        accuracy: as in `jaxnets.functional.conv`; None takes the class that
            `conv_accuracy` set, or else `"relaxed"`.
        activation: function of the sums, such as `jax.nn.relu`; None is the identity.
        depthwise_regularizer: function of that kernel giving a scalar, see `penalty`.
        pointwise_regularizer: the same for the pointwise kernel.
        bias_regularizer: the same for the bias.
        activity_regularizer: function of `y` giving a scalar; `penalty` adds it
            divided by the number of examples, the product of the batch axes.
        depthwise_constraint: projection of that kernel, see `constrain`.
        pointwise_constraint: the same for the pointwise kernel.
        bias_constraint: the same for the bias.
        trainable: False for parameters that `freeze` holds.
        depthwise_metadata: further metadata of that kernel.
        pointwise_metadata: further metadata of the pointwise kernel.
        bias_metadata: further metadata of the bias.
        rngs: where the initializers take their keys, stream `params`.

    Raises:
        TypeError: if a size is no integer or a function not callable.
        ValueError: if a size is below 1 or an option is given twice.

    Example:
        >>> layer = SeparableConv(32, 64, (3, 3), strides=2, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 28, 28, 32))).shape
        (2, 14, 14, 64)

    Source:
        Chollet, Xception, arXiv:1610.02357.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: IntOrInts,
        *,
        strides: IntOrInts = 1,
        padding: Padding = "SAME",
        kernel_dilation: IntOrInts = 1,
        depth_multiplier: int = 1,
        use_bias: bool = True,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        depthwise_init: Initializer = default_kernel_init,
        pointwise_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        promote_dtype: Callable[..., Any] = dtypes.promote_dtype,
        padding_mode: str = "zeros",
        data_format: str = "channels_last",
        algorithm: Any = "auto",
        accuracy: str | None = None,
        activation: Activation | None = None,
        depthwise_regularizer: Regularizer | None = None,
        pointwise_regularizer: Regularizer | None = None,
        bias_regularizer: Regularizer | None = None,
        activity_regularizer: Regularizer | None = None,
        depthwise_constraint: Constraint | None = None,
        pointwise_constraint: Constraint | None = None,
        bias_constraint: Constraint | None = None,
        trainable: bool = True,
        depthwise_metadata: Mapping[str, Any] = MappingProxyType({}),
        pointwise_metadata: Mapping[str, Any] = MappingProxyType({}),
        bias_metadata: Mapping[str, Any] = MappingProxyType({}),
        rngs: nnx.Rngs,
    ):
        layer = "SeparableConv"
        check_choice(layer, "data_format", data_format, DATA_FORMATS)
        window = window_of(layer, kernel_size)
        rank = len(window)
        self.kernel_size = window
        self.in_features, self.out_features, self.depth_multiplier = (
            check_integer(layer, name, value, minimum=1)
            for name, value in (
                ("in_features", in_features),
                ("out_features", out_features),
                ("depth_multiplier", depth_multiplier),
            )
        )
        self.strides, self.kernel_dilation = (
            check_integers(layer, name, value, length=rank, minimum=1)
            for name, value in (
                ("strides", strides),
                ("kernel_dilation", kernel_dilation),
            )
        )
        self.padding = hashable(padding)
        middle = in_features * depth_multiplier
        depthwise = ParameterOptions(
            depthwise_init,
            depthwise_regularizer,
            depthwise_constraint,
            trainable,
            depthwise_metadata,
        )
        pointwise = ParameterOptions(
            pointwise_init,
            pointwise_regularizer,
            pointwise_constraint,
            trainable,
            pointwise_metadata,
        )
        bias = ParameterOptions(
            bias_init, bias_regularizer, bias_constraint, trainable, bias_metadata
        )
        self.depthwise_kernel = make_parameter(
            layer, "depthwise", (*window, 1, middle), param_dtype, depthwise, rngs
        )
        shape = (*(1,) * rank, middle, out_features)
        self.pointwise_kernel = make_parameter(
            layer, "pointwise", shape, param_dtype, pointwise, rngs
        )
        self.bias = nnx.data(
            make_bias(layer, use_bias, (out_features,), param_dtype, bias, rngs)
        )

        self.use_bias = use_bias
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.promote_dtype = promote_dtype
        self.padding_mode = padding_mode
        self.data_format = data_format
        self.algorithm = algorithm
        self.accuracy = check_accuracy(layer, accuracy)
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
        kernels = self.depthwise_kernel[...], self.pointwise_kernel[...]
        x, depthwise, pointwise, bias = self.promote_dtype(
            (jnp.asarray(x), *kernels, bias), dtype=self.dtype
        )
        y = separable_conv(
            x,
            depthwise,
            pointwise,
            bias,
            strides=self.strides,
            padding=self.padding,
            dilation=self.kernel_dilation,
            padding_mode=self.padding_mode,
            data_format=self.data_format,
            algorithm=self.algorithm,
            precision=self.precision,
            accuracy=layer_accuracy(self.accuracy),
        )
        return activated(self, y, y.shape[: y.ndim - len(self.kernel_size) - 1])
