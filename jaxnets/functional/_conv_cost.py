"""The seconds that a part of a convolution is estimated to take, by each algorithm.

    seconds = (flops · a + bytes · b + calls · c) · exp(s · φ + Σ_i w_i k(φ, φ_i))
              + fresh bytes · f

The first factor is the work that the algorithm counts, at the rates of the platform for
its kind of work. The second is what counting leaves out: how well matrices of these
sizes fill vector units and caches. It depends on the sizes φ of the convolution alone
and is a Gaussian process over the convolutions φ_i that were measured,

    k(φ, φ_i) = exp(−‖φ − φ_i‖² / 2 h²);

far from all of them only its plane s · φ is left, held constant beyond the largest and
smallest sizes. All but XLA's own convolution count more, up to exp(`CAUTION`) times,
the farther off what was measured is, and each algorithm exp(σ²) times, where σ is what
is left of the logarithms on convolutions that the process had not seen: the least of
several estimates is more often one that is too low. Platforms that were not measured
have the first factor only.

Measured alone, a call finds its temporary arrays where the call before left them. In
the program of a network there are too many for that, and the pages of large ones are
new: f, on CPU, was measured on ResNet-18 at batch 1, 3.4 ms for the 9.4 MB of
Winograd's kernels of 256 x 256 channels.

Source: Rasmussen, Williams, Gaussian Processes for Machine Learning (2006), equations
2.25 and 2.41.
"""

import json
from functools import cache
from importlib import resources
from math import exp, log2, prod
from typing import NamedTuple

import numpy as np

from jaxnets.functional._conv_plans import canonical_platform
from jaxnets.functional.conv_algorithms._spec import ConvFacts, Work

REACH = 5.5
"""h: convolutions whose sizes are within a few factors of 2⁵ tell of each other."""

CAUTION = 0.2


class Costs:
    """What is known of a platform: rates, and corrections where it was measured."""

    def __init__(self, content: dict) -> None:
        self.measured: bool = content["measured"]
        self._rates = content["rates"]
        self._fresh = content.get("fresh", 0.0)
        self._spread = content.get("spread", {})
        corrections = content.get("corrections", {})
        self._cases = np.array(corrections.get("cases", []), np.float64)
        self._planes = corrections.get("planes", {})
        self._weights = {
            algorithm: {part: np.array(w) for part, w in parts.items()}
            for algorithm, parts in corrections.get("weights", {}).items()
        }

    def seconds(
        self, algorithm: str, part: str, work: Work, basis: "Basis | None"
    ) -> float:
        """Estimated seconds for one part; `basis` is that of the convolution."""
        rates = self._rates[algorithm][work.kind][part]
        counted = sum(n * rate for n, rate in zip(work[:3], rates, strict=True))
        if basis is None or part not in self._planes.get(algorithm, {}):
            return counted
        more = basis.plane @ self._planes[algorithm][part]
        more += basis.near @ self._weights[algorithm][part]
        if algorithm != "direct":
            more += CAUTION * basis.distance
        more += self._spread.get(algorithm, 0.0) ** 2
        return counted * exp(more) + work.fresh * self._fresh

    def basis(self, facts: ConvFacts) -> "Basis | None":
        """What the corrections of a convolution are sums of; None without any."""
        if not len(self._cases):
            return None
        there = sizes(facts)
        here = np.clip(there, self._cases.min(0), self._cases.max(0))
        distance = 1 - float(kernel(there[None], self._cases).max())
        return Basis(plane(here), kernel(here[None], self._cases)[0], distance)


class Basis(NamedTuple):
    """Terms of a plane, of the kernels, and 1 − the largest of the latter."""

    plane: np.ndarray
    near: np.ndarray
    distance: float


def sizes(facts: ConvFacts) -> np.ndarray:
    """φ: logarithms to base 2, a stride's twice; a rank stands as far off as 2³.

    Groups are a step, which their number makes little larger.
    """
    groups = facts.spec.groups
    counts = (
        facts.fan_in,
        facts.fan_out,
        8 * groups**0.5 if groups > 1 else 1,
        facts.batch,
        prod(facts.positions),
        prod(facts.window),
        prod(facts.spec.strides) ** 2,
        8 ** len(facts.window),
    )
    return np.array([log2(max(n, 1)) for n in counts])


def plane(points: np.ndarray) -> np.ndarray:
    """The terms of s · φ, a constant among them, all about 1 in size."""
    one = np.ones((*points.shape[:-1], 1))
    return np.concatenate([one, points / 4 - 1], axis=-1)


def kernel(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The k of every one of `points` and every one of `others`."""
    distance = np.sum((points[:, None] - others[None]) ** 2, axis=-1)
    return np.exp(-distance / (2 * REACH**2))


@cache
def costs(platform: str) -> Costs:
    """The costs of a platform; those of an unknown one are estimates."""
    known = stored()
    name = canonical_platform(platform)
    return Costs(known[name if name in known else "default"])


def stored() -> dict:
    """The content of `_conv_rates.json`, by platform."""
    text = resources.files("jaxnets.functional").joinpath("_conv_rates.json")
    return json.loads(text.read_text())["platforms"]
