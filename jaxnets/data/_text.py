"""Text as a long row of integers: read with distrust, encoded in bounded memory."""

import codecs
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxnets.data._vocabulary import Vocabulary
from jaxnets.functional._checks import check_integer

CHUNK_BYTES = 1 << 20
MAX_TEXT_BYTES = 1 << 30
# Byte-order marks; that of UTF-32 begins as that of UTF-16 does.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LONGEST_MARK = 4


def read_text(path: str | os.PathLike[str], *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Read a whole UTF-8 file, packed with gzip or not.

    Line ends stay as they are. A byte-order mark is no part of the text; that of UTF-16
    or UTF-32 says that the file is in that encoding. Never holds much more than
    `max_bytes`, however much a packed file announces; `encode_file` takes files of any
    size.

    Args:
        path: the file.
        max_bytes: how many bytes of text there may be.

    Returns:
        The text, at least one character.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is empty, too long, damaged or not in its encoding.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "verse.txt"
        >>> _ = path.write_text("to be")
        >>> read_text(path)
        'to be'
    """
    limit = check_integer("read_text", "max_bytes", max_bytes, minimum=1)
    text = "".join(text_chunks("read_text", Path(path), limit=limit))
    if not text:
        raise ValueError(f"read_text: {path} must hold text; it is empty")
    return text


def vocabulary_of_file(
    path: str | os.PathLike[str], *, chunk_bytes: int = CHUNK_BYTES
) -> Vocabulary:
    """The characters of a UTF-8 file of any size, in the order of their code points.

    Args:
        path: the file, packed with gzip or not.
        chunk_bytes: how much of it is held at a time.

    Returns:
        A `Vocabulary`.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not UTF-8, damaged, empty, or one character only.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "verse.txt"
        >>> _ = path.write_text("to be or not")
        >>> vocabulary_of_file(path)
        Vocabulary(' benort')
    """
    function = "vocabulary_of_file"
    size = check_integer(function, "chunk_bytes", chunk_bytes, minimum=1)
    found: set[str] = set()
    for chunk in text_chunks(function, Path(path), size=size):
        found.update(chunk)
    if len(found) < 2:
        raise ValueError(
            f"{function}: {path} must hold at least two different characters; got "
            f"{sorted(found)}"
        )
    return Vocabulary("".join(sorted(found)))


def encode_file(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    vocabulary: Vocabulary,
    *,
    chunk_bytes: int = CHUNK_BYTES,
) -> np.ndarray:
    """Encode a UTF-8 file of any size into a `.npy` file, and open that.

    The file is read twice, a chunk at a time: once to count, once to encode. The ids
    are the narrowest unsigned integers that hold the vocabulary (a byte a character up
    to 256 characters). `out` appears when it is complete, and
    `numpy.load(out, mmap_mode="r")` opens it again.

    Args:
        path: the file, packed with gzip or not.
        out: the `.npy` file to write; replaced if it is there.
        vocabulary: which character has which id.
        chunk_bytes: how much of the file is held at a time.

    Returns:
        `(characters,)` unsigned, a read-only memory map: only what is looked at is read
        from disk.

    Raises:
        OSError: if a file cannot be read or written.
        ValueError: if the file is empty, damaged or not UTF-8, has a character that is
            not in the vocabulary, or changed while it was read.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "verse.txt").write_text("to be")
        >>> encode_file(folder / "verse.txt", folder / "verse.npy", Vocabulary(" beot"))
        memmap([4, 3, 0, 1, 2], dtype=uint8)
    """
    function = "encode_file"
    size = check_integer(function, "chunk_bytes", chunk_bytes, minimum=1)
    path, out = Path(path), Path(out)
    count = sum(map(len, text_chunks(function, path, size=size)))
    if count == 0:
        raise ValueError(f"{function}: {path} must hold text; it is empty")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        dtype = np.min_scalar_type(len(vocabulary) - 1)
        ids = np.lib.format.open_memmap(temporary, "w+", dtype, (count,))
        position = 0
        for chunk in text_chunks(function, path, size=size):
            if position + len(chunk) > count:
                raise ValueError(f"{function}: {path} grew while it was read")
            ids[position : position + len(chunk)] = vocabulary.encode_at(
                chunk, position
            )
            position += len(chunk)
        if position < count:
            raise ValueError(f"{function}: {path} shrank while it was read")
        ids.flush()
        del ids
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return np.load(out, mmap_mode="r")


def text_chunks(
    function: str, path: Path, *, size: int = CHUNK_BYTES, limit: int | None = None
) -> Iterator[str]:
    """The text of a file, packed with gzip or not, in pieces of about `size` bytes.

    It is UTF-8 unless it begins with the byte-order mark of another encoding.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if packed else file

        def read(size: int) -> bytes:
            try:
                return stream.read(size)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise ValueError(
                    f"{function}: {path} must be a whole gzip file; got {error} (cut "
                    "short or damaged: fetch it again)"
                ) from error

        first = read(LONGEST_MARK)
        mark, encoding = _encoding(first)
        decoder = codecs.getincrementaldecoder(encoding)()
        seen, content = len(mark), first[len(mark) :] or read(size)
        while True:
            if limit is not None and seen + len(content) > limit:
                raise ValueError(
                    f"{function}: {path} must hold at most {limit} bytes; got more "
                    "(raise max_bytes, or use encode_file)"
                )
            # What the decoder still holds are the first bytes of a split character.
            start = seen - len(decoder.getstate()[0])
            try:
                yield decoder.decode(content, final=not content)
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{function}: {path} must be {encoding.upper()}; byte "
                    f"{start + error.start} is {error.object[error.start]:#04x}: "
                    f"{error.reason} (convert it: iconv -t UTF-8)"
                ) from None
            if not content:
                return
            seen += len(content)
            content = read(size)


def _encoding(first: bytes) -> tuple[bytes, str]:
    """The byte-order mark with which a file begins, if it has one, and its encoding."""
    for mark, encoding in MARKS:
        if first.startswith(mark):
            return mark, encoding
    return b"", "utf-8"
