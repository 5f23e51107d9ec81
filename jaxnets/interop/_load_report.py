"""What was loaded from where."""

from typing import NamedTuple


class LoadedArray(NamedTuple):
    """One row of a report: an array of ours and where its values come from.

    `not_finite` counts the values that are NaN or infinite in the model's dtype.
    """

    ours: str
    shape: tuple[int, ...]
    theirs: str
    their_shape: tuple[int, ...]
    dtype: str
    not_finite: int = 0


class LoadReport(NamedTuple):
    """What `load_safetensors` did; `print` shows it as a table.

    Attributes:
        file: what was read, and how.
        source: whose names it has.
        loaded: every array of the model that was filled, ours <- theirs; one that the
            model shares has a row for each of its names in the file.
        missing: ours that the file lacks; their values are as before.
        unexpected: theirs that the model has no place for.
        excluded: ours that were left out by `exclude` or `skip_head`.
        ignored: theirs that were passed over: excluded ones, heads that the model was
            made without, and counts that only torch keeps.
    """

    file: str
    source: str
    loaded: tuple[LoadedArray, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def not_finite(self) -> dict[str, int]:
        """How many values are NaN or infinite, of our arrays that have such values."""
        return {row.ours: row.not_finite for row in self.loaded if row.not_finite}

    def __str__(self) -> str:
        """The mapping as a table, then what was left."""
        rows = [
            (
                f"{row.ours} {row.shape}",
                f"{row.theirs!r} {row.their_shape} {row.dtype}",
            )
            for row in self.loaded
        ]
        width = max((len(ours) for ours, _ in rows), default=0)
        lines = [f"{len(rows)} arrays from {self.file}, names of {self.source}"]
        lines += [f"  {ours:<{width}} <- {theirs}" for ours, theirs in rows]
        for what in ("missing", "unexpected", "excluded", "ignored"):
            names = getattr(self, what)
            if names:
                lines.append(f"{what} ({len(names)}): {', '.join(map(repr, names))}")
        if self.not_finite:
            counts = (f"{name!r}: {count}" for name, count in self.not_finite.items())
            lines.append(f"NaN or infinite values: {', '.join(counts)}")
        return "\n".join(lines)
