"""What conv_input_grad and conv_kernel_grad refuse, and how they say it."""

import jax.numpy as jnp
import pytest

from jaxnets.functional import conv_input_grad, conv_kernel_grad

X, K, G = jnp.zeros((2, 8, 8, 4)), jnp.zeros((3, 3, 4, 6)), jnp.zeros((2, 8, 8, 6))


@pytest.mark.parametrize(
    ("g", "kernel", "size", "options", "message"),
    [
        (G[:, 1:], K, (8, 8), {}, r"output \(2, 8, 8, 6\); got g.shape=\(2, 7, 8, 6\)"),
        (G[..., 1:], K, (8, 8), {}, "g must have the shape of the convolution's"),
        (G, K, (8,), {}, "input_size must have 2 entries.*got 1"),
        (G, K, (8, -1), {}, "input_size must be at least 0; got -1"),
        (G, jnp.zeros((4, 6)), (8,), {}, r"kernel must be .*kernel.shape=\(4, 6\)"),
        (jnp.zeros((8, 6)), K, (8, 8), {}, "g must have at least 3 axes"),
        (G, K, (8, 8), {"data_format": "NCHW"}, "data_format must be one of.*'NCHW'"),
        (G, K, (8, 8), {"groups": 0}, "groups must be at least 1; got 0"),
        (G, K, (8, 8), {"strides": 0}, "strides must be at least 1; got 0"),
        (G, K, (8, 8), {"padding_mode": "odd"}, "padding_mode must be one of .*'odd'"),
        (G, K, (8, 8), {"algorithm": "odd"}, "algorithm must be one of .*'odd'"),
    ],
)
def test_bad_input_gradients(g, kernel, size, options, message):
    with pytest.raises(
        ValueError, match="conv(_input_grad)?: (algorithm )?.*" + message
    ):
        conv_input_grad(g, kernel, size, **options)


@pytest.mark.parametrize(
    ("x", "g", "window", "options", "message"),
    [
        (X, G[1:], (3, 3), {}, r"output \(2, 8, 8, 6\); got g.shape=\(1, 8, 8, 6\)"),
        (X, G, (3, 0), {}, "window must be at least 1; got 0"),
        (X, jnp.zeros((8, 6)), (3, 3), {}, "g must have at least 3 axes"),
        (jnp.zeros((8, 4)), G, (3, 3), {}, "x must have at least 3 axes"),
        (X, G, (3, 3), {"groups": 3}, "groups must divide the channels of x; got 4"),
        (
            X,
            G[..., :3],
            (3, 3),
            {"groups": 2},
            "groups must divide the output channels",
        ),
        (X, G, (3, 3), {"groups": 0}, "groups must be at least 1; got 0"),
        (X, G, (3, 3), {"data_format": "NCHW"}, "data_format must be one of.*'NCHW'"),
        (X, G, (3, 3), {"dilation": 0}, "dilation must be at least 1; got 0"),
    ],
)
def test_bad_kernel_gradients(x, g, window, options, message):
    with pytest.raises(ValueError, match="conv(_kernel_grad)?: .*" + message):
        conv_kernel_grad(x, g, window, **options)


@pytest.mark.usefixtures("untyped")
def test_fractional_sizes_are_no_integers():
    with pytest.raises(TypeError, match=r"input_size must be an integer; got 8\.5"):
        conv_input_grad(G, K, (8, 8.5))
    with pytest.raises(TypeError, match=r"window must be an integer; got 3\.5"):
        conv_kernel_grad(X, G, (3, 3.5))
    with pytest.raises(TypeError, match=r"groups must be an integer; got 1\.5"):
        conv_input_grad(G, K, (8, 8), groups=1.5)
    with pytest.raises(TypeError, match=r"groups must be an integer; got 1\.5"):
        conv_kernel_grad(X, G, (3, 3), groups=1.5)
