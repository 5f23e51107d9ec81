"""Data sets, the order of their examples, batches on the device, augmentation."""

from jaxnets.data._augment import random_affine as random_affine
from jaxnets.data._augment import random_crop as random_crop
from jaxnets.data._augment import random_flip as random_flip
from jaxnets.data._batches import batches as batches
from jaxnets.data._batches import process_slice as process_slice
from jaxnets.data._batches import split_validation as split_validation
from jaxnets.data._fetch import DownloadError as DownloadError
from jaxnets.data._images import scale_images as scale_images
from jaxnets.data._images import to_binary as to_binary
from jaxnets.data._images import to_grayscale as to_grayscale
from jaxnets.data._images import to_rgb as to_rgb
from jaxnets.data._load import Dataset as Dataset
from jaxnets.data._load import Split as Split
from jaxnets.data._load import class_names as class_names
from jaxnets.data._load import load as load
from jaxnets.data._load import load_raw as load_raw
from jaxnets.data._load_text import load_text as load_text
from jaxnets.data._order import batch_indices as batch_indices
from jaxnets.data._order import epoch_order as epoch_order
from jaxnets.data._order import steps_per_epoch as steps_per_epoch
from jaxnets.data._prefetch import prefetch as prefetch
from jaxnets.data._streams import StreamBatches as StreamBatches
from jaxnets.data._text import encode_file as encode_file
from jaxnets.data._text import read_text as read_text
from jaxnets.data._text import vocabulary_of_file as vocabulary_of_file
from jaxnets.data._vocabulary import Vocabulary as Vocabulary
