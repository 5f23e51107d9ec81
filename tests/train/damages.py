"""Ways to spoil a checkpoint, and what is said of each."""

import json
import os


def damage_nothing(path):
    return None


def largest_file(path):
    files = (file for file in (path / "arrays").rglob("*") if file.is_file())
    return max(files, key=os.path.getsize)


def truncate(path):
    largest = largest_file(path)
    os.truncate(largest, largest.stat().st_size // 2)


def flip_a_byte(path):
    largest = largest_file(path)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def lose_the_manifest(path):
    (path / "meta.json").unlink()


def lose_a_file(path):
    (path / "host.json").unlink()


def change_the_manifest(path):
    text = (path / "meta.json").read_text()
    meta = json.loads(text)
    (path / "meta.json").write_text(
        text.replace(f'"step": {meta["step"]}', '"step": 12345')
    )


def empty_the_manifest(path):
    (path / "meta.json").write_text("")


def another_version(path):
    from jaxnets.train._checkpoint_files import _checksum

    meta = json.loads((path / "meta.json").read_text())
    del meta["checksum"]
    meta["version"] = 99
    meta["checksum"] = _checksum(meta)
    (path / "meta.json").write_text(json.dumps(meta))


DAMAGES = [
    (truncate, "bytes, not"),
    (flip_a_byte, "has other bytes than were written"),
    (lose_the_manifest, "meta.json is missing"),
    (lose_a_file, "host.json is missing"),
    (change_the_manifest, r"meta.json is damaged \(checksum\)"),
    (empty_the_manifest, "meta.json is damaged"),
    (another_version, "format version 99 is not 1"),
]
