"""What the normalisations mean, and a call of each."""

import functools

import numpy as np

from jaxnets.functional._normalize import (
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)

EPS = 1e-3


def standardise(values):
    return (values - values.mean()) / np.sqrt(values.var() + EPS)


def in_groups(x, groups):
    """Normalise each example and group of channels of a `(N, *spatial, C)` array."""
    y = np.empty_like(x)
    width = x.shape[-1] // groups
    for n in range(len(x)):
        for first in range(0, x.shape[-1], width):
            part = (n, ..., slice(first, first + width))
            y[part] = standardise(x[part])
    return y


def over_batch(x, keep=None):
    y = np.empty_like(x)
    keep = np.ones(x.shape, bool) if keep is None else np.broadcast_to(keep, x.shape)
    mean, var = np.empty(x.shape[-1]), np.empty(x.shape[-1])
    for c in range(x.shape[-1]):
        chosen = x[..., c][keep[..., c]]
        mean[c], var[c] = chosen.mean(), chosen.var()
        y[..., c] = (x[..., c] - mean[c]) / np.sqrt(var[c] + EPS)
    return y, mean, var


def response(x, size, alpha, beta, k):
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        low, high = max(c - size // 2, 0), c + (size - 1) // 2 + 1
        energy = (x[..., low:high] ** 2).sum(-1)
        y[..., c] = x[..., c] / (k + alpha / size * energy) ** beta
    return y


def layer_oracle(x, scale, bias):
    y = np.empty_like(x)
    for index in np.ndindex(*x.shape[:-1]):
        y[index] = standardise(x[index])
    return y * scale + bias


CASES = {
    "layer": (functools.partial(layer_norm, epsilon=EPS), layer_oracle),
    "group": (
        functools.partial(group_norm, num_groups=3, epsilon=EPS),
        lambda x, scale, bias: in_groups(x, 3) * scale + bias,
    ),
    "instance": (
        functools.partial(instance_norm, epsilon=EPS),
        lambda x, scale, bias: in_groups(x, 6) * scale + bias,
    ),
    "rms": (
        lambda x, scale, bias: rms_norm(x, scale, epsilon=EPS),
        lambda x, scale, bias: (
            x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * scale
        ),
    ),
}
