"""Which array of a file goes where: everything is checked before anything is read."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np

from jaxnets.interop._names import Names
from jaxnets.interop._stored import FLOATS, FUNCTION, Stored
from jaxnets.interop._weights_layouts import Place, place_of
from jaxnets.interop._weights_slots import Slot

# How many batches torch's BatchNorm has seen, which none of its defaults looks at.
COUNTS = ".num_batches_tracked"


class Pair(NamedTuple):
    """An array of ours, the place it has in the source, and what the file has there."""

    slot: Slot
    place: Place
    stored: Stored


class Match(NamedTuple):
    """Every array of the model and of the file, sorted out.

    An array that the model shares has a pair for each of its names in the file.
    """

    pairs: tuple[Pair, ...]
    missing: tuple[tuple[Slot, Place], ...]
    unexpected: tuple[str, ...]
    excluded: tuple[str, ...]
    ignored: tuple[str, ...]


def match(
    arrays: Sequence[Sequence[Slot]],
    stored: Mapping[str, Stored],
    names: Names,
    *,
    source: str,
    exclude: Sequence[str],
    skip_head: bool,
) -> Match:
    """Sort out the arrays of a model and those of a file.

    Raises:
        ValueError: if an array of the model has no place in the source, or a pattern
            of `exclude` or `skip_head` meets nothing.
    """
    heads = names.heads if skip_head else ()
    left = dict(stored)
    used = set()

    def is_excluded(*candidates: str) -> bool:
        hits = {p for p in exclude if any(fnmatchcase(c, p) for c in candidates)}
        used.update(hits)
        return bool(hits)

    pairs, missing, excluded, ignored = [], [], [], []
    for slots in arrays:
        places = [(slot, place_of(FUNCTION, slot, names)) for slot in slots]
        found, left_out = [], []
        for slot, place in places:
            theirs = [] if place is None else [place.name]
            if slot.layer in heads or is_excluded(slot.name, *theirs):
                left_out.append(slot.name)
                ignored += [name for name in theirs if left.pop(name, None) is not None]
            elif place is not None and place.name in left:
                found.append(Pair(slot, place, left.pop(place.name)))
        known = [(slot, place) for slot, place in places if place is not None]
        if found:
            pairs += found
        elif left_out:
            excluded.append(left_out[0])
        elif known:
            missing.append(known[0])
        else:
            raise ValueError(
                f"{FUNCTION}: source {source!r} has no place for {slots[0].name} "
                f"{slots[0].shape} (name it in exclude, or use a model without it)"
            )
    head_names = tuple(f"{names.layer(head)}." for head in heads)
    head_names += tuple(f"{names.layer(head)}/" for head in heads)
    for name in list(left):
        passed = name.endswith(COUNTS) and names.convention == "torch"
        if passed or name.startswith((*head_names, *names.optional)):
            ignored.append(name)
        elif is_excluded(name):
            ignored.append(name)
        else:
            continue
        del left[name]
    unused = [pattern for pattern in exclude if pattern not in used]
    if unused:
        raise ValueError(
            f"{FUNCTION}: exclude has {unused[0]!r}, which fits no array of the model "
            "or of the file (a pattern such as 'head.*', of our names or theirs)"
        )
    if skip_head and not heads:
        raise ValueError(
            f"{FUNCTION}: skip_head is for the networks of jaxnets.models, whose heads "
            "are known (exclude=['name.*'] leaves out the layer that you name)"
        )
    return Match(
        tuple(pairs), tuple(missing), tuple(left), tuple(excluded), tuple(ignored)
    )


def check_match(
    found: Match, stored: Mapping[str, Stored], names: Names, file: str, *, strict: bool
) -> None:
    """Raise unless names, shapes and dtypes fit, naming everything that does not.

    Raises:
        ValueError: if names are missing or unexpected where `strict`, no name fits, or
            shapes differ.
        TypeError: if an array holds no floats.
    """
    if (strict and (found.missing or found.unexpected)) or not found.pairs:
        raise ValueError(f"{_names_message(found, stored, names)}\nFile: {file}")
    wrong = [p for p in found.pairs if p.stored.shape != p.place.shape]
    if wrong:
        raise ValueError(f"{_shapes_message(wrong, names)}\nFile: {file}")
    for pair in found.pairs:
        if pair.stored.dtype not in FLOATS:
            raise TypeError(
                f"{FUNCTION}: {pair.place.name!r} must hold floats "
                f"({', '.join(FLOATS)}); got {pair.stored.dtype}\nFile: {file}"
            )


def check_shared(
    pairs: Sequence[Pair], values: Sequence[np.ndarray], file: str
) -> None:
    """Raise unless the file gives an array that the model shares one value.

    Raises:
        ValueError: if two of its names have different values.
    """
    first: dict[tuple[int, int | None], tuple[Pair, np.ndarray]] = {}
    for pair, value in zip(pairs, values, strict=True):
        other, known = first.setdefault(pair.slot.array, (pair, value))
        if known is value or np.array_equal(known, value, equal_nan=True):
            continue
        raise ValueError(
            f"{FUNCTION}: {other.slot.name} and {pair.slot.name} are one array of the "
            f"model, so {other.place.name!r} and {pair.place.name!r} must hold equal "
            f"values; they differ (exclude=[{pair.place.name!r}] takes the first, or "
            f"use a model that does not share it)\nFile: {file}"
        )


def renamed(
    stored: Mapping[str, Stored], rename: Callable[[str], str] | None
) -> dict[str, Stored]:
    """The arrays of a file by the names that a user's function gives them."""
    if rename is None:
        return dict(stored)
    new: dict[str, Stored] = {}
    for name, array in stored.items():
        if rename(name) in new:
            raise ValueError(
                f"{FUNCTION}: rename gives {rename(name)!r} to two arrays, {name!r} "
                "among them"
            )
        new[rename(name)] = array
    return new


def _names_message(found: Match, stored: Mapping[str, Stored], names: Names) -> str:
    parts = [f"{FUNCTION}: the names of the model and of the file do not fit."]
    lacking = [f"{s.name} {s.shape} <- {place.name!r}" for s, place in found.missing]
    parts += _listed("The file lacks (ours <- theirs)", lacking)
    described = [f"{name!r} {stored[name].shape}" for name in found.unexpected]
    parts += _listed("The file has, and the model has no place for", described)
    hint = _hint(found, names)
    parts.append(
        f"({hint}; exclude=[...] leaves out what you name, strict=False all of these)"
    )
    return "\n".join(parts)


def _hint(found: Match, names: Names) -> str:
    """What probably happened."""
    wanted = {place.name for _, place in found.missing}
    longer = _prefix(found.unexpected, wanted)
    if longer:
        return f"rename=lambda name: name.removeprefix({longer!r}) would help"
    shorter = _prefix(wanted, set(found.unexpected))
    if shorter:
        return f"rename=lambda name: {shorter!r} + name would help"
    biases = any(name.endswith("_conv/bias") for name in found.unexpected)
    if names.convention == "keras" and biases and not found.missing:
        return "keras.applications has biases: models.create('resnet50_keras')"
    if not found.pairs:
        return "no name fits: is it another network, or another source?"
    return "another depth, or options that differ?"


def _prefix(long: Iterable[str], short: Set[str]) -> str:
    """What, taken off the long names, makes the most short ones of them; or nothing."""
    prefixes = Counter(
        name[: -len(rest)]
        for name, rest in ((name, name.partition(".")[2]) for name in long)
        if rest in short
    )
    return max(prefixes, key=prefixes.__getitem__, default="")


def _shapes_message(wrong: Sequence[Pair], names: Names) -> str:
    heads = [p for p in wrong if p.slot.layer in names.heads]
    lines = [
        f"{p.slot.name} {p.slot.shape} <- {p.place.name!r} must have shape "
        f"{p.place.shape}; got {p.stored.shape}"
        for p in wrong
    ]
    if len(heads) < len(wrong):
        listed = "\n".join(_listed("They are", lines))
        return f"{FUNCTION}: shapes in the file differ from the model's.\n{listed}"
    first = heads[0]
    # Their axis of classes: torch keeps it first, we and Keras keep it last.
    axis = 0 if names.convention == "torch" else -1
    theirs, ours = (
        s[axis] if s else 1 for s in (first.stored.shape, first.place.shape)
    )
    if theirs == ours:
        return f"{FUNCTION}: the head differs.\n" + "\n".join(_listed("There", lines))
    return "\n".join(
        [
            f"{FUNCTION}: the file is for {theirs} classes, the model for {ours} (make "
            f"it with num_classes={theirs}, or load all but its head with "
            "skip_head=True).",
            *_listed("These differ", lines),
        ]
    )


def _listed(title: str, lines: Iterable[str]) -> list[str]:
    lines = [f"  {line}" for line in lines]
    return [f"{title}:", *lines] if lines else []
