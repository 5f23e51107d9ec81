import hashlib
import re

import pytest

from jaxnets.data import DownloadError
from jaxnets.data._fetch import fetch
from jaxnets.data._sources import RemoteFile
from tests.data.files import gz, serve

CONTENT = bytes(range(256)) * 400


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    with serve({"file": CONTENT, "mirror/file": CONTENT}) as server:
        yield server


def remote(server, *, folders=("",), **changes):
    addresses = tuple(server.url + folder for folder in folders)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return RemoteFile("file", addresses, len(CONTENT), sha256)._replace(**changes)


def kept(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_once(server, tmp_path):
    folder = tmp_path / "not" / "there"
    for _ in range(3):
        assert fetch(remote(server), folder).read_bytes() == CONTENT
    assert server.requests == ["file"]
    assert kept(folder) == ["file"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("missing", "HTTPError: 404 Client Error"),
        ("busy", "HTTPError: 503 Server Error"),
        ("wrong bytes", "ValueError: expected SHA-256 [0-9a-f]{64}; got [0-9a-f]{64}"),
        ("short", "ValueError: expected SHA-256 [0-9a-f]{64}; got [0-9a-f]{64}"),
        ("endless", "ValueError: expected at most 102400 bytes; got more"),
        ("cut", r"(ChunkedEncodingError|ConnectionError): .*IncompleteRead"),
        ("silent", "ConnectionError: .*closed connection without response"),
    ],
)
def test_faults_name_the_address_and_leave_nothing(server, tmp_path, fault, reason):
    if fault == "missing":
        del server.files["file"]
    server.faults["file"] = [fault] * 9
    with pytest.raises(DownloadError) as caught:
        fetch(remote(server), tmp_path)
    message = str(caught.value)
    start = (
        "load: could not download file, nothing was kept: "
        f"{server.url.replace('.', '[.]')}file: "
    )
    assert re.match(start + reason, message)
    assert message.endswith(
        "(put the files into a folder and name it by --data-dir or JAXNETS_DATA_DIR)"
    )
    assert "\n" not in message
    assert kept(tmp_path) == []
    # The next run, when all is well, gets it.
    server.files["file"], server.faults["file"] = CONTENT, []
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["cut", "silent"])
def test_a_broken_connection_is_tried_again(server, tmp_path, fault):
    server.faults["file"] = [fault]
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.requests == ["file", "file"]


@pytest.mark.parametrize("fault", ["busy", "wrong bytes", "endless"])
def test_a_bad_answer_leads_to_the_mirror_at_once(server, tmp_path, fault):
    server.faults["file"] = [fault] * 9
    found = fetch(remote(server, folders=("", "mirror/")), tmp_path)
    assert found.read_bytes() == CONTENT
    assert server.requests == ["file", "mirror/file"]


def test_every_address_that_failed_is_named(server, tmp_path):
    server.faults["file"] = ["busy"]
    server.faults["mirror/file"] = ["wrong bytes"]
    with pytest.raises(DownloadError, match=r"503.*; .*mirror/file: .*SHA-256"):
        fetch(remote(server, folders=("", "mirror/")), tmp_path)


def test_nobody_listens(server, tmp_path):
    dead = remote(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match=r"ConnectionError: .*refused"):
        fetch(dead, tmp_path)
    assert kept(tmp_path) == []


def test_a_damaged_file_in_the_cache_is_replaced(server, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT[:-1])
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    # Without a server it is no longer believed.
    (tmp_path / "file").write_bytes(CONTENT[:-1])
    server.faults["file"] = ["busy"]
    with pytest.raises(DownloadError, match="503"):
        fetch(remote(server), tmp_path)


def test_packed_files_are_known_by_what_they_hold(server, tmp_path):
    """Two mirrors may pack the same bytes differently."""
    wanted = remote(server, max_bytes=10**6, unpacked_bytes=len(CONTENT))
    server.files["file"] = gz(CONTENT)
    assert fetch(wanted, tmp_path / "packed").read_bytes() == gz(CONTENT)
    for content in (gz(CONTENT[:-1]), gz(CONTENT + b"!"), gz(CONTENT)[:-9]):
        server.files["file"] = content
        with pytest.raises(DownloadError, match=r"expected (SHA-256|a gzip of 102400)"):
            fetch(wanted, tmp_path / "wrong")
        assert kept(tmp_path / "wrong") == []


def test_a_cache_that_cannot_be_made(server, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"in the way")
    with pytest.raises(
        DownloadError, match=r"the cache .* must be a folder to write to"
    ):
        fetch(remote(server), blocked)
    assert server.requests == []
