"""Looking into a residual network: gradients layer by layer, and what each block adds.

A block is y = relu(s), s = past(x) + branch(x). Backwards, with g the gradient of the
loss with respect to s, its input gets two parts: past'(g), which an identity hands on
as it is, and branch'(g), which went through the weights. Plain blocks have the second
alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxnets import models, train


def kernels(params: dict) -> list[Any]:
    """The kernels of all convolutions and of the head, from the input on.

    Args:
        params: of a `models.ResNet`, as nested dicts.
    """
    found = [params["stem"]["conv"]["kernel"]]
    for _, stage in sorted(params["stages"].items()):
        for _, block in sorted(stage.items()):
            found += [conv["kernel"] for _, conv in sorted(block["convs"].items())]
    return [*found, params["head"]["kernel"]]


def norms(arrays: Any) -> jax.Array:
    """The Euclidean norm of each."""
    return jnp.stack([jnp.linalg.norm(jnp.ravel(a)) for a in arrays])


def make_probe(model: models.ResNet) -> Callable[..., dict[str, jax.Array]]:
    """A compiled function that measures a network of this structure.

    Args:
        model: a `models.ResNet` of post-activation blocks, run one by one.

    Returns:
        `probe(params, model_state, x, y)`, with the nested dicts of a trainer's state,
        gives norms in training mode, the loss being the mean cross-entropy:
        `"gradient"` of each kernel `(layers,)`, and by block `(blocks,)` `"ratio"`,
        |branch(x)| / |past(x)|, `"through_branch"` and `"through_shortcut"`, the two
        parts of the input's gradient. A plain network has no ratio and no shortcut:
        zeros.
    """
    model = nnx.clone(model)
    model.train()
    graph, _, _ = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def probe(params: Any, model_state: Any, x: jax.Array, y: jax.Array) -> dict:
        model = nnx.merge(graph, params, model_state)
        x, stem_back = jax.vjp(_pure(model.stem, "__call__"), _params(model.stem), x)
        walked, ratios = [], []
        for block in (block for stage in model.stages for block in stage):
            branch, branch_back = jax.vjp(_pure(block, "branch"), _params(block), x)
            past, past_back = jnp.zeros_like(branch), None
            if block.shortcut != "none":
                past, past_back = jax.vjp(_pure(block, "past"), _params(block), x)
            size = jnp.linalg.norm(branch) / jnp.linalg.norm(past)
            ratios.append(0.0 if past_back is None else size)
            x, relu_back = jax.vjp(jax.nn.relu, past + branch)
            walked.append((relu_back, branch_back, past_back))

        def end(params: Any, x: jax.Array) -> jax.Array:
            logits = _pure(model.head, "__call__")(params, jnp.mean(x, axis=(1, 2)))
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        slope, g = jax.grad(end, (0, 1))(_params(model.head), x)
        found, through = [slope["kernel"]], []
        for relu_back, branch_back, past_back in reversed(walked):
            (g,) = relu_back(g)
            slope, inner = branch_back(g)
            found += [conv["kernel"] for _, conv in sorted(slope["convs"].items())][
                ::-1
            ]
            direct = jnp.zeros_like(inner) if past_back is None else past_back(g)[1]
            through.append(norms([inner, direct]))
            g = inner + direct
        found.append(stem_back(g)[0]["conv"]["kernel"])
        through = jnp.stack(through[::-1])
        return {
            "gradient": norms(found[::-1]),
            "ratio": jnp.stack(ratios),
            "through_branch": through[:, 0],
            "through_shortcut": through[:, 1],
        }

    return probe


class Watch(train.Callback):
    """Measures a network before training and after every epoch.

    Attributes:
        values: lists by name: what the probe gives, one entry for the beginning and
            one an epoch, and `"speed"`, one entry an epoch: how far each kernel has
            moved in it, as a share of its norm.
    """

    def __init__(self, model: models.ResNet, x: np.ndarray, y: np.ndarray):
        self.probe = make_probe(model)
        self.batch = (jnp.asarray(x), jnp.asarray(y))
        self.values: dict[str, list[list[float]]] = {"speed": []}

    def on_fit_begin(self, trainer: train.Trainer, history: train.History) -> None:
        """Measure what the network begins with."""
        self._measure(trainer)

    def on_epoch_begin(self, trainer: train.Trainer, epoch: int) -> None:
        """Remember the kernels; the step takes the trainer's own away."""
        self.before = [np.asarray(k).copy() for k in kernels(trainer.state.params)]

    def on_epoch_end(self, trainer: train.Trainer, epoch: int, logs: dict) -> None:
        """How far they have moved, and what the network is like now."""
        now = kernels(trainer.state.params)
        moved = [
            float(np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b))
            for a, b in zip(now, self.before, strict=True)
        ]
        self.values["speed"].append(moved)
        self._measure(trainer)

    def _measure(self, trainer: train.Trainer) -> None:
        state = trainer.state
        found = self.probe(state.params, state.model_state, *self.batch)
        for name, values in found.items():
            self.values.setdefault(name, []).append(np.asarray(values).tolist())


def _params(module: nnx.Module) -> dict:
    return nnx.to_pure_dict(nnx.state(module, nnx.Param))


def _pure(module: nnx.Module, method: str) -> Callable[[dict, jax.Array], jax.Array]:
    """A method as a function of parameters and x; running averages are left alone."""
    graph, _, rest = nnx.split(module, nnx.Param, ...)
    rest = nnx.to_pure_dict(rest)

    def call(params: dict, x: jax.Array) -> jax.Array:
        return getattr(nnx.merge(graph, params, rest), method)(x)

    return call
