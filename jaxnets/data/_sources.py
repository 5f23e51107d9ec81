"""Where the standard data sets live, and by which SHA-256 their files are known."""

from typing import NamedTuple


class RemoteFile(NamedTuple):
    """A file to download.

    Attributes:
        name: its name in the cache, and at the end of every address.
        addresses: folders that hold it, tried in turn.
        max_bytes: more than this is never read from a server.
        sha256: of the file, or of what it unpacks to.
        unpacked_bytes: None if `sha256` is that of the file; else how many bytes the
            gzip unpacks to and `sha256` is that of those. MNIST's mirrors pack
            the same bytes differently.
    """

    name: str
    addresses: tuple[str, ...]
    max_bytes: int
    sha256: str
    unpacked_bytes: int | None = None


IDX_STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CIFAR_FOLDER = "cifar-10-batches-bin"
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"

_MNIST = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
# name: unpacked bytes, SHA-256 of those; computed from the files themselves.
_MNIST_FILES = {
    "train-images-idx3-ubyte": (
        47_040_016,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        60_008,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        7_840_016,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        10_008,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
_FASHION = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
# name: SHA-256 of the .gz, as several independent projects publish it.
_FASHION_FILES = {
    "train-images-idx3-ubyte": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
    ),
    "train-labels-idx1-ubyte": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
    ),
    "t10k-images-idx3-ubyte": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
    ),
    "t10k-labels-idx1-ubyte": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    ),
}
# No file is larger than the 26.4 MB of Fashion-MNIST's training images.
_MAX_IDX_GZ = 30_000_000

REMOTE_FILES: dict[str, tuple[RemoteFile, ...]] = {
    "mnist": tuple(
        RemoteFile(f"{stem}.gz", _MNIST, _MAX_IDX_GZ, sha256, unpacked)
        for stem, (unpacked, sha256) in _MNIST_FILES.items()
    ),
    "fashion_mnist": tuple(
        RemoteFile(f"{stem}.gz", _FASHION, _MAX_IDX_GZ, sha256)
        for stem, sha256 in _FASHION_FILES.items()
    ),
    "cifar10": (
        RemoteFile(
            CIFAR_ARCHIVE,
            (
                "https://www.cs.toronto.edu/~kriz/",
                "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
            ),
            170_052_171,
            # Of the archive, as several independent projects publish it.
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
}

# Computed from the file itself.
TEXT_FILES = {
    "tinyshakespeare": RemoteFile(
        "input.txt",
        (
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",
        ),
        1_115_394,
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
}

CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "digits": tuple("0123456789"),
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "cifar10": (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
}
