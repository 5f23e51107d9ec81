"""Conv: a drop-in for Flax's with every option of `jaxnets.functional.conv`."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn import dtypes
from jax.typing import ArrayLike

from jaxnets.functional._checks import (
    check_choice,
    check_integers,
    check_shape,
)
from jaxnets.functional._conv import conv
from jaxnets.functional._conv_accuracy import check_accuracy, layer_accuracy
from jaxnets.functional._shapes import DATA_FORMATS, IntOrInts, Padding
from jaxnets.nn._conv_sizes import check_features, window_of
from jaxnets.nn._flax_conv import dilate_input, own_padding, refuse
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
    masked_kernel,
)


class Conv(nnx.Module):
    """A convolution layer: y = activation(conv(x, kernel) + bias).

    `x (*batch, *spatial, in_features)` gives `y (*batch, *positions, out_features)`;
    `kernel` is `(*kernel_size, in_features // feature_group_count, out_features)`. The
    arguments of `nnx.Conv` mean what they mean there, and give the same initial values
    for the same `rngs`, so the two can be exchanged and share their weights. The rank
    of `kernel_size` says how many axes are spatial.

    Accuracy: `"relaxed"` by default, errors relative to the largest values; see
    `jaxnets.functional.conv_accuracy`.

    Args:
        in_features: channels of `x`.
        out_features: channels of `y`.
        kernel_size: cells of the window, one entry a spatial axis; an int means one
            axis.
        strides: cells from one window to the next, for all axes or one an axis.
        padding: as in `jaxnets.functional.conv`; Flax's `"CIRCULAR"` and `"REFLECT"`
            mean (k − 1) // 2 cells before and k // 2 behind of that `padding_mode`.
        input_dilation: `input_dilation − 1` zeros are put between the cells of `x`
            before all else; with it Flax takes padding in numbers only.
        kernel_dilation: cells from one tap to the next.
        feature_group_count: the channels are cut into this many groups.
        use_bias: whether there is a bias.
        mask: array of the kernel's shape that multiplies it, or None.
        dtype: dtype of the computation; None infers it from `x` and the parameters.
        param_dtype: dtype of the parameters.
        precision: as in `jax.lax.conv_general_dilated`.
        kernel_init: initializer of the kernel.
        bias_init: initializer of the bias.
        conv_general_dilated: must stay None; `algorithm` chooses the routine.
        promote_dtype: function that brings `(x, kernel, bias)` to one dtype.
        preferred_element_type: must stay None; half types are summed in float32.
        padding_mode: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
        data_format: `"channels_last"` or `"channels_first"`, of `x` and `y`.
        flip_kernel: True gives the convolution of mathematics.
        algorithm: as in `jaxnets.functional.conv`.
        accuracy: as in `jaxnets.functional.conv`; None takes the class that
            `conv_accuracy` set, or else `"relaxed"`.
        activation: function of the sums, such as `jax.nn.relu`; None is the identity.
        kernel_regularizer: function of the kernel giving a scalar, see `penalty`.
        bias_regularizer: the same for the bias.
        activity_regularizer: function of `y` giving a scalar; `penalty` adds it
            divided by the number of examples, the product of the batch axes.
        kernel_constraint: projection of the kernel, see `constrain`.
        bias_constraint: the same for the bias.
        trainable: False for parameters that `freeze` holds.
        kernel_metadata: further metadata of the kernel.
        bias_metadata: further metadata of the bias.
        rngs: where the initializers take their keys, stream `params`.

    Raises:
        TypeError: if a size is no integer or a function not callable.
        ValueError: if a size is below 1, the groups do not divide the channels, the
            mask has another shape, or an option is given twice.

    Example:
        >>> layer = Conv(3, 8, (5, 5), activation=jax.nn.relu, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 28, 28, 3))).shape
        (2, 28, 28, 8)

    Source:
        Goodfellow, Bengio, Courville: Deep Learning, equation 9.7.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: IntOrInts,
        strides: IntOrInts | None = 1,
        *,
        padding: Padding = "SAME",
        input_dilation: IntOrInts | None = 1,
        kernel_dilation: IntOrInts | None = 1,
        feature_group_count: int = 1,
        use_bias: bool = True,
        mask: ArrayLike | None = None,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        kernel_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        conv_general_dilated: Any = None,
        promote_dtype: Callable[..., Any] = dtypes.promote_dtype,
        preferred_element_type: Any = None,
        padding_mode: str = "zeros",
        data_format: str = "channels_last",
        flip_kernel: bool = False,
        algorithm: Any = "auto",
        accuracy: str | None = None,
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
        refuse(conv_general_dilated, preferred_element_type)
        check_choice("Conv", "data_format", data_format, DATA_FORMATS)
        window = window_of("Conv", kernel_size)
        rank = len(window)
        self.in_features, self.out_features, groups = check_features(
            "Conv", in_features, out_features, feature_group_count
        )
        self.kernel_size = window
        self.strides, self.input_dilation, self.kernel_dilation = (
            check_integers(
                "Conv", name, 1 if value is None else value, length=rank, minimum=1
            )
            for name, value in (
                ("strides", strides),
                ("input_dilation", input_dilation),
                ("kernel_dilation", kernel_dilation),
            )
        )
        self.feature_group_count = groups
        self.padding, self.padding_mode = own_padding(
            hashable(padding),
            padding_mode,
            window,
            self.kernel_dilation,
        )
        shape = (*window, in_features // groups, out_features)
        self.kernel_shape = shape
        if mask is not None:
            check_shape("Conv", "mask", jnp.shape(mask), shape, "that of the kernel")
        self.mask = mask
        kernel = ParameterOptions(
            kernel_init,
            kernel_regularizer,
            kernel_constraint,
            trainable,
            kernel_metadata,
        )
        bias = ParameterOptions(
            bias_init, bias_regularizer, bias_constraint, trainable, bias_metadata
        )
        self.kernel = make_parameter("Conv", "kernel", shape, param_dtype, kernel, rngs)
        self.bias = nnx.data(
            make_bias("Conv", use_bias, shape[-1:], param_dtype, bias, rngs)
        )

        self.use_bias = use_bias
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.promote_dtype = promote_dtype
        self.data_format = data_format
        self.flip_kernel = flip_kernel
        self.algorithm = algorithm
        self.accuracy = check_accuracy("Conv", accuracy)
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
        kernel = self.kernel[...]
        if self.mask is not None:
            kernel = masked_kernel(kernel, self.mask)
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = self.promote_dtype(
            (jnp.asarray(x), kernel, bias), dtype=self.dtype
        )
        x = dilate_input(jnp.asarray(x), self.input_dilation, self.data_format)
        y = conv(
            x,
            kernel,
            bias,
            strides=self.strides,
            padding=self.padding,
            dilation=self.kernel_dilation,
            groups=self.feature_group_count,
            padding_mode=self.padding_mode,
            data_format=self.data_format,
            flip_kernel=self.flip_kernel,
            algorithm=self.algorithm,
            precision=self.precision,
            accuracy=layer_accuracy(self.accuracy),
        )
        return activated(self, y, y.shape[: y.ndim - len(self.kernel_size) - 1])
