"""Names of layers: what a table of a source says about one network."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

Rules = Mapping[str, str | Callable[..., str]]
"""Our layer -> theirs. A `*` of ours is a number, and theirs a function of them."""


class Names(NamedTuple):
    """The names of one network's layers in another library.

    Attributes:
        convention: `"torch"`, `"keras"` or `"jaxnets"`: the layout of each layer.
        rules: our layers and theirs; None where both have the same names.
        heads: our layers that depend on the number of classes.
        flattened: our dense layers that follow a flattened map, and the rows and
            columns of that map.
        dense_as_conv: our dense layers that the other library keeps as convolutions.
        optional: beginnings of their names that a network may leave where they are.
    """

    convention: str
    rules: Rules | None
    heads: tuple[str, ...] = ("head",)
    flattened: Mapping[str, tuple[int, int]] = {}
    dense_as_conv: frozenset[str] = frozenset()
    optional: tuple[str, ...] = ()

    def layer(self, ours: str) -> str | None:
        """Their name of a layer of ours, or None if they have none."""
        if self.rules is None:
            return ours
        for pattern, theirs in self.rules.items():
            match = _compiled(pattern).fullmatch(ours)
            if match is not None:
                numbers = map(int, match.groups())
                return theirs if isinstance(theirs, str) else theirs(*numbers)
        return None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", r"(\d+)"))
