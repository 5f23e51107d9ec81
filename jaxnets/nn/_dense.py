"""Dense: Flax's Linear with an activation, penalties and constraints."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn import dtypes
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integer
from jaxnets.functional._dense import dense
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
)


class Dense(nnx.Module):
    """A fully connected layer: y = activation(x · kernel + bias).

    `x (*batch, in_features)` gives `y (*batch, out_features)`; `kernel` is
    `(in_features, out_features)`. The arguments of `nnx.Linear` mean what they mean
    there and give the same initial values for the same `rngs`.

    Args:
        in_features: size of the last axis of `x`.
        out_features: how many units.
        activation: function of the sums, such as `jax.nn.relu`; None is the identity.
        use_bias: whether there is a bias.
        dtype: dtype of the computation; None infers it from `x` and the parameters.
        param_dtype: dtype of the parameters.
        precision: of the matrix product, as in `jax.lax.dot_general`.
        kernel_init: initializer of the kernel.
        bias_init: initializer of the bias.
        promote_dtype: function that brings `(x, kernel, bias)` to one dtype.
        kernel_regularizer: function of the kernel giving a scalar, see `penalty`.
        bias_regularizer: the same for the bias.
        activity_regularizer: function of `y` giving a scalar; `penalty` adds it
            divided by the size of the first batch axis, as Keras does.
        kernel_constraint: projection of the kernel, see `constrain`.
        bias_constraint: the same for the bias.
        trainable: False for parameters that `freeze` holds.
        kernel_metadata: further metadata of the kernel.
        bias_metadata: further metadata of the bias.
        rngs: where the initializers take their keys, stream `params`.

    Raises:
        TypeError: if a size is no integer or a function not callable.
        ValueError: if a size is below 1, or metadata is given twice.

    Example:
        >>> layer = Dense(3, 4, activation=jax.nn.relu, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((8, 3))).shape
        (8, 4)

    Source:
        Goodfellow, Bengio, Courville: Deep Learning, equation 6.36.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activation: Activation | None = None,
        use_bias: bool = True,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        kernel_init: Initializer = default_kernel_init,
        bias_init: Initializer = default_bias_init,
        promote_dtype: Callable[..., Any] = dtypes.promote_dtype,
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
        shape = tuple(
            check_integer("Dense", name, value, minimum=1)
            for name, value in (
                ("in_features", in_features),
                ("out_features", out_features),
            )
        )
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
        self.kernel = make_parameter(
            "Dense", "kernel", shape, param_dtype, kernel, rngs
        )
        self.bias = nnx.data(
            make_bias("Dense", use_bias, shape[1:], param_dtype, bias, rngs)
        )
        self.in_features = in_features
        self.out_features = out_features
        self.activation = activation
        self.use_bias = use_bias
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.promote_dtype = promote_dtype
        self.activity_regularizer = activity_regularizer
        self.deterministic = False
        self.activity_penalty = nnx.data(
            make_activity(activity_regularizer, param_dtype)
        )

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Apply the layer.

        Args:
            x: `(*batch, in_features)`.

        Returns:
            `(*batch, out_features)`.
        """
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = self.promote_dtype(
            (jnp.asarray(x), self.kernel[...], bias), dtype=self.dtype
        )
        y = dense(x, kernel, bias, precision=self.precision)
        return activated(self, y, y.shape[:1] if y.ndim > 1 else ())
