"""What follows the recipes of `_model_recipes`: stock layers of Flax and of Keras."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks._model_recipes import Recipe

Weights = Mapping[str, Any]
ZEROS = jax.nn.initializers.zeros


class Net:
    """What every library's layers have in common: our weights by their paths."""

    def __init__(self, weights: Weights, training: bool = False):
        self.weights = weights
        self.training = training

    def has(self, path: str) -> bool:
        return path in self.weights

    def count(self, path: str) -> range:
        """The layers that follow `path` in their paths: 0, 1, 2 ..."""
        start = f"{path}."
        found = {p[len(start) :].split(".")[0] for p in self.weights if start in p}
        return range(len(found))

    def side(self, path: str) -> int:
        return self.weights[f"{path}.kernel"].shape[0]

    def take(self, path: str, names: Sequence[str]) -> list[Any]:
        """Those of the weights below `path` that there are."""
        paths = (f"{path}.{name}" for name in names)
        return [self.weights[p] for p in paths if p in self.weights]


class FlaxNet(Net):
    """Flax's layers, made while the function is traced and given our values."""

    def __init__(self, weights: Weights, training: bool = False, key: Any = None):
        super().__init__(weights, training)
        self.key = key
        self.statistics: dict[str, Any] = {}

    def conv(self, path: str, x: Any, stride: int = 1, padding: int = 0) -> Any:
        kernel, *bias = self.take(path, ("kernel", "bias"))
        layer = nnx.Conv(
            *(kernel.shape[2:]),
            kernel.shape[:2],
            strides=stride,
            padding=((padding, padding),) * 2,
            use_bias=bool(bias),
            kernel_init=ZEROS,
            rngs=nnx.Rngs(0),
        )
        layer.kernel[...] = kernel
        if bias:
            layer.bias[...] = bias[0]  # pyright: ignore
        return layer(x)

    def dense(self, path: str, x: Any) -> Any:
        kernel, bias = self.take(path, ("kernel", "bias"))
        layer = nnx.Linear(*kernel.shape, kernel_init=ZEROS, rngs=nnx.Rngs(0))
        layer.kernel[...], layer.bias[...] = kernel, bias  # pyright: ignore
        return layer(x)

    def norm(self, path: str, x: Any, epsilon: float) -> Any:
        if not self.has(f"{path}.scale"):
            return x
        layer = nnx.BatchNorm(
            x.shape[-1],
            momentum=0.9,
            epsilon=epsilon,
            use_running_average=not self.training,
            rngs=nnx.Rngs(0),
        )
        for name in ("scale", "bias", "mean", "var"):
            getattr(layer, name)[...] = self.weights[f"{path}.{name}"]
        y = layer(x)
        for name in ("mean", "var"):
            self.statistics[f"{path}.{name}"] = getattr(layer, name)[...]
        return y

    def max_pool(
        self, x: Any, side: int, stride: int, padding: int = 0, ceil: bool = False
    ) -> Any:
        pads = [(padding, padding + _missing(n, side, stride, ceil)) for n in _sizes(x)]
        return nnx.max_pool(x, (side, side), (stride, stride), pads)

    def dropout(self, x: Any, rate: float) -> Any:
        if not self.training:
            return x
        self.key, key = jax.random.split(self.key)
        return nnx.Dropout(rate)(x, deterministic=False, rngs=nnx.Rngs(key))

    def adaptive_mean(self, x: Any, side: int) -> Any:
        if x.shape[1:3] == (side, side):
            return x
        rows, columns = (_means(n, side) for n in x.shape[1:3])
        return jnp.einsum("bhwc,ih,jw->bijc", x, rows, columns)

    def flatten(self, x: Any) -> Any:
        return x.reshape(len(x), -1)

    def mean(self, x: Any) -> Any:
        return x.mean((1, 2))

    def every(self, x: Any, stride: int) -> Any:
        return x[:, ::stride, ::stride]

    def pad_channels(self, x: Any) -> Any:
        half = x.shape[-1] // 2
        return jnp.pad(x, ((0, 0),) * 3 + ((half, half),))

    def concat(self, parts: Sequence[Any]) -> Any:
        return jnp.concatenate(parts, axis=-1)

    def add(self, x: Any, y: Any) -> Any:
        return x + y

    relu = staticmethod(jax.nn.relu)


class KerasNet(Net):
    """Keras's layers on symbolic inputs; their weights are ours."""

    def __init__(self, weights: Weights):
        import keras

        super().__init__(weights)
        self.layers, self.ops = keras.layers, keras.ops

    def conv(self, path: str, x: Any, stride: int = 1, padding: int = 0) -> Any:
        values = self.take(path, ("kernel", "bias"))
        side, _, _, out = values[0].shape
        same = stride == 1 and padding == side // 2
        if padding and not same:
            x = self.layers.ZeroPadding2D(padding)(x)
        layer = self.layers.Conv2D(
            out,
            side,
            strides=stride,
            padding="same" if same else "valid",
            use_bias=len(values) > 1,
        )
        return self._run(layer, x, values)

    def dense(self, path: str, x: Any) -> Any:
        values = self.take(path, ("kernel", "bias"))
        return self._run(self.layers.Dense(values[0].shape[-1]), x, values)

    def norm(self, path: str, x: Any, epsilon: float) -> Any:
        values = self.take(path, ("scale", "bias", "mean", "var"))
        if not values:
            return x
        layer = self.layers.BatchNormalization(momentum=0.9, epsilon=epsilon)
        return self._run(layer, x, values)

    def _run(self, layer: Any, x: Any, values: Sequence[Any]) -> Any:
        y = layer(x)
        layer.set_weights(values)
        return y

    def max_pool(
        self, x: Any, side: int, stride: int, padding: int = 0, ceil: bool = False
    ) -> Any:
        missing = _missing(x.shape[1], side, stride, ceil)
        same = stride == 1 and padding == side // 2
        if (padding and not same) or missing:
            # Zeros change nothing: these maps are behind a relu.
            pads = ((padding, padding + missing),) * 2
            x = self.layers.ZeroPadding2D(pads)(x)
        pool = self.layers.MaxPooling2D
        return pool(side, stride, padding="same" if same else "valid")(x)

    def dropout(self, x: Any, rate: float) -> Any:
        return self.layers.Dropout(rate)(x)

    def adaptive_mean(self, x: Any, side: int) -> Any:
        if x.shape[1:3] == (side, side):
            return x
        rows, columns = (_means(n, side) for n in x.shape[1:3])
        return self.ops.einsum("bhwc,ih,jw->bijc", x, rows, columns)

    def flatten(self, x: Any) -> Any:
        return self.layers.Flatten()(x)

    def mean(self, x: Any) -> Any:
        return self.layers.GlobalAveragePooling2D()(x)

    def every(self, x: Any, stride: int) -> Any:
        return x[:, ::stride, ::stride]

    def pad_channels(self, x: Any) -> Any:
        half = x.shape[-1] // 2
        return self.ops.pad(x, ((0, 0),) * 3 + ((half, half),))

    def concat(self, parts: Sequence[Any]) -> Any:
        return self.layers.Concatenate()(parts)

    def add(self, x: Any, y: Any) -> Any:
        return self.layers.Add()([x, y])

    def relu(self, x: Any) -> Any:
        return self.layers.ReLU()(x)


def keras_model(recipe: Recipe, weights: Weights, shape: tuple[int, ...]) -> Any:
    import keras

    x = keras.Input(shape)
    return keras.Model(x, recipe(KerasNet(weights), x))


def flax_logits(recipe: Recipe) -> Callable[..., Any]:
    """`(weights, x, key)` to logits and new statistics; a key trains."""

    def apply(weights: Weights, x: Any, key: Any = None) -> tuple[Any, Any]:
        net = FlaxNet(weights, key is not None, key)
        return recipe(net, x), net.statistics

    return apply


def _sizes(x: Any) -> tuple[int, int]:
    return x.shape[1], x.shape[2]


def _missing(size: int, side: int, stride: int, ceil: bool) -> int:
    """Cells behind the last that a pool which rounds up reads."""
    return -(size - side) % stride if ceil else 0


def _means(size: int, cells: int) -> np.ndarray:
    """What an adaptive mean of `size` values to `cells` multiplies them by."""
    matrix = np.zeros((cells, size), np.float32)
    for i in range(cells):
        first, last = i * size // cells, -(-(i + 1) * size // cells)
        matrix[i, first:last] = 1 / (last - first)
    return matrix
