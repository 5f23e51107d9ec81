import codecs
import gzip
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnets.data import (
    Vocabulary,
    encode_file,
    load_text,
    read_text,
    vocabulary_of_file,
)
from jaxnets.data._text import text_chunks

TEXTS = st.text(min_size=2).filter(lambda text: len(set(text)) > 1)
MIXED = "Ünïcodé, 日本語 and 🎈🎉\r\n\n" * 7


@given(TEXTS)
def test_decoding_gives_the_text_back(text):
    vocabulary = Vocabulary.of(text)
    assert vocabulary.characters == "".join(sorted(set(text)))
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert ids.tolist() == [vocabulary.characters.index(c) for c in text]
    assert vocabulary.decode(ids) == text


def test_the_order_of_the_characters_is_kept():
    vocabulary = Vocabulary("zay")
    assert vocabulary.encode("ayz").tolist() == [1, 2, 0]
    assert vocabulary.decode(np.array([0, 1, 2], np.uint8)) == "zay"
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.decode([]) == ""


def test_a_vocabulary_is_saved_as_json(tmp_path):
    vocabulary = Vocabulary.of(MIXED)
    vocabulary.save(tmp_path / "v.json")
    assert Vocabulary.load(tmp_path / "v.json") == vocabulary
    content = json.loads((tmp_path / "v.json").read_text())
    assert content["characters"] == vocabulary.characters
    assert hash(Vocabulary("ab")) == hash(Vocabulary("ab")) != hash(Vocabulary("ba"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "must be JSON"),
        ("[1]", "must hold a vocabulary"),
        ('{"format": "jaxnets-vocabulary"}', "at least two characters"),
        ('{"format": "jaxnets-vocabulary", "characters": "aba"}', "'a' stands twice"),
        (
            '{"format": "jaxnets-vocabulary", "characters": 7}',
            "characters in .*v.json must be a string; got 7",
        ),
        ("[" * 100_000, "must be JSON"),
    ],
)
def test_a_file_that_is_no_vocabulary(tmp_path, content, message):
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(ValueError, match=rf"Vocabulary: .*{message}") as caught:
        Vocabulary.load(tmp_path / "v.json")
    assert str(tmp_path / "v.json") in str(caught.value)


@pytest.mark.usefixtures("untyped")
def test_errors_of_vocabularies():
    with pytest.raises(ValueError, match="text must not be empty"):
        Vocabulary.of("")
    with pytest.raises(ValueError, match=r"at least two characters.*got 'a'"):
        Vocabulary.of("aaaa")
    with pytest.raises(TypeError, match="characters must be a string; got 3"):
        Vocabulary(3)
    with pytest.raises(TypeError, match="text must be a string; got a bytes"):
        Vocabulary.of(b"ab")
    vocabulary = Vocabulary("abc")
    with pytest.raises(ValueError, match="got 'x' at position 2"):
        vocabulary.encode("abx")
    with pytest.raises(ValueError, match=r"lie in 0 \.\.\. 2; got -1 to 1"):
        vocabulary.decode([-1, 1])
    with pytest.raises(ValueError, match="one axis; got shape"):
        vocabulary.decode([[1]])
    with pytest.raises(TypeError, match="must be integers; got float64"):
        vocabulary.decode([1.5])


def test_reading_keeps_every_character(tmp_path):
    (tmp_path / "plain").write_bytes(MIXED.encode())
    (tmp_path / "packed").write_bytes(gzip.compress(MIXED.encode()))
    for name in ("plain", "packed"):
        assert read_text(tmp_path / name) == MIXED
        # Chunks that split characters of several bytes.
        for size in (1, 2, 3, 5):
            chunks = text_chunks("test", tmp_path / name, size=size)
            assert "".join(chunks) == MIXED


ENCODINGS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": b"\xff\xfe",
    "utf-16-be": b"\xfe\xff",
    "utf-32-le": b"\xff\xfe\0\0",
    "utf-32-be": b"\0\0\xfe\xff",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_byte_order_mark_is_no_character(tmp_path, encoding, pack):
    path = tmp_path / "text"
    mark = ENCODINGS[encoding]
    path.write_bytes(pack(mark + MIXED.encode(encoding)))
    assert read_text(path) == MIXED
    for size in (1, 2, 3, 5, 1000):
        assert "".join(text_chunks("test", path, size=size)) == MIXED
    vocabulary = vocabulary_of_file(path, chunk_bytes=7)
    assert vocabulary == Vocabulary.of(MIXED)
    ids = encode_file(path, tmp_path / "ids.npy", vocabulary, chunk_bytes=7)
    assert vocabulary.decode(ids) == MIXED
    path.write_bytes(pack(mark))
    with pytest.raises(ValueError, match="must hold text; it is empty"):
        read_text(path)
    # A mark elsewhere is a character, as where two files were joined.
    path.write_bytes(pack(mark + "a\ufeffb".encode(encoding)))
    assert read_text(path) == "a\ufeffb"


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (codecs.BOM_UTF8 + b"abc\xffd", "must be UTF-8; byte 6 is 0xff"),
        (b"\xff\xfea\0b", "must be UTF-16-LE; byte 4 is 0x62: truncated data"),
        (b"\xfe\xff\0a\xdc\0\0b", "must be UTF-16-BE; byte 4 is 0xdc: illegal"),
        (b"\xff\xfe\0\0a\0\0\0\0\0\x11\0", "must be UTF-32-LE; byte 8 is 0x00"),
        (b"abc\xffd", "must be UTF-8; byte 3 is 0xff"),
        (b"abc\xe2\x82", "must be UTF-8; byte 3 is 0xe2: unexpected end"),
        (gzip.compress(b"abcdef" * 99, mtime=0)[:-9], "whole gzip file"),
        (gzip.compress(b"abcdef" * 99, mtime=0)[:-4] + b"abcd", "whole gzip file"),
    ],
    ids=[
        "a wrong byte behind a mark",
        "UTF-16 cut in a character",
        "half a surrogate pair",
        "no code point",
        "a wrong byte",
        "cut in a character",
        "cut gzip",
        "damaged gzip",
    ],
)
def test_a_file_that_is_no_text(tmp_path, content, message, size):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=f"vocabulary_of_file: .*{message}"):
        vocabulary_of_file(tmp_path / "file", chunk_bytes=size)


def test_texts_that_are_too_short_or_too_long(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"read_text: .* it is empty"):
        read_text(path)
    with pytest.raises(ValueError, match=r"encode_file: .* it is empty"):
        encode_file(path, tmp_path / "ids.npy", Vocabulary("ab"))
    path.write_bytes(b"aaaa")
    with pytest.raises(ValueError, match=r"two different characters; got \['a'\]"):
        vocabulary_of_file(path)
    bomb = gzip.compress(b"ab" * 500_000)
    path.write_bytes(bomb)
    with pytest.raises(ValueError, match="at most 1000 bytes; got more"):
        read_text(path, max_bytes=1000)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none")


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_file_is_encoded_as_its_text_is(tmp_path, size):
    (tmp_path / "text").write_bytes(MIXED.encode())
    vocabulary = vocabulary_of_file(tmp_path / "text", chunk_bytes=size)
    assert vocabulary == Vocabulary.of(MIXED)
    ids = encode_file(
        tmp_path / "text", tmp_path / "ids.npy", vocabulary, chunk_bytes=size
    )
    assert isinstance(ids, np.memmap)
    assert ids.dtype == np.uint8
    assert vocabulary.decode(ids) == MIXED
    np.testing.assert_array_equal(np.load(tmp_path / "ids.npy"), ids)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.npy", "text"]


def test_encoding_holds_a_chunk_at_a_time(tmp_path):
    """8 MB go through less than half a MB."""
    with (tmp_path / "text").open("wb") as file:
        for _ in range(8):
            file.write(b"0123456789abcdef" * (1 << 16))
    tracemalloc.start()
    vocabulary = vocabulary_of_file(tmp_path / "text", chunk_bytes=1 << 14)
    ids = encode_file(
        tmp_path / "text", tmp_path / "ids.npy", vocabulary, chunk_bytes=1 << 14
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ids.shape == (8 << 20,)
    assert peak < 1 << 19, peak


def test_a_failed_encoding_leaves_nothing(tmp_path):
    (tmp_path / "text").write_bytes(b"abcabcabx")
    with pytest.raises(ValueError, match="got 'x' at position 8"):
        encode_file(
            tmp_path / "text", tmp_path / "ids.npy", Vocabulary("abc"), chunk_bytes=4
        )
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


@pytest.mark.parametrize("name", ["input.txt", "tinyshakespeare/input.txt.gz"])
def test_standard_texts_are_sought_in_a_folder(tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    content = b"First Citizen"
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert load_text("tinyshakespeare", data_dir=tmp_path) == "First Citizen"
    monkeypatch.setenv("JAXNETS_DATA_DIR", str(tmp_path))
    assert load_text("tinyshakespeare") == "First Citizen"


def test_errors_of_standard_texts(tmp_path):
    with pytest.raises(ValueError, match="name must be one of 'tinyshakespeare'"):
        load_text("bible")
    with pytest.raises(FileNotFoundError, match=r"data_dir must hold input\.txt"):
        load_text("tinyshakespeare", data_dir=tmp_path)
    (tmp_path / "input.txt").write_bytes(b"ab" * 3_000_000)
    with pytest.raises(ValueError, match="at most 4461576 bytes"):
        load_text("tinyshakespeare", data_dir=tmp_path)
