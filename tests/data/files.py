"""Small files of the standard formats, and a server with faults to give them."""

import contextlib
import gzip
import http.server
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

RECORD = 3073


def idx(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def idx_files(seed: int = 0) -> dict[str, bytes]:
    """Five images to train on and three to test on, as the four files of MNIST."""
    rng = np.random.default_rng(seed)
    files = {}
    for prefix, size in (("train", 5), ("t10k", 3)):
        images = rng.integers(0, 256, (size, 28, 28))
        labels = rng.integers(0, 10, size)
        files[f"{prefix}-images-idx3-ubyte"] = idx(images)
        files[f"{prefix}-labels-idx1-ubyte"] = idx(labels)
    return files


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def cifar_files() -> dict[str, bytes]:
    """The six batch files: in each, only a few bytes are not zero."""
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    files = {}
    for number, name in enumerate(names):
        batch = np.zeros((10_000, RECORD), np.uint8)
        batch[:, 0] = (np.arange(10_000) + number) % 10
        # Green, third row, fourth column; then blue in the last pixel.
        batch[7, 1 + 1024 + 2 * 32 + 3] = 100 + number
        batch[-1, -1] = 200 + number
        files[name] = batch.tobytes()
    return files


def tar_gz(files: dict[str, bytes], folder: str = "cifar-10-batches-bin") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def gz(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=1, mtime=0)


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; a path may have a fault for its first requests."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.faults: dict[str, list[str]] = {}
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self):
        name = self.path.lstrip("/")
        self.server.requests.append(name)
        waiting = self.server.faults.get(name, [])
        fault = waiting.pop(0) if waiting else None
        content = self.server.files.get(name)
        if fault == "busy":
            self.send_error(503)
        elif content is None:
            self.send_error(404)
        elif fault == "silent":
            self.close_connection = True
        else:
            self.send_response(200)
            length = len(content)
            if fault == "wrong bytes":
                content = content[:-1] + bytes([content[-1] ^ 1])
            if fault == "endless":
                # No length, and ten times what there should be.
                content, length = content * 10, None
            if fault == "cut":
                content = content[: length // 2]
            if fault == "short":
                # Half of it, and says that this is all.
                content = content[: length // 2]
                length = len(content)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = length is None or fault == "cut"

    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Server]:
    server = Server(files)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()
