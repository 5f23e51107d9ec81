"""conv and its gradients against PyTorch, over every option that PyTorch has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from jaxnets.functional import conv
from tests.functional.conv_cases import conv_cases
from tests.helpers import assert_close

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    # PyTorch says that it copies for padding="same" with even kernels; no concern here.
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
]


def torch_conv(x, kernel, bias, options):
    """Input, layer and output of torch.nn's convolution with the case's weights."""
    rank = kernel.ndim - 2
    strides, dilation, padding = (
        options[name] for name in ("strides", "dilation", "padding")
    )
    layer = getattr(torch.nn, f"Conv{rank}d")(
        x.shape[1],
        kernel.shape[-1],
        kernel.shape[:-2],
        stride=strides,
        padding={"VALID": 0, "SAME": "same"}.get(padding, padding)
        if isinstance(padding, str)
        else padding,
        dilation=dilation,
        groups=options["groups"],
        bias=bias is not None,
        padding_mode=options["padding_mode"],
    )
    layer.weight = torch.nn.Parameter(
        torch.tensor(np.moveaxis(kernel, (-1, -2), (0, 1)))
    )
    if bias is not None:
        layer.bias = torch.nn.Parameter(torch.tensor(bias))
    x = torch.tensor(x, requires_grad=True)
    return x, layer, layer(x)


def check_against_torch(case):
    x, layer, expected = torch_conv(*case)
    arguments = (case.x, case.kernel, *(() if case.bias is None else (case.bias,)))
    actual, transpose = jax.vjp(lambda *a: conv(*a, **case.options), *arguments)
    terms = int(np.prod(case.kernel.shape[:-1]))
    assert_close(actual, expected.detach().numpy(), reduction=terms)

    cotangent = np.cos(np.arange(actual.size, dtype=np.float32)).reshape(actual.shape)
    expected.backward(torch.tensor(cotangent))
    weight = layer.weight.grad.numpy()
    gradients = [x.grad.numpy(), np.moveaxis(weight, (0, 1), (-1, -2))]
    if case.bias is not None:
        gradients.append(layer.bias.grad.numpy())
    for got, want in zip(transpose(jnp.asarray(cotangent)), gradients, strict=True):
        assert_close(got, want, reduction=actual.size)


@pytest.mark.parametrize(("rank", "examples"), [(1, 60), (2, 100), (3, 40)])
def test_conv_and_gradients_equal_torch(rank, examples):
    @settings(max_examples=examples)
    @given(conv_cases(rank, like_torch=True))
    def check(case):
        check_against_torch(case)

    check()
