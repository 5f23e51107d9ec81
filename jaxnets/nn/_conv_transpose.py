"""ConvTranspose: a drop-in for Flax's with groups and output padding."""

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
from jaxnets.functional._conv_accuracy import check_accuracy, layer_accuracy
from jaxnets.functional._conv_transpose import conv_transpose
from jaxnets.functional._shapes import DATA_FORMATS, IntOrInts, Padding
from jaxnets.nn._conv_sizes import check_features, window_of
from jaxnets.nn._flax_transpose import checked_padding, cut_and_added, transposed, wrap
from jaxnets.nn._metadata import Constraint, Regularizer
from jaxnets.nn._parameters import (
    Activation,
    Initializer,
    ParameterOptions,
    activated,
    default_bias_init,
    default_kernel_init,
    make_activity,
    make_bias,
    make_parameter,
    masked_kernel,
)


class ConvTranspose(nnx.Module):
    """A transposed convolution: y = activation(conv_transpose(x, kernel) + bias).

    `x (*batch, *spatial, in_features)` gives `y (*batch, *positions, out_features)`,
    with stride times as many positions for `"SAME"`. The arguments of
    `nnx.ConvTranspose` mean what they mean there, and give the same initial values for
    the same `rngs`, so the two can be exchanged and share their weights. The rank of
    `kernel_size` says how many axes are spatial.

    Padding in numbers is Flax's too: cells around x once it is spread, so that more of
    it makes y larger. PyTorch, and `jaxnets.functional.conv_transpose`, count the cells
    that it cuts off: padding p there is dilation · (kernel_size − 1) − p here.

    Accuracy: `"relaxed"` by default, errors relative to the largest values; see
    `jaxnets.functional.conv_accuracy`.

    Args:
        in_features: channels of `x`.
        out_features: channels of `y`.
        kernel_size: cells of the window, one entry a spatial axis; an int means one
            axis.
        strides: cells of `y` from one cell of `x` to the next.
        padding: `"SAME"` (size × stride cells), `"VALID"` (all that `x` spreads to, and
            at least size × stride), `"CIRCULAR"` (size × stride cells, what is beyond
            comes back on the other side), an int, or one int or (lo, hi) pair an axis.
        output_padding: cells added behind `y`, as in
            `jaxnets.functional.conv_transpose`; with padding in numbers.
        kernel_dilation: cells from one tap to the next.
        feature_group_count: the channels are cut into this many groups.
        use_bias: whether there is a bias.
        mask: array of the kernel's shape that multiplies it, or None.
        dtype: dtype of the computation; None infers it from `x` and the parameters.
        param_dtype: dtype of the parameters.
        precision: as in `jax.lax.conv_general_dilated`.
        kernel_init: initializer of the kernel.
        bias_init: initializer of the bias.
        transpose_kernel: False gives the kernel `(*kernel_size, in_features // groups,
            out_features)`, applied as `conv` applies its own to the spread `x`; True
            `(*kernel_size, out_features // groups, in_features)`, that of the
            convolution from `y` to `x`.
        promote_dtype: function that brings `(x, kernel, bias)` to one dtype.
        preferred_element_type: must stay None; half types are summed in float32.
        data_format: `"channels_last"` or `"channels_first"`, of `x` and `y`.
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
        >>> layer = ConvTranspose(16, 8, (4, 4), strides=2, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 7, 7, 16))).shape
        (2, 14, 14, 8)

    Source:
        Dumoulin and Visin, arXiv:1603.07285, chapter 4.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: IntOrInts,
        strides: IntOrInts | None = 1,
        *,
        padding: Padding = "SAME",
        output_padding: IntOrInts = 0,
        kernel_dilation: IntOrInts | None = 1,
        feature_group_count: int = 1,
        use_bias: bool = True,
        mask: ArrayLike | None = None,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        kernel_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        transpose_kernel: bool = False,
        promote_dtype: Callable[..., Any] = dtypes.promote_dtype,
        preferred_element_type: Any = None,
        data_format: str = "channels_last",
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
        layer = "ConvTranspose"
        if preferred_element_type is not None:
            raise TypeError(
                f"{layer}: preferred_element_type is not supported; half types are "
                "summed in float32 and rounded once (for another output dtype use "
                "dtype=)"
            )
        check_choice(layer, "data_format", data_format, DATA_FORMATS)
        window = window_of(layer, kernel_size)
        rank = len(window)
        self.in_features, self.out_features, groups = check_features(
            layer, in_features, out_features, feature_group_count
        )
        self.kernel_size = window
        self.strides, self.kernel_dilation = (
            check_integers(
                layer, name, 1 if value is None else value, length=rank, minimum=1
            )
            for name, value in (
                ("strides", strides),
                ("kernel_dilation", kernel_dilation),
            )
        )
        self.output_padding = check_integers(
            layer, "output_padding", output_padding, length=rank, minimum=0
        )
        self.feature_group_count = groups
        self.padding = checked_padding(padding, window, self.output_padding)
        shape = (*window, in_features // groups, out_features)
        if transpose_kernel:
            shape = (*window, out_features // groups, in_features)
        self.kernel_shape = shape
        if mask is not None:
            check_shape(layer, "mask", jnp.shape(mask), shape, "that of the kernel")
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
        self.kernel = make_parameter(layer, "kernel", shape, param_dtype, kernel, rngs)
        self.bias = nnx.data(
            make_bias(layer, use_bias, (out_features,), param_dtype, bias, rngs)
        )

        self.use_bias = use_bias
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.transpose_kernel = transpose_kernel
        self.promote_dtype = promote_dtype
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
        kernel = self.kernel[...]
        if self.mask is not None:
            kernel = masked_kernel(kernel, self.mask)
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = self.promote_dtype(
            (jnp.asarray(x), kernel, bias), dtype=self.dtype
        )
        if not self.transpose_kernel:
            kernel = transposed(jnp.asarray(kernel), self.feature_group_count)
        padding, output_padding, beside = cut_and_added(
            self.padding,
            self.output_padding,
            self.kernel_size,
            self.strides,
            self.kernel_dilation,
        )
        y = conv_transpose(
            x,
            kernel,
            strides=self.strides,
            padding=padding,
            output_padding=output_padding,
            dilation=self.kernel_dilation,
            groups=self.feature_group_count,
            data_format=self.data_format,
            algorithm=self.algorithm,
            precision=self.precision,
            accuracy=layer_accuracy(self.accuracy),
        )
        rank, last = len(self.kernel_size), self.data_format == "channels_last"
        first = y.ndim - rank - last
        if self.padding == "CIRCULAR":
            sizes = jnp.shape(x)[first : first + rank]
            periods = [n * s for n, s in zip(sizes, self.strides, strict=True)]
            y = wrap(y, periods, first, odd_behind=self.transpose_kernel)
        if any(lo or hi for lo, hi, _ in beside):
            around = [(0, 0, 0)] * first + beside + [(0, 0, 0)] * last
            y = jax.lax.pad(y, jnp.zeros((), y.dtype), around)
        if bias is not None:
            bias = jnp.asarray(bias, y.dtype)
            bias = bias if last else bias.reshape(-1, *(1,) * rank)
            y = y + jnp.broadcast_to(bias, y.shape)
        return activated(self, y, y.shape[: y.ndim - rank - 1])
