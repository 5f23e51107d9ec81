"""The MNIST convnet of `examples/mnist_cnn.py`, and its likes in Keras and PyTorch."""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks._conv_peers import threads
from benchmarks._conv_report import check

BATCH, CLASSES = 128, 10
Weights = Sequence[tuple[np.ndarray, np.ndarray]]


def make_ours() -> tuple[nnx.Sequential, Weights]:
    """The example's model, and its kernels and biases in order."""
    folder = str(Path(__file__).parent.parent / "examples")
    if folder not in sys.path:
        sys.path.append(folder)
    example: Any = importlib.import_module("mnist_cnn")
    model = example.make_model(classes=CLASSES, rngs=nnx.Rngs(0))
    return model, [
        (np.array(layer.kernel[...]), np.array(layer.bias[...]))
        for layer in model.layers
        if hasattr(layer, "kernel")
    ]


def keras_steps(
    weights: Weights, x: np.ndarray, y: np.ndarray, want: np.ndarray
) -> dict[str, Callable[[], Any]]:
    """Keras's own step and one written with its stateless functions, jitted."""
    import keras

    layers, losses = keras.layers, keras.losses
    model = keras.Sequential([keras.Input(x.shape[1:])])
    for place, (kernel, _) in enumerate(weights[:-1]):
        model.add(layers.Conv2D(kernel.shape[-1], 3, activation="relu"))
        if place == 1:
            model.add(layers.MaxPooling2D(2))
    for layer in (layers.GlobalAveragePooling2D(), layers.Dropout(0.5)):
        model.add(layer)
    model.add(layers.Dense(CLASSES))
    model.set_weights([array for pair in weights for array in pair])
    check("MNIST convnet, Keras", (np.asarray(model(x, training=False)),), (want,))
    loss: Any = losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    # Copies: `train_on_batch` gives the model's own buffers away.
    values = [
        [jnp.copy(v.value) for v in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            optimizer.variables,
        )
    ]

    @jax.jit
    def step(train: Any, other: Any, state: Any, x: Any, y: Any) -> Any:
        def loss_fn(train: Any) -> Any:
            called: Any = model.stateless_call(train, other, x, training=True)
            logits, after = called
            return loss(y, logits), after

        (value, after), gradient = jax.value_and_grad(loss_fn, has_aux=True)(train)
        train, state = optimizer.stateless_apply(state, gradient, train)
        return value, train, after, state

    images, labels = jnp.asarray(x), jnp.asarray(y)

    def stateless() -> Any:
        value, *values[:] = step(*values, images, labels)
        return value, values[0]

    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)
    return {
        "Keras on JAX, train_on_batch": lambda: model.train_on_batch(x, y),
        "Keras on JAX, jitted step": stateless,
    }


def torch_step(
    weights: Weights, x: np.ndarray, y: np.ndarray, want: np.ndarray, last: bool
) -> Callable[[], Any]:
    """PyTorch's step, in the memory format NCHW or channels last."""
    import torch
    from torch import nn

    torch.set_num_threads(threads())
    layers: list[nn.Module] = []
    for place, (kernel, _) in enumerate(weights[:-1]):
        layers += [nn.Conv2d(kernel.shape[2], kernel.shape[3], 3), nn.ReLU()]
        if place == 1:
            layers.append(nn.MaxPool2d(2))
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5)]
    layers.append(nn.Linear(*weights[-1][0].shape))
    model = nn.Sequential(*layers)
    with torch.no_grad():
        for parameter, array in zip(
            model.parameters(), (a for pair in weights for a in pair), strict=True
        ):
            # (*window, in, out), or (in, out), is (out, in, *window) in PyTorch.
            turned = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(turned)))
    images = torch.from_numpy(x).movedim(-1, 1).contiguous()
    if last:
        # PyTorch's stub of `to` knows no memory format by itself.
        model = cast(Any, model).to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(y.astype(np.int64))
    with torch.no_grad():
        got = model.eval()(images).numpy()
    check("MNIST convnet, PyTorch", (got,), (want,))
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_fn = nn.CrossEntropyLoss()

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step
