"""Weights from and to other libraries: none of them is imported.

Of recurrent layers, what goes in and out are NumPy arrays under the other library's
names; of whole networks, files. Every name and shape is checked, and what would be lost
is an error. Weights keep their dtype; float64 needs `jax_enable_x64`, without which JAX
rounds it to float32.
"""

# Files
from jaxnets.interop._load_report import LoadReport as LoadReport
from jaxnets.interop._weights import load_safetensors as load_safetensors
from jaxnets.interop._weights_save import save_safetensors as save_safetensors

# Recurrent layers
from jaxnets.interop._recurrent_flax import recurrent_from_flax as recurrent_from_flax
from jaxnets.interop._recurrent_flax import recurrent_to_flax as recurrent_to_flax
from jaxnets.interop._recurrent_keras import (
    recurrent_from_keras as recurrent_from_keras,
)
from jaxnets.interop._recurrent_keras import recurrent_to_keras as recurrent_to_keras
from jaxnets.interop._recurrent_torch import (
    recurrent_from_torch as recurrent_from_torch,
)
from jaxnets.interop._recurrent_torch import recurrent_to_torch as recurrent_to_torch
