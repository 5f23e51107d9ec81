"""summary: operations and parameters counted by hand, nothing run, nothing changed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets.nn import Conv, Dense, Flatten, MaxPool, annotate, summary
from jaxnets.nn._flops import count_flops


class Net(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = Conv(3, 8, (5, 3), strides=2, feature_group_count=1, rngs=rngs)
        self.depth = Conv(8, 16, (3, 3), feature_group_count=8, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.pool = MaxPool((2, 2))
        self.flat = Flatten()
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.head = Dense(16 * 3 * 4, 10, use_bias=False, rngs=rngs)
        self.spare = nnx.Linear(2, 3, rngs=rngs)

    def __call__(self, x, *, double=False):
        x = self.pool(self.norm(self.depth(jax.nn.relu(self.conv(x)))))
        x = self.head(self.drop(self.flat(x)))
        return {"logits": 2 * x if double else x}


X = jax.ShapeDtypeStruct((2, 12, 16, 3), jnp.float32)


@pytest.mark.slow
def test_by_hand():
    model = Net()
    annotate(model.conv, trainable=False)
    annotate(model.head.kernel, trainable=False)
    table = summary(model, X)
    lines = {layer.path: layer for layer in table.layers}
    flops = {path: line.flops for path, line in lines.items() if line.flops}
    # examples × positions × outputs × taps × inputs of a group, 2 each
    expected = {
        "conv": 2 * 2 * (6 * 8) * 8 * (5 * 3) * 3,
        "depth": 2 * 2 * (6 * 8) * 16 * (3 * 3) * 1,
        "head": 2 * 2 * 10 * (16 * 3 * 4),
    }
    total = sum(expected.values())
    assert flops == {"": total, **expected}
    assert table.flops == total
    parameters = {path: line.parameters for path, line in lines.items()}
    assert parameters == {
        "": 0,
        "conv": 5 * 3 * 3 * 8 + 8,
        "depth": 3 * 3 * 1 * 16 + 16,
        "norm": 32,
        "pool": 0,
        "flat": 0,
        "drop": 0,
        "head": 1920,
        "spare": 9,
    }
    assert table.parameters == sum(parameters.values())
    assert table.frozen == 368 + 1920
    assert lines["conv"].frozen == 368
    assert lines["spare"].output is None
    assert lines["pool"].output.shape == (2, 3, 4, 16)
    assert lines[""].output["logits"].shape == (2, 10)
    assert [layer.path for layer in table.layers][:3] == ["", "conv", "depth"]


def test_text():
    model = Net()
    annotate(model.conv.kernel, trainable=False)
    annotate(model.head, trainable=False)
    lines = str(summary(model, X)).splitlines()
    found = [line.split() for line in lines]
    assert found[0] == ["layer", "type", "output", "parameters", "FLOPs"]
    assert ["(model)", "Net", "{'logits':", "float32[2,", "10]}", "104,448"] in found
    conv = ["conv", "Conv", "float32[2,", "6,", "8,", "8]", "368"]
    assert [*conv, "partly", "frozen", "69,120"] in found
    assert ["head", "Dense", "float32[2,", "10]", "1,920", "frozen", "7,680"] in found
    assert ["spare", "Linear", "not", "called", "9"] in found
    assert lines[-2] == "  parameters: 2,489 (209 trainable, 2,280 frozen)"
    assert lines[-1].startswith("  FLOPs of a call: 104,448 (2 a multiply-add")


def test_nothing_runs_and_nothing_changes():
    model = Net()
    before = jax.tree.map(np.asarray, jax.tree.leaves(nnx.state(model, nnx.Param)))
    calls = {kind: kind.__call__ for kind in (Net, Conv, Dense, nnx.BatchNorm)}
    counts = [int(c[...]) for _, c in nnx.to_flat_state(nnx.state(model, nnx.RngCount))]
    mean = np.asarray(model.norm.mean[...])
    # So large that it could not be held if anything were computed.
    model.head = nnx.Linear(16 * 3 * 4, 10, rngs=nnx.Rngs(0))
    huge = jax.ShapeDtypeStruct((10**9, 12, 16, 3), jnp.float32)
    assert summary(model, huge).flops > 10**13
    assert {kind: kind.__call__ for kind in calls} == calls
    after = [int(c[...]) for _, c in nnx.to_flat_state(nnx.state(model, nnx.RngCount))]
    assert after[: len(counts)] == counts
    np.testing.assert_array_equal(model.norm.mean[...], mean)
    assert len(before) == 9


def test_classes_are_put_back_after_an_error():
    model = Net()
    call = Conv.__call__
    with pytest.raises(ValueError, match="conv: kernel has 3 input channels"):
        summary(model, jnp.zeros((2, 12, 16, 5)))
    assert Conv.__call__ is call


def test_options_of_the_call_are_not_traced():
    assert summary(Net(), X, double=True).flops == summary(Net(), X).flops


class Looped(nnx.Module):
    """Products in a scan, in a condition, in jit and in a subclass's super()."""

    def __init__(self):
        self.inner = Dense(4, 4, rngs=nnx.Rngs(0))
        self.special = Special(4, 4, rngs=nnx.Rngs(0))

    def __call__(self, x):
        x = jax.lax.scan(lambda c, _: (self.inner(c), None), x, None, length=7)[0]
        x = jax.lax.cond(x.sum() > 0, self.inner, lambda x: x, x)
        return jax.jit(self.special)(x)


class Special(Dense):
    def __call__(self, x):
        return super().__call__(x) @ self.kernel[...]


def test_loops_conditions_and_super():
    table = summary(Looped(), jnp.zeros((3, 4)))
    once = 2 * 3 * 4 * 4
    assert table.flops == (7 + 1 + 2) * once
    lines = [(layer.path, layer.kind, layer.flops) for layer in table.layers]
    assert lines[0] == ("", "Looped", 10 * once)
    assert ("special", "Special", 2 * once) in lines
    assert sum(flops for path, _, flops in lines if path == "inner") == 8 * once
    assert sum(kind == "Special" for _, kind, _ in lines) == 1


@pytest.mark.parametrize("make", [Conv, nnx.Conv])
def test_gradients_of_a_convolution_are_counted(make):
    """Each gradient does the products of the layer: three times the forward pass."""
    layer = make(4, 6, (3,), strides=1, padding="VALID", rngs=nnx.Rngs(0))
    graph, state = nnx.split(layer)

    def loss(state, x):
        return nnx.merge(graph, state)(x).sum()

    x = jnp.zeros((2, 9, 4))
    once = 2 * 2 * 7 * 6 * 3 * 4
    assert count_flops(jax.make_jaxpr(loss)(state, x))[None] == once
    if make is Conv:  # XLA's gradients go over the padding too
        both = jax.make_jaxpr(jax.value_and_grad(loss, argnums=(0, 1)))(state, x)
        assert count_flops(both)[None] == 3 * once


def test_errors():
    with pytest.raises(TypeError, match=r"summary: inputs must be arrays .*; got 3"):
        summary(Net(), 3)
