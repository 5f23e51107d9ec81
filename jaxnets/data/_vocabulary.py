"""Which character has which number."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "jaxnets-vocabulary"


class Vocabulary:
    """The characters of a text, each with its number: its place among them.

    Args:
        characters: the characters, each once, at least two.

    Raises:
        TypeError: if it is no string.
        ValueError: if there are fewer than two, or one stands twice.

    Example:
        >>> vocabulary = Vocabulary.of("hello")
        >>> vocabulary, len(vocabulary)
        (Vocabulary('ehlo'), 4)
        >>> vocabulary.encode("hole")
        array([1, 3, 2, 0], dtype=int32)
        >>> vocabulary.decode([1, 0, 2, 2, 3])
        'hello'
    """

    def __init__(self, characters: str):
        if not isinstance(characters, str):
            raise TypeError(
                f"Vocabulary: characters must be a string; got {characters!r}"
            )
        if len(characters) < 2:
            raise ValueError(
                "Vocabulary: there must be at least two characters, or there is "
                f"nothing to predict; got {characters!r}"
            )
        codes = _codes(characters)
        self._sorter = np.argsort(codes, kind="stable")
        self._sorted = codes[self._sorter]
        twice = self._sorted[1:][self._sorted[1:] == self._sorted[:-1]]
        if len(twice):
            raise ValueError(
                f"Vocabulary: every character must stand once; {chr(twice[0])!r} "
                "stands twice (Vocabulary.of takes a text)"
            )
        self.characters = characters

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        """The different characters of a text, in the order of their code points.

        Args:
            text: any text of at least two different characters.

        Returns:
            A `Vocabulary`.

        Raises:
            TypeError: if it is no string.
            ValueError: if the text is empty, or one character only.
        """
        if not isinstance(text, str):
            raise TypeError(
                f"Vocabulary: text must be a string; got a {type(text).__name__}"
            )
        if not text:
            raise ValueError("Vocabulary: text must not be empty")
        return cls("".join(sorted(set(text))))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read what `save` wrote.

        Args:
            path: the JSON file.

        Returns:
            A `Vocabulary`.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it holds no vocabulary.
        """
        try:
            content = json.loads(Path(path).read_bytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"Vocabulary: {path} must be JSON; {error}") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(
                f"Vocabulary: {path} must hold a vocabulary, with 'format': {FORMAT!r}"
            )
        characters = content.get("characters", "")
        if not isinstance(characters, str):
            raise ValueError(
                f"Vocabulary: characters in {path} must be a string; got {characters!r}"
            )
        try:
            return cls(characters)
        except ValueError as error:
            raise ValueError(f"{error} (in {path})") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the characters to a JSON file.

        Args:
            path: the file; replaced if it is there.
        """
        content = {"format": FORMAT, "characters": self.characters}
        Path(path).write_text(json.dumps(content) + "\n")

    def encode(self, text: str) -> np.ndarray:
        """The numbers of a text's characters.

        Args:
            text: any text, empty too.

        Returns:
            `(len(text),)` int32.

        Raises:
            ValueError: if a character is not in the vocabulary.
        """
        return self.encode_at(text, 0)

    def encode_at(self, text: str, first: int) -> np.ndarray:
        """`encode` for a piece of a text that begins at position `first` of it."""
        codes = _codes(text)
        places = np.searchsorted(self._sorted, codes).clip(max=len(self) - 1)
        unknown = np.flatnonzero(self._sorted[places] != codes)
        if len(unknown):
            raise ValueError(
                f"Vocabulary: every character of a text must be in the vocabulary; got "
                f"{text[unknown[0]]!r} at position {first + unknown[0]} (make the "
                "vocabulary of all the text)"
            )
        return self._sorter[places].astype(np.int32)

    def decode(self, ids: Any) -> str:
        """The text of a row of numbers.

        Args:
            ids: `(n,)` integers in [0, len(vocabulary)).

        Returns:
            A string of n characters.

        Raises:
            TypeError: if they are no integers.
            ValueError: if there is more than one axis, or a number out of range.
        """
        ids = np.asarray(ids)
        if ids.size and not np.issubdtype(ids.dtype, np.integer):
            raise TypeError(f"Vocabulary: ids must be integers; got {ids.dtype}")
        if ids.ndim != 1:
            raise ValueError(
                f"Vocabulary: ids must have one axis; got shape {ids.shape} (decode "
                "one row at a time)"
            )
        if ids.size and not 0 <= ids.min() <= ids.max() < len(self):
            raise ValueError(
                f"Vocabulary: ids must lie in 0 ... {len(self) - 1}; got "
                f"{ids.min()} to {ids.max()}"
            )
        return "".join(self.characters[i] for i in ids.tolist())

    def __len__(self) -> int:
        return len(self.characters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"Vocabulary({self.characters!r})"


def _codes(text: str) -> np.ndarray:
    # Four bytes a character, so that one comparison in NumPy serves the whole text.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
