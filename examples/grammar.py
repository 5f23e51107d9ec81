"""A generated language in which a word's tag depends on what stands around it.

A sentence is one to three clauses: an opener (`if` or `since`), three to ten words, and
a closer (`?` or `!`). There are four classes of words, four words each:

- plain: the tag is the word's own, always the same;
- left: one of two tags, by the opener of the clause;
- right: one of two tags, by its closer;
- both: one of two tags, by whether opener and closer are of the same kind, which
  neither side tells by itself.
"""

from typing import NamedTuple

import numpy as np

OPENERS, CLOSERS = ("if", "since"), ("?", "!")
CLASSES = ("plain", "left", "right", "both")
WORDS = {
    "plain": ("the", "a", "of", "and"),
    "left": ("runs", "light", "watch", "play"),
    "right": ("lead", "wind", "bow", "tear"),
    "both": ("fast", "well", "still", "right"),
}
VOCABULARY = (
    "",
    *OPENERS,
    *CLOSERS,
    *(word for name in CLASSES for word in WORDS[name]),
)
TAGS = (
    "",
    "function",
    "noun",
    "verb",
    "adjective",
    "adverb",
    "past",
    "present",
    "mark",
)
# The two tags of a class: for the first opener (closer, agreement), and the second.
PAIRS = {
    "plain": ("function", "function"),
    "left": ("noun", "verb"),
    "right": ("past", "present"),
    "both": ("adjective", "adverb"),
}
CLAUSES, SHORTEST, LONGEST = 3, 3, 10
LENGTH = CLAUSES * (LONGEST + 2)


class Sentences(NamedTuple):
    """Sentences filled up with zeros.

    Attributes:
        words: `(n, LENGTH)`, numbers of `VOCABULARY`.
        tags: `(n, LENGTH)`, numbers of `TAGS`.
        kinds: `(n, LENGTH)`, numbers of `CLASSES`; −1 for marks and filling.
        lengths: `(n,)`.
    """

    words: np.ndarray
    tags: np.ndarray
    kinds: np.ndarray
    lengths: np.ndarray


def generate(seed: int, count: int) -> Sentences:
    """Draw sentences."""
    rng = np.random.default_rng(seed)
    words, tags = np.zeros((2, count, LENGTH), np.int32)
    kinds = np.full((count, LENGTH), -1, np.int32)
    lengths = np.zeros(count, np.int32)
    for row in range(count):
        sentence = [
            each for _ in range(rng.integers(1, CLAUSES + 1)) for each in clause(rng)
        ]
        lengths[row] = len(sentence)
        for t, (word, tag, kind) in enumerate(sentence):
            words[row, t] = VOCABULARY.index(word)
            tags[row, t] = TAGS.index(tag)
            kinds[row, t] = kind
    return Sentences(words, tags, kinds, lengths)


def clause(rng: np.random.Generator) -> list[tuple[str, str, int]]:
    """Words with their tags and classes."""
    opener, closer = rng.integers(0, 2, 2)
    decides = {"plain": 0, "left": opener, "right": closer, "both": opener ^ closer}
    inner = []
    for kind in rng.integers(0, len(CLASSES), rng.integers(SHORTEST, LONGEST + 1)):
        name = CLASSES[kind]
        word = WORDS[name][rng.integers(len(WORDS[name]))]
        inner.append((word, PAIRS[name][decides[name]], int(kind)))
    return [(OPENERS[opener], "mark", -1), *inner, (CLOSERS[closer], "mark", -1)]
