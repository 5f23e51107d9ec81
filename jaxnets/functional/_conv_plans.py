"""Plans that were measured: their file, and the ones in force."""

import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnets.functional._conv_plan import (
    ConvPlan,
    make_plan,
    refusal,
    without_rounding,
)
from jaxnets.functional.conv_algorithms import PARTS, ConvFacts, ConvSpec

FORMAT = "jaxnets convolution plans"
VERSION = 1
MOST_BYTES = 64 << 20

_in_force = jax.make_user_context(())


class TunedPlan(NamedTuple):
    """The measured plan of one convolution on one platform."""

    platform: str
    facts: ConvFacts
    plan: ConvPlan


class use_plans:
    """Let `algorithm="auto"` take the measured plans of a file where they fit.

    They are in force from the call on, or in a `with` block until its end. Functions
    that were compiled under other plans are traced again. A convolution that the file
    does not hold goes by the rule, as before.

    Args:
        path: file that `tune_conv(..., path=...)` wrote; None takes all plans out of
            force.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not one of ours, is damaged, or names an algorithm
            that does not exist or cannot run its convolution.

    Example:
        >>> import tempfile, pathlib
        >>> from jaxnets.functional import conv_plan, tune_conv
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "plans.json"
        >>> plan = tune_conv((1, 8, 8, 2), (3, 3, 2, 2), rounds=1, path=path)
        >>> with use_plans(path):
        ...     conv_plan((1, 8, 8, 2), (3, 3, 2, 2)) == plan
        True

    Source:
        The store of measured plans follows FFTW's wisdom, fftw.org.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._plans = () if path is None else load_plans(path)
        self._before = _in_force.get_global()
        _in_force.set_global(self._plans)

    def __enter__(self) -> None:
        """In force already, unless an earlier block has ended."""
        _in_force.set_global(self._plans)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put back what was in force before."""
        _in_force.set_global(self._before)


def tuned_plan(facts: ConvFacts, platform: str) -> ConvPlan | None:
    """The plan in force for a convolution, if there is one."""
    plans = _in_force.value
    return _index(plans).get(_key(canonical_platform(platform), facts))


def canonical_platform(platform: str) -> str:
    """`"gpu"` for the names that JAX has for its kinds."""
    return "gpu" if platform in ("cuda", "rocm") else platform


def load_plans(path: str | os.PathLike[str]) -> tuple[TunedPlan, ...]:
    """Read and check a file of plans."""
    path = Path(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(
            f"use_plans: {path} has {size} bytes, more than the {MOST_BYTES} that a "
            "file of plans may have"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"use_plans: {path} is not JSON ({error}); write it anew with tune_conv"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"use_plans: {path} is not a file of {FORMAT}")
    if content.get("version") != VERSION:
        raise ValueError(
            f"use_plans: {path} has version {content.get('version')!r}, this jaxnets "
            f"reads {VERSION}; write it anew with tune_conv"
        )
    entries = content.get("plans")
    if not isinstance(entries, list):
        raise ValueError(f"use_plans: {path} lacks its list of plans")
    return tuple(_read(entry, f"{path}, plan {i}") for i, entry in enumerate(entries))


def store_plan(path: str | os.PathLike[str], tuned: TunedPlan) -> None:
    """Add a plan to a file, in the place of an older one for the same convolution."""
    path = Path(path)
    kept = load_plans(path) if path.exists() else ()
    key = _key(tuned.platform, tuned.facts)
    plans = [old for old in kept if _key(old.platform, old.facts) != key]
    entries = [_written(one) for one in (*plans, tuned)]
    content = {"format": FORMAT, "version": VERSION, "plans": entries}
    # Written beside it and moved there: a reader never sees half a file.
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _key(platform: str, facts: ConvFacts) -> tuple[str, ConvFacts]:
    return platform, without_rounding(facts)


@cache
def _index(plans: tuple[TunedPlan, ...]) -> dict:
    return {_key(one.platform, one.facts): one.plan for one in plans}


def _written(tuned: TunedPlan) -> dict[str, Any]:
    facts, plan = tuned.facts, tuned.plan
    spec = facts.spec
    return {
        "platform": tuned.platform,
        "batch": facts.batch,
        "spatial": facts.spatial,
        "window": facts.window,
        "channels": facts.channels,
        "out": facts.out,
        "strides": spec.strides,
        "padding": spec.padding,
        "dilation": spec.dilation,
        "groups": spec.groups,
        "dtype": facts.dtype,
        **{part: getattr(plan, part) for part in PARTS},
    }


def _read(entry: Any, where: str) -> TunedPlan:
    """One plan of a file, everything in it checked."""
    if not isinstance(entry, Mapping):
        raise ValueError(f"use_plans: {where} is not an object")
    names = {"platform", "dtype", *PARTS}
    numbers = {"batch", "channels", "out", "groups"}
    axes = {"spatial", "window", "strides", "dilation"}
    wanted = names | numbers | axes | {"padding"}
    if set(entry) != wanted:
        wrong = ", ".join(sorted(set(entry) ^ wanted))
        raise ValueError(f"use_plans: {where} has missing or unknown fields: {wrong}")
    rank = len(entry["window"]) if isinstance(entry["window"], list) else 0
    right = (
        rank > 0
        and all(isinstance(entry[name], str) for name in names)
        and all(_is_count(entry[name]) for name in numbers)
        and all(_are_counts(entry[name], rank) for name in axes)
        and isinstance(entry["padding"], list)
        and len(entry["padding"]) == rank
        and all(_are_counts(pair, 2, least=0) for pair in entry["padding"])
    )
    if not right or entry["channels"] % entry["groups"]:
        raise ValueError(f"use_plans: {where} holds a value of the wrong kind")
    spec = ConvSpec(
        tuple(entry["strides"]),
        tuple((lo, hi) for lo, hi in entry["padding"]),
        tuple(entry["dilation"]),
        entry["groups"],
        None,
    )
    facts = ConvFacts(
        entry["batch"],
        tuple(entry["spatial"]),
        tuple(entry["window"]),
        entry["channels"],
        entry["out"],
        spec,
        entry["dtype"],
    )
    plan = make_plan((entry[part] for part in PARTS), facts)
    try:
        jnp.dtype(facts.dtype)
        reason = refusal(plan, facts)
    except TypeError as error:
        raise ValueError(f"use_plans: {where}: {error}") from error
    if reason is not None:
        raise ValueError(f"use_plans: {where}: algorithm {reason}")
    return TunedPlan(entry["platform"], facts, plan)


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _are_counts(values: Any, length: int, least: int = 1) -> bool:
    if not isinstance(values, Sequence) or isinstance(values, str):
        return False
    return len(values) == length and all(_is_count(v, least) for v in values)
