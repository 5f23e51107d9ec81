"""Laws that every public function of arrays and every module keeps.

The table of cases is `tests/cases.py`. A new public name fails the meta-test until it
has a row there, or stands below among the names that no transform can meet.
"""

import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

import jaxnets
from tests.case_kinds import Case
from tests.cases import CASES
from tests.helpers import assert_close

ROOMS = ("functional", "nn", "models", "data", "train", "interop")

# Public names that are not functions from arrays to arrays: what they are instead.
# Their tests stand in the folder of their room.
NO_ARRAYS = {
    "functional.BatchStats": "a container, in the rows of batch_norm",
    "functional.ConnectionCounts": "a container",
    "functional.ConvExplanation": "a container",
    "functional.ConvOperator": "the operator, in the rows of conv_operator",
    "functional.ConvPlan": "a container",
    "functional.LayerCounts": "a container",
    "functional.connection_counts": "integers only",
    "functional.conv_output_shape": "integers only",
    "functional.conv_plan": "integers only",
    "functional.conv_transpose_output_shape": "integers only",
    "functional.equivariance_error": "takes functions",
    "functional.explain_conv": "integers only",
    "functional.reflect_action": "makes a function",
    "functional.rotate_action": "makes a function",
    "functional.shift_action": "makes a function",
    "functional.tune_conv": "runs on the host",
    "functional.use_plans": "reads a file",
    "functional.pool_output_shape": "integers only",
    **{
        f"functional.{name}": "a container, in the rows of recurrence"
        for name in (
            "ConvLSTMParams GRUParams LSTMNorm LSTMParams LSTMState MGUParams RNNParams"
        ).split()
    },
    **{
        f"functional.{name}": "makes arrays, from sizes or for a sequence"
        for name in (
            "init_conv_lstm init_gru init_lstm init_mgu init_rnn zero_state"
        ).split()
    },
    "functional.truncated_bptt": "its gradients are cut on purpose",
    "nn.ActivityPenalty": "a kind of variable",
    "nn.annotate": "sets metadata of a variable",
    "nn.constrain": "makes an optimizer",
    "nn.freeze": "makes an optimizer",
    "nn.penalty": "takes a module",
    "nn.LayerSummary": "a container",
    "nn.Summary": "a container",
    "nn.summary": "describes a module",
    "nn.LayerField": "a container",
    "nn.ReceptiveField": "a container",
    "nn.effective_receptive_field": "measures a module",
    "nn.receptive_field": "describes a module",
    **{
        f"models.{name}": "a network of rows of `nn`, or its name; see tests/models"
        for name in (
            "AlexNet GoogLeNet LeNet5 ModernLeNet ResNet VGG create names"
        ).split()
    },
    **{
        f"data.{name}": "runs on the host"
        for name in (
            "Dataset DownloadError Split batch_indices batches class_names epoch_order "
            "load load_raw prefetch process_slice split_validation steps_per_epoch "
            "scale_images to_binary to_grayscale to_rgb "
            "StreamBatches Vocabulary encode_file load_text read_text "
            "vocabulary_of_file"
        ).split()
    },
    **{
        f"interop.recurrent_{way}_{peer}": "runs on the host"
        for way in ("from", "to")
        for peer in ("torch", "keras", "flax")
    },
    "interop.LoadReport": "a container",
    "interop.load_safetensors": "reads a file",
    "interop.save_safetensors": "writes a file",
    **{
        f"train.{name}": "runs or describes a training"
        for name in (
            "BadCheckpoint CSVLogger Callback Checkpoint ConfusionMatrix EarlyStopping "
            "History LearningRate Mean Metric NonFinite Progress Resumed TensorBoard "
            "TrainState Trainer accuracy create_train_state make_eval_step "
            "make_train_step mean robustness_curve scan_steps top_k"
        ).split()
    },
}

each_case = pytest.mark.parametrize(
    "case", CASES, ids=[f"{case.name}-{case.label.replace(' ', '_')}" for case in CASES]
)

FIRST = {case.name: case for case in reversed(CASES)}
first_fast = pytest.mark.parametrize(
    "case",
    [
        case if case is FIRST[case.name] else pytest.param(case, marks=pytest.mark.slow)
        for case in CASES
    ],
    ids=[f"{case.name}-{case.label.replace(' ', '_')}" for case in CASES],
)


def public_names() -> set[str]:
    """Every public name of every room; modules and the rooms' folders are not names."""
    return {
        f"{room}.{name}"
        for room in ROOMS
        for name, value in vars(getattr(jaxnets, room)).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }


def test_every_public_name_has_a_row():
    covered = {case.name for case in CASES} | set(NO_ARRAYS)
    names = public_names()
    assert not names - covered, f"no row in tests/cases.py: {sorted(names - covered)}"
    assert not covered - names, f"not public: {sorted(covered - names)}"


@each_case
def test_jit_equals_eager(case: Case):
    arguments = case.draw(0)
    assert_close(jax.jit(case.call)(*arguments), case.call(*arguments), reduction=64)


@each_case
def test_a_second_call_compiles_nothing(case: Case):
    chex.clear_trace_counter()
    counted = jax.jit(chex.assert_max_traces(case.call, n=1))
    counted(*case.draw(0))
    counted(*case.draw(1))


@each_case
def test_vmap_equals_loop(case: Case):
    draws = [case.draw(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *draws)
    mapped = jax.jit(jax.vmap(case.call))(*stacked)
    for i, arguments in enumerate(draws):
        one = jax.tree.map(lambda a, i=i: a[i], mapped)
        assert_close(one, case.call(*arguments), reduction=64)


@first_fast
def test_vmap_over_one_argument_equals_loop(case: Case):
    draws = [case.draw(seed) for seed in range(3)]
    with_arrays = [i for i, a in enumerate(draws[0]) if jax.tree.leaves(a)]
    for position in with_arrays:
        rows = [
            (*draws[0][:position], draw[position], *draws[0][position + 1 :])
            for draw in draws
        ]
        stacked = jax.tree.map(lambda *a: jnp.stack(a), *[d[position] for d in draws])
        axes = [0 if i == position else None for i in range(len(draws[0]))]
        together = (*draws[0][:position], stacked, *draws[0][position + 1 :])
        mapped = jax.jit(jax.vmap(case.call, in_axes=axes))(*together)
        for i, arguments in enumerate(rows):
            one = jax.tree.map(lambda a, i=i: a[i], mapped)
            assert_close(one, case.call(*arguments), reduction=64)


@each_case
def test_scan_equals_loop(case: Case):
    draws = [case.draw(seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *draws)
    _, results = lax.scan(lambda c, a: (c, case.call(*a)), None, stacked)
    for i, arguments in enumerate(draws):
        one = jax.tree.map(lambda a, i=i: a[i], results)
        assert_close(one, case.call(*arguments), reduction=64)


def smooth_part(case: Case, arguments: tuple):
    """The case as a function of its smooth arguments, to its floating results."""

    def call(*smooth):
        full = list(arguments)
        for position, value in zip(case.smooth, smooth, strict=True):
            full[position] = value
        leaves = jax.tree.leaves(case.call(*full))
        return [a for a in leaves if jnp.issubdtype(a.dtype, jnp.floating)]

    return call, [arguments[position] for position in case.smooth]


@first_fast
def test_remat_keeps_the_gradient(case: Case):
    call, smooth = smooth_part(case, case.draw(0))

    def loss(call):
        return lambda *a: sum(jnp.sum(jnp.sin(y)) for y in call(*a))

    every = tuple(range(len(smooth)))
    plain = jax.jit(jax.grad(loss(call), every))(*smooth)
    again = jax.jit(jax.grad(loss(jax.checkpoint(call)), every))(*smooth)
    assert_close(again, plain, reduction=64)
    size = sum(float(jnp.sum(jnp.abs(g))) for g in jax.tree.leaves(plain))
    assert 0 < size < np.inf


@pytest.mark.slow
@each_case
@pytest.mark.usefixtures("x64")
def test_derivatives_to_second_order_in_both_modes(case: Case):
    arguments = to_dtype(case.draw(0), jnp.float64)
    call, smooth = smooth_part(case, arguments)
    if "scan[" in str(jax.make_jaxpr(call)(*smooth)):
        # Op by op, XLA would compile the loop again wherever it stands.
        call = jax.jit(call)
    check_grads(call, tuple(smooth), order=2, modes=("fwd", "rev"), eps=1e-5)


def to_dtype(tree, dtype):
    return jax.tree.map(
        lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree
    )


@first_fast
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtype_is_kept_and_halves_are_computed_wide(case: Case, dtype: str):
    if dtype not in ("float32", *case.dtypes):
        pytest.skip(f"{case.name} does not take {dtype}")
    rounded = to_dtype(case.draw(0), dtype)
    with jax.numpy_dtype_promotion("strict"):
        actual = case.call(*rounded)
    expected = case.call(*to_dtype(rounded, jnp.float32))
    for got, want in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        floating = jnp.issubdtype(want.dtype, jnp.floating)
        assert_close(got, want, dtype=dtype if floating else want.dtype, reduction=4)


@first_fast
@pytest.mark.usefixtures("x64")
def test_float64_stays_float64(case: Case):
    wide = case.call(*to_dtype(case.draw(0), jnp.float64))
    narrow = case.call(*case.draw(0))
    for got, want in zip(*map(jax.tree.leaves, (wide, narrow)), strict=True):
        if jnp.issubdtype(want.dtype, jnp.floating):
            assert got.dtype == jnp.float64
            assert want.dtype == jnp.float32
            assert_close(got.astype(jnp.float32), want, reduction=64)


@first_fast
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_a_sharded_batch_gives_the_same(case: Case, axis_type: AxisType):
    if not case.batched:
        pytest.skip(f"{case.name} has no batch")
    arguments = case.draw(0)

    def both(*arguments):
        """The result, and the gradient of a sum of sines of it."""
        call, smooth = smooth_part(case, arguments)
        gradient = jax.grad(lambda a: sum(jnp.sum(jnp.sin(y)) for y in call(*a)))
        return case.call(*arguments), gradient(smooth)

    mesh = jax.make_mesh((4,), ("batch",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        placed = [
            jax.device_put(
                argument,
                NamedSharding(mesh, PartitionSpec(*["batch"][: i in case.batched])),
            )
            for i, argument in enumerate(arguments)
        ]
        actual = jax.jit(both)(*placed)
    assert_close(actual, jax.jit(both)(*arguments), reduction=256)
