"""conv_transpose, unfold and fold against PyTorch, values and gradients."""

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings

from jaxnets.functional._conv_transpose import conv_transpose
from jaxnets.functional._unfold import fold, unfold
from jaxnets.nn._conv_transpose import ConvTranspose
from tests.functional.conv_transpose_cases import transpose_cases
from tests.helpers import assert_close

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.slow]


def torch_transpose(x, kernel, bias, options):
    """x, weight, bias and output of torch.nn.functional's conv_transpose."""
    rank = kernel.ndim - 2
    weight = np.moveaxis(kernel, (-1, -2), (0, 1)).copy()
    arrays = [
        None if a is None else torch.tensor(a, requires_grad=True)
        for a in (x, weight, bias)
    ]
    call = getattr(torch.nn.functional, f"conv_transpose{rank}d")
    y = call(
        *arrays,
        stride=options["strides"],
        padding=options["padding"],
        output_padding=options["output_padding"],
        dilation=options["dilation"],
        groups=options["groups"],
    )
    return arrays, y


def check_against_torch(case):
    (x, weight, bias), expected = torch_transpose(*case)
    arguments = [a for a in case[:3] if a is not None]

    @jax.jit
    def both(cotangent, *arguments):
        y, transpose = jax.vjp(
            lambda *a: conv_transpose(*a, **case.options), *arguments
        )
        return y, transpose(cotangent)

    cotangent = np.cos(np.arange(expected.numel(), dtype=np.float32))
    cotangent = cotangent.reshape(expected.shape)
    y, gradients = both(cotangent, *arguments)
    terms = case.kernel.size // case.kernel.shape[-2]
    assert_close(y, expected.detach().numpy(), reduction=terms)
    expected.backward(torch.tensor(cotangent))
    wanted = [x.grad.numpy(), np.moveaxis(weight.grad.numpy(), (0, 1), (-1, -2))]
    if bias is not None:
        wanted.append(bias.grad.numpy())
    assert_close(gradients, tuple(wanted), reduction=max(terms, y.size))


@pytest.mark.parametrize(("rank", "examples"), [(1, 40), (2, 40), (3, 20)])
def test_conv_transpose(rank, examples):
    @settings(max_examples=examples)
    @given(transpose_cases(rank, like_torch=True))
    def check(case):
        check_against_torch(case)

    check()


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_the_layer_in_terms_of_flax_padding(padding, rng):
    """PyTorch's padding p is dilation · (kernel_size − 1) − p of the layer."""
    theirs = torch.nn.ConvTranspose2d(4, 6, (4, 3), 2, padding, 1, groups=2, dilation=3)
    layer = ConvTranspose(
        4, 6, (4, 3), 2, padding=(9 - padding, 6 - padding), output_padding=1,
        kernel_dilation=3, feature_group_count=2, transpose_kernel=True,
        data_format="channels_first", rngs=nnx.Rngs(0),
    )  # fmt: skip
    weight = theirs.weight.detach().numpy()
    layer.kernel[...] = np.moveaxis(weight, (0, 1), (-1, -2))
    assert layer.bias is not None
    layer.bias[...] = theirs.bias.detach().numpy()
    x = rng.normal(size=(2, 4, 5, 4)).astype(np.float32)
    expected = theirs(torch.tensor(x)).detach().numpy()
    assert_close(layer(x), expected, reduction=24)


@pytest.mark.parametrize(
    ("window", "strides", "padding", "dilation"),
    [((3, 2), 1, 0, 1), ((3, 2), (2, 1), (1, 1), (1, 2)), ((4, 4), 4, 2, 1)],
)
def test_unfold_and_fold(window, strides, padding, dilation, rng):
    x = rng.normal(size=(2, 12, 9, 3)).astype(np.float32)
    options = {"stride": strides, "padding": padding, "dilation": dilation}
    first = torch.tensor(np.moveaxis(x, -1, 1).copy())
    columns = torch.nn.functional.unfold(first, window, **options)
    own = {"strides": strides, "padding": padding, "dilation": dilation}
    patches = unfold(x, window, **own)
    # PyTorch: (batch, channels · window, positions).
    flat = patches.reshape(2, -1, *window, 3).transpose(0, 4, 2, 3, 1)
    assert_close(flat.reshape(columns.shape), columns.numpy())
    summed = torch.nn.functional.fold(columns, (12, 9), window, **options).numpy()
    folded = fold(patches, (12, 9), **own)
    assert_close(folded, np.moveaxis(summed, 1, -1), reduction=16)
