"""jaxnets: functional neural-network layers, NNX modules and an exact trainer for JAX.

Rooms: `functional` (pure functions), `nn` (Flax NNX modules over them), `models`
(networks made of them), `train` (pure steps and a thin Trainer), `data` (data sets and
the deterministic batch order) and `interop` (weights from and to other libraries).
"""

from importlib.metadata import version

from jaxnets import data as data
from jaxnets import functional as functional
from jaxnets import interop as interop
from jaxnets import models as models
from jaxnets import nn as nn
from jaxnets import train as train

__version__ = version("jaxnets")
