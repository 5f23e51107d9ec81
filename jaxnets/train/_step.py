"""One training step as a pure function of state and batch; nothing else."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnets.functional._checks import check_choice
from jaxnets.train._finite import all_finite, select, update_if
from jaxnets.train._optimizer import Optimizer, fill_masked, with_extra_args

POLICIES = ("stop", "skip", "ignore")

LossFn = Callable[[Any, Any, Any, jax.Array], tuple[jax.Array, tuple[Any, Any]]]


class TrainState(NamedTuple):
    """Everything that a training step reads and writes: a pytree of arrays.

    Attributes:
        step: int32 scalar, how many steps were taken.
        params: what the optimizer changes, any pytree.
        model_state: what the model changes itself (running statistics, streams of
            random numbers), any pytree.
        opt_state: the optimizer's.
        key: the key that every step's own key is folded from; it does not change.
        nonfinite: int32 scalar, how many steps met a loss or gradient that was not
            finite.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    key: jax.Array
    nonfinite: jax.Array


class NonFinite(NamedTuple):
    """How many steps met a loss, and how many a gradient, that was not finite.

    Attributes:
        loss: int32 scalar.
        gradient: int32 scalar.
    """

    loss: jax.Array
    gradient: jax.Array


def create_train_state(
    key: jax.Array,
    params: Any,
    tx: Optimizer,
    *,
    model_state: Any = None,
) -> TrainState:
    """The state before the first step.

    Args:
        key: a PRNG key for what is random in the steps.
        params: any pytree of arrays.
        tx: the optimizer.
        model_state: any pytree of arrays; None for a model that has none.

    Returns:
        A `TrainState` at step 0. Its leaves are arrays of fixed dtypes (no weak types),
        so that the first step and the others share one compilation.

    Example:
        >>> params = {"w": jnp.ones(3)}
        >>> state = create_train_state(jax.random.key(0), params, optax.sgd(0.1))
        >>> int(state.step)
        0
    """
    params, model_state = fix_dtypes(params), fix_dtypes(model_state)
    opt_state = fix_dtypes(tx.init(params))
    # No two leaves may be one array, nor the caller's: steps are given them to keep.
    step, nonfinite = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    return TrainState(step, params, model_state, opt_state, jnp.copy(key), nonfinite)


def fix_dtypes(tree: Any) -> Any:
    """Copy every leaf into an array of its own whose dtype is not weak."""
    return jax.tree.map(
        lambda leaf: jnp.array(leaf, dtype=jnp.asarray(leaf).dtype), tree
    )


def make_train_step(
    loss_fn: LossFn, tx: Optimizer, *, nonfinite: str = "stop"
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]]:
    """Make the function that takes one optimizer step.

    g = ∇loss(params); updates, opt_state = tx(g, opt_state, params);
    params ← params + updates.

    Optimizers that need more than the gradient (`optax.contrib.reduce_on_plateau`,
    `optax.lbfgs`, `optax.polyak_sgd`) are given it: `value` is the loss, `grad` the
    gradient, and `value_fn(params)` the loss of other parameters on the same batch with
    the same key and model state.

    Whether loss and gradient are finite is found out inside the step, without waiting
    for the device, and `nonfinite` says what happens if they are not:

    - `"stop"`: the state stays the last good one, in this step and in all that follow,
      whatever batch they see; whoever drives the steps looks at `state.nonfinite` when
      convenient.
    - `"skip"`: parameters, model state and optimizer state stay, the step is counted,
      and its metrics are zeros, so that they add nothing to a sum.
    - `"ignore"`: the update is applied.

    Args:
        loss_fn: `(params, model_state, batch, key) -> (loss, (model_state, metrics))`,
            pure; `loss` is a scalar and `metrics` a dict of pytrees that may be summed
            over steps (`Mean`, counts).
        tx: the optimizer; clipping, accumulation and schedules belong into it. An
            `optax.MultiSteps` passes on the loss of the batch that completes a step.
        nonfinite: what to do with a loss or gradient that is not finite.

    Returns:
        `step(state, batch) -> (state, metrics)`, to be jitted by the caller. `metrics`
        has the loss function's entries and `"nonfinite"`, a `NonFinite`.

    Raises:
        ValueError: if `nonfinite` is none of the three, or `metrics` has an entry
            `"nonfinite"` already.

    Example:
        >>> def loss_fn(params, model_state, batch, key):
        ...     return jnp.mean((params - batch) ** 2), (model_state, {})
        >>> tx = optax.sgd(0.5)
        >>> state = create_train_state(jax.random.key(0), jnp.zeros(()), tx)
        >>> state, _ = make_train_step(loss_fn, tx)(state, jnp.array([1.0, 3.0]))
        >>> float(state.params), int(state.step)
        (2.0, 1)
    """
    check_choice("make_train_step", "nonfinite", nonfinite, POLICIES)
    gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)
    optimizer = with_extra_args(tx)

    def update(given: Any, model_state: Any, old: Any) -> Any:
        params, old_model_state, opt_state = old
        loss, gradient, batch, key = given

        def value_fn(new: Any) -> jax.Array:
            # A part of the parameters, as the optimizer of a part (`nn.freeze`,
            # `optax.masked`) has them; the rest are those of the step.
            new = fill_masked(new, params)
            return loss_fn(new, old_model_state, batch, key)[0]

        updates, opt_state = optimizer.update(
            gradient, opt_state, params, value=loss, grad=gradient, value_fn=value_fn
        )
        new = (optax.apply_updates(params, updates), model_state, opt_state)
        return _as_before("make_train_step", new, old)

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
        key = jax.random.fold_in(state.key, state.step)
        (loss, (model_state, metrics)), gradient = gradient_fn(
            state.params, state.model_state, batch, key
        )
        if "nonfinite" in metrics:
            raise ValueError(
                "make_train_step: metrics must not have the name 'nonfinite', which is "
                "the step's own (rename it)"
            )
        old = (state.params, state.model_state, state.opt_state)
        bad_loss, bad_gradient = ~jnp.isfinite(loss), ~all_finite(gradient)
        alive = jnp.ones((), bool)
        if nonfinite == "stop":
            alive = state.nonfinite == 0
        bad = (bad_loss | bad_gradient) & alive
        given = (loss, gradient, batch, key)
        if nonfinite == "ignore":
            new = update(given, model_state, old)
        else:
            good = alive & ~bad
            new = update_if(good, update, given, model_state, old)
            metrics = select(good, metrics, jax.tree.map(jnp.zeros_like, metrics))
        counts = NonFinite(
            (bad_loss & alive).astype(jnp.int32),
            (bad_gradient & alive).astype(jnp.int32),
        )
        taken = (alive & ~bad) if nonfinite == "stop" else alive
        params, model_state, opt_state = new
        state = TrainState(
            state.step + taken.astype(jnp.int32),
            params,
            model_state,
            opt_state,
            state.key,
            state.nonfinite + bad.astype(jnp.int32),
        )
        return state, {**metrics, "nonfinite": counts}

    return step


def make_eval_step(loss_fn: LossFn) -> Callable[[TrainState, Any], Any]:
    """Make the function that measures one batch and changes nothing.

    Args:
        loss_fn: as for `make_train_step`, of the model in evaluation mode.

    Returns:
        `evaluate(state, batch) -> metrics`, to be jitted by the caller.

    Example:
        >>> def loss_fn(params, model_state, batch, key):
        ...     error = jnp.sum((params - batch) ** 2)
        ...     return error, (model_state, {"error": error})
        >>> state = create_train_state(jax.random.key(0), jnp.zeros(()), optax.sgd(0.1))
        >>> make_eval_step(loss_fn)(state, jnp.array([1.0, 3.0]))
        {'error': Array(10., dtype=float32)}
    """

    def evaluate(state: TrainState, batch: Any) -> Any:
        _, (_, metrics) = loss_fn(state.params, state.model_state, batch, state.key)
        return metrics

    return evaluate


def scan_steps(
    step: Callable[[TrainState, Any], tuple[TrainState, Any]],
) -> Callable[[TrainState, Any, jax.Array], tuple[TrainState, Any]]:
    """Take several steps in one dispatch.

    When a step is shorter than the host needs to dispatch it, a `lax.scan` over k
    batches keeps the device busy. The results are those of k single steps.

    Args:
        step: what `make_train_step` gives.

    Returns:
        `steps(state, batches, count) -> (state, metrics)`: `batches` has k batches
        stacked along a new first axis, of which the first `count` (a scalar, at most k)
        are used; the others leave the state alone and their metrics are zeros, so that
        a short rest needs no compilation of its own. `metrics` are stacked likewise.

    Example:
        >>> def step(state, batch):
        ...     return state + batch, {"seen": batch}
        >>> state, seen = scan_steps(step)(0, jnp.array([5, 7, 9]), jnp.array(2))
        >>> int(state), seen["seen"]
        (12, Array([5, 7, 0], dtype=int32))
    """

    def steps(state: Any, batches: Any, count: jax.Array) -> tuple[Any, Any]:
        def body(state: Any, indexed: tuple[jax.Array, Any]) -> tuple[Any, Any]:
            index, batch = indexed
            new, metrics = step(state, batch)
            live = index < count
            nothing = jax.tree.map(jnp.zeros_like, metrics)
            return select(live, new, state), select(live, metrics, nothing)

        size = jax.tree.leaves(batches)[0].shape[0]
        return jax.lax.scan(body, state, (jnp.arange(size), batches))

    return steps


def _as_before(function: str, new: Any, old: Any) -> Any:
    # Weak types come out of schedules and of Python constants in a model; left alone,
    # they would make the second step a second compilation.
    names = ("params", "model_state", "opt_state")
    for name, after, before in zip(names, new, old, strict=True):
        if jax.tree.structure(after) != jax.tree.structure(before):
            raise ValueError(
                f"{function}: a step must keep the structure of {name}; it was "
                f"{jax.tree.structure(before)} and is {jax.tree.structure(after)}"
            )
    return jax.tree.map(
        lambda a, b: (
            jax.lax.convert_element_type(a, b.dtype)
            if not jnp.issubdtype(b.dtype, jax.dtypes.prng_key)
            else a
        ),
        new,
        old,
    )
