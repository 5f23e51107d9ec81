"""SpatialTransformer: a network that says where its own input is to be read."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_choice, check_integer, check_integers
from jaxnets.functional._grid_sample import grid_sample
from jaxnets.functional._grids import thin_plate_spline_grid
from jaxnets.functional._spatial_transform import spatial_transform
from jaxnets.nn._dense import Dense

TRANSFORMS = ("affine", "projective", "tps", "translation", "attention")


class SpatialTransformer(nnx.Module):
    """Reads its input through a map that a network finds in the input.

    y = spatial_transform(x, θ), θ = last(localization(x)).

    The last layer has zero weights and the bias of the identity, so that training
    starts from the input as it is (resized to `output_size`). Several in sequence go
    into one `nnx.Sequential`; several in parallel are called side by side on one input.

    Args:
        localization: function or module from `x` to features `(*batch, in_features)`.
        in_features: how many features it gives.
        transform: what θ is: `"affine"`, `"projective"` (the last entry of the matrix
            is 1), `"translation"`, `"attention"` (one scale and a translation), or
            `"tps"` (targets of a thin plate spline's control points).
        output_size: spatial sizes of the result, and so the rank.
        control_points: of a spline, how many along every axis.
        mode: as in `grid_sample`.
        padding_mode: as in `grid_sample`.
        align_corners: as in `grid_sample`.
        samples: as in `spatial_transform`; 1 for splines.
        param_dtype: dtype of the last layer's parameters.
        rngs: where the last layer takes its keys.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if an option breaks its rule.

    Example:
        >>> rngs = nnx.Rngs(0)
        >>> look = nnx.Sequential(
        ...     nnx.Linear(64, 16, rngs=rngs), jax.nn.relu
        ... )
        >>> layer = SpatialTransformer(
        ...     lambda x: look(x.reshape(-1, 64)), 16, output_size=(4, 4), rngs=rngs
        ... )
        >>> layer(jnp.ones((2, 8, 8, 1))).shape
        (2, 4, 4, 1)

    Source:
        Jaderberg, Simonyan, Zisserman, Kavukcuoglu 2015, "Spatial transformer
        networks", section 3.
    """

    def __init__(
        self,
        localization: Callable[[jax.Array], jax.Array],
        in_features: int,
        *,
        transform: str = "affine",
        output_size: Sequence[int],
        control_points: int = 4,
        mode: str = "bilinear",
        padding_mode: str = "zeros",
        align_corners: bool = False,
        samples: int = 1,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        name = "SpatialTransformer"
        check_choice(name, "transform", transform, TRANSFORMS)
        sizes = check_integers(name, "output_size", output_size, length=None, minimum=1)
        if not 1 <= len(sizes) <= 3 or (transform == "tps" and len(sizes) == 1):
            raise ValueError(
                f"{name}: output_size must have 1, 2 or 3 sizes, 2 or 3 for "
                f"transform='tps'; got {sizes}"
            )
        check_integer(name, "samples", samples, minimum=1)
        if transform == "tps" and samples > 1:
            raise ValueError(
                f"{name}: samples must be 1 for transform='tps'; got {samples}"
            )
        check_integer(name, "control_points", control_points, minimum=2)
        self.localization = localization
        self.transform = transform
        self.output_size = sizes
        self.control_points = control_points
        self.samples = samples
        self.mode = mode
        self.padding_mode = padding_mode
        self.align_corners = align_corners
        identity = self._identity()
        self.last = Dense(
            in_features,
            identity.size,
            kernel_init=jax.nn.initializers.zeros,
            bias_init=lambda key, shape, dtype: jnp.asarray(identity, dtype),
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Apply the layer.

        Args:
            x: `(*batch, *spatial, channels)`.

        Returns:
            `(*batch, *output_size, channels)`.
        """
        x = jnp.asarray(x)
        theta = self.theta(x)
        if self.transform != "tps":
            return spatial_transform(
                x,
                theta,
                output_size=self.output_size,
                mode=self.mode,
                padding_mode=self.padding_mode,
                align_corners=self.align_corners,
                samples=self.samples,
            )
        grid = thin_plate_spline_grid(
            theta, self.output_size, align_corners=self.align_corners
        )
        return grid_sample(
            x,
            grid,
            mode=self.mode,
            padding_mode=self.padding_mode,
            align_corners=self.align_corners,
        )

    def theta(self, x: ArrayLike) -> jax.Array:
        """The map found in x.

        Args:
            x: `(*batch, *spatial, channels)`.

        Returns:
            `(*batch, rank, rank + 1)`; `(*batch, rank + 1, rank + 1)` for a projective
            map, `(*batch, points, rank)` for a spline.
        """
        values = self.last(self.localization(jnp.asarray(x)))
        rank = len(self.output_size)
        batch = values.shape[:-1]
        if self.transform == "affine":
            return values.reshape(*batch, rank, rank + 1)
        if self.transform == "tps":
            return values.reshape(*batch, self.control_points**rank, rank)
        if self.transform == "projective":
            one = jnp.ones_like(values[..., :1])
            full = jnp.concatenate([values, one], axis=-1)
            return full.reshape(*batch, rank + 1, rank + 1)
        moves = values[..., -rank:]
        eye = jnp.eye(rank, dtype=values.dtype).reshape(
            (1,) * len(batch) + (rank, rank)
        )
        scale = values[..., :1, None] if self.transform == "attention" else 1
        linear = jnp.broadcast_to(eye * scale, (*batch, rank, rank))
        return jnp.concatenate([linear, moves[..., None]], axis=-1)

    def _identity(self) -> np.ndarray:
        """The values of θ that read the input as it is."""
        rank = len(self.output_size)
        if self.transform == "affine":
            return np.eye(rank, rank + 1).reshape(-1)
        if self.transform == "projective":
            return np.eye(rank + 1).reshape(-1)[:-1]
        if self.transform == "tps":
            axis = np.linspace(-1, 1, self.control_points)
            points = np.meshgrid(*(axis,) * rank, indexing="ij")[::-1]
            return np.stack(points, axis=-1).reshape(-1)
        return np.asarray([1.0] * (self.transform == "attention") + [0.0] * rank)
