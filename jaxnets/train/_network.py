"""The seam to Flax NNX: a module as pure functions of plain nested dicts."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnets.nn import penalty
from jaxnets.nn._metadata import variables
from jaxnets.train._fingerprint import model_structure
from jaxnets.train._metrics import Mean, Metric, mean, per_example
from jaxnets.train._sources import Batch


class Network(NamedTuple):
    """A module taken apart once, so that no step walks its graph again.

    Attributes:
        train_graph: the module's structure in training mode.
        eval_graph: the same in evaluation mode.
        params: nested dict of the `nnx.Param` values.
        model_state: nested dict of all other variables' values.
        structure: the types and options of all layers in training mode, by path.
    """

    train_graph: Any
    eval_graph: Any
    params: Any
    model_state: Any
    structure: dict[str, str]

    def apply(
        self, params: Any, model_state: Any, x: Any, *, training: bool
    ) -> tuple[Any, Any, jax.Array]:
        """Run the module: outputs, new model state, and the penalties it carries."""
        graph = self.train_graph if training else self.eval_graph
        model = nnx.merge(graph, params, model_state)
        outputs = model(x)
        rest = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))
        return outputs, keep_structure(rest, model_state), penalty(model)

    def module(self, params: Any, model_state: Any) -> nnx.Module:
        """A module in evaluation mode with copies of these values."""
        copies = jax.tree.map(jnp.copy, (params, model_state))
        return nnx.merge(self.eval_graph, *copies)


def take_apart(model: nnx.Module) -> Network:
    """Split a copy of the module; the module itself is left as it is."""
    model = nnx.clone(model)
    model.train()
    structure = model_structure(model)
    train_graph, params, rest = nnx.split(model, nnx.Param, ...)
    model.eval()
    eval_graph = nnx.split(model, nnx.Param, ...)[0]
    params, rest = nnx.to_pure_dict(params), nnx.to_pure_dict(rest)
    return Network(train_graph, eval_graph, params, rest, structure)


def keep_structure(new: Any, old: Any) -> Any:
    """The entries of `new` that `old` has: what a call stores anew is not kept.

    `sow` and the like add variables while the module runs. A state that grew would be
    another type to `jit` at the next step.
    """
    if not isinstance(old, dict):
        return new
    return {name: keep_structure(new[name], value) for name, value in old.items()}


def make_loss_fn(
    network: Network,
    *,
    loss: Callable[[Any, Any], Any],
    metrics: dict[str, Any],
    augment: Callable[[jax.Array, Any], Any] | None,
    training: bool,
) -> Callable[..., Any]:
    """The loss function of `make_train_step` or `make_eval_step` for a module.

    loss = Σᵢ wᵢ lᵢ / Σᵢ mᵢ + penalties, where m is the mask of real rows and w the mask
    times the weights, as Keras's "sum_over_batch_size" has it: weights change how much
    an example counts, not what it is divided by. Metrics see the mask alone.
    """

    def loss_fn(
        params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, Any]]]:
        x = batch.x
        if training and augment is not None:
            x = augment(key, x)
        outputs, model_state, penalties = network.apply(
            params, model_state, x, training=training
        )
        mask = batch.mask
        rows = per_example("loss", loss(outputs, batch.y), mask.shape[0])
        weight = mask if batch.weight is None else mask * batch.weight
        weighted = jnp.where(weight != 0, rows * weight.astype(rows.dtype), 0)
        count = jnp.sum(mask).astype(rows.dtype)
        penalties = penalties.astype(rows.dtype)
        total = jnp.sum(weighted)
        sums: dict[str, Any] = {"loss": Mean(total + penalties * count, count)}
        for name, metric in metrics.items():
            if isinstance(metric, Metric):
                sums[name] = metric.update(outputs, batch.y, mask)
            else:
                sums[name] = mean(metric(outputs, batch.y), mask)
        return total / count + penalties, (model_state, sums)

    return loss_fn


def carries(model: nnx.Module, name: str, value: Any = None) -> bool:
    """Whether a variable carries such metadata; None for any value."""
    found = [variable.get_metadata(name, None) for _, variable in variables(model)]
    return any(f is not None and (value is None or f == value) for f in found)
