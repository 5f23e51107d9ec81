"""Three tasks that ask a network to remember, each a function of a key."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnets import data
from jaxnets import functional as F

SYMBOLS, COPIED = 8, 10


class Task(NamedTuple):
    """What is to be learnt.

    Attributes:
        draw: `(key, batch) -> (xs, targets)`, `xs` `(batch, time, features)`.
        test: the same for what is not trained on.
        loss: `(outputs (batch, time, outputs), targets) -> scalar`.
        figure: a scalar of the same arguments to quote.
        figure_name: what that is.
        features: how many an input has.
        outputs: how many numbers an output has.
        baseline: the loss without any memory.
        span: how many steps something has to be remembered, at most.
    """

    draw: Callable[..., Any]
    test: Callable[..., Any]
    loss: Callable[..., jax.Array]
    figure: Callable[..., jax.Array]
    figure_name: str
    features: int
    outputs: int
    baseline: float
    span: int


def adding(length: int) -> Task:
    """Add the two marked numbers of a row; Hochreiter and Schmidhuber 1997, 5.4.

    One mark stands in the first half, one in the second. Who always says 1 has a mean
    squared error of 1/6, the variance of the sum.
    """

    def draw(key: jax.Array, batch: int) -> Any:
        numbers, first, second = jax.random.split(key, 3)
        values = jax.random.uniform(numbers, (batch, length))
        half = length // 2
        places = jnp.stack(
            [
                jax.random.randint(first, (batch,), 0, half),
                jax.random.randint(second, (batch,), half, length),
            ],
            axis=1,
        )
        marks = jax.nn.one_hot(places, length).sum(axis=1)
        return jnp.stack([values, marks], axis=-1), (values * marks).sum(axis=1)

    def loss(outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.mean((outputs[:, -1, 0] - targets) ** 2)

    return Task(draw, draw, loss, loss, "mean squared error", 2, 1, 1 / 6, length)


def copying(length: int) -> Task:
    """Say ten symbols again after a long wait; Arjovsky, Shah, Bengio 2016, 5.1.

    Ten of 8 symbols, `length` blanks of which the last is a sign to begin, ten blanks
    more during which the symbols are due. Who remembers nothing guesses one of 8.
    """
    blank, sign = SYMBOLS, SYMBOLS + 1

    def draw(key: jax.Array, batch: int) -> Any:
        symbols = jax.random.randint(key, (batch, COPIED), 0, SYMBOLS)
        waiting = jnp.full((batch, length - 1), blank)
        begin = jnp.full((batch, 1), sign)
        silent = jnp.full((batch, COPIED), blank)
        ids = jnp.concatenate([symbols, waiting, begin, silent], axis=1)
        return jax.nn.one_hot(ids, SYMBOLS + 2), symbols

    def loss(outputs: jax.Array, symbols: jax.Array) -> jax.Array:
        nats = F.sequence_cross_entropy(outputs[:, -COPIED:], symbols)
        return nats.mean() / COPIED

    def right(outputs: jax.Array, symbols: jax.Array) -> jax.Array:
        return jnp.mean(outputs[:, -COPIED:].argmax(axis=-1) == symbols)

    baseline = float(jnp.log(SYMBOLS))
    return Task(
        draw,
        draw,
        loss,
        right,
        "symbols right",
        SYMBOLS + 2,
        SYMBOLS,
        baseline,
        length + COPIED,
    )


def digits(pixelwise: bool) -> Task:
    """Read an image of a digit a row, or a pixel, at a time and name it at the end."""
    train, test = data.load("digits")

    def taken(split: Any) -> tuple[jax.Array, jax.Array]:
        # 14 x 14 by averaging: 196 pixels are a long enough way.
        x = F.avg_pool(split.x, (2, 2)) if pixelwise else jnp.asarray(split.x)
        x = x.reshape(len(x), -1, 1 if pixelwise else x.shape[2])
        return x, jnp.asarray(split.y)

    (x, y), everything = taken(train), taken(test)

    def draw(key: jax.Array, batch: int) -> Any:
        rows = jax.random.randint(key, (batch,), 0, len(x))
        return x[rows], y[rows]

    def loss(outputs: jax.Array, labels: jax.Array) -> jax.Array:
        last = outputs[:, -1:]
        return F.sequence_cross_entropy(last, labels[:, None]).mean()

    def right(outputs: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.mean(outputs[:, -1].argmax(axis=-1) == labels)

    return Task(
        draw,
        lambda key, batch: everything,
        loss,
        right,
        "test accuracy",
        x.shape[2],
        10,
        float(jnp.log(10)),
        x.shape[1],
    )
