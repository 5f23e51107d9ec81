"""conv_input_grad and conv_kernel_grad against torch.nn.grad."""

import numpy as np
import pytest
from hypothesis import given, settings

from jaxnets.functional import conv_input_grad, conv_kernel_grad
from tests.functional.conv_cases import conv_cases
from tests.helpers import assert_close
from tests.oracles import per_axis

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.slow]


def check_against_torch(case):
    rank = case.kernel.ndim - 2
    options = case.options | {"padding_mode": "zeros"}
    if isinstance(options["padding"], str):
        options["padding"] = 0
    of_input, of_weight = (
        getattr(torch.nn.grad, f"conv{rank}d_{what}") for what in ("input", "weight")
    )
    weight = torch.tensor(np.moveaxis(case.kernel, (-1, -2), (0, 1)))
    x = torch.tensor(case.x)
    same = {
        "stride": per_axis(options["strides"], rank),
        "padding": per_axis(options["padding"], rank),
        "dilation": per_axis(options["dilation"], rank),
        "groups": options["groups"],
    }
    forward = getattr(torch.nn.functional, f"conv{rank}d")
    shape = tuple(forward(x, weight, **same).shape)
    g = np.cos(np.arange(np.prod(shape), dtype=np.float32)).reshape(shape)

    dx = conv_input_grad(g, case.kernel, case.x.shape[2:], **options)
    wanted = of_input(x.shape, weight, torch.tensor(g), **same).numpy()
    assert_close(dx, wanted, reduction=case.kernel.size)
    dk = conv_kernel_grad(case.x, g, case.kernel.shape[:-2], **options)
    wanted = of_weight(x, weight.shape, torch.tensor(g), **same).numpy()
    assert_close(dk, np.moveaxis(wanted, (0, 1), (-1, -2)), reduction=g.size)


@pytest.mark.parametrize(("rank", "examples"), [(1, 25), (2, 40), (3, 10)])
def test_gradients_equal_torch(rank, examples):
    @settings(max_examples=examples)
    @given(conv_cases(rank, like_torch=True))
    def check(case):
        check_against_torch(case)

    check()
