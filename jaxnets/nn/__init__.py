"""Flax NNX modules on top of `jaxnets.functional`, and what parameters carry.

What Flax has (Linear, BatchNorm, LayerNorm, Embed, Dropout, Sequential ...) is not made
again: use `flax.nnx`.
"""

# Layers with parameters
from jaxnets.nn._conv import Conv as Conv
from jaxnets.nn._conv_transpose import ConvTranspose as ConvTranspose
from jaxnets.nn._conv_local import LocalConv as LocalConv
from jaxnets.nn._conv_separable import SeparableConv as SeparableConv
from jaxnets.nn._conv_local import TiledConv as TiledConv
from jaxnets.nn._dense import Dense as Dense
from jaxnets.nn._spatial_transformer import SpatialTransformer as SpatialTransformer

# Blocks of layers
from jaxnets.nn._residual import BottleneckBlock as BottleneckBlock
from jaxnets.nn._conv_block import ConvBlock as ConvBlock
from jaxnets.nn._inception import InceptionBlock as InceptionBlock
from jaxnets.nn._residual import ResidualBlock as ResidualBlock
from jaxnets.nn._conv_block import SqueezeExcitation as SqueezeExcitation

# Recurrent layers
from jaxnets.nn._recurrent import RNN as RNN
from jaxnets.nn._recurrent import LSTM as LSTM
from jaxnets.nn._recurrent import GRU as GRU
from jaxnets.nn._recurrent_stack import Bidirectional as Bidirectional
from jaxnets.nn._recurrent_stack import StackedRNN as StackedRNN
from jaxnets.nn._recurrent_stack import ConvLSTM as ConvLSTM

# Layers without parameters
from jaxnets.nn._pool_global import AdaptiveAvgPool as AdaptiveAvgPool
from jaxnets.nn._pool_global import AdaptiveMaxPool as AdaptiveMaxPool
from jaxnets.nn._pool import AvgPool as AvgPool
from jaxnets.nn._pool_global import Flatten as Flatten
from jaxnets.nn._pool_global import GlobalAvgPool as GlobalAvgPool
from jaxnets.nn._pool_global import GlobalLpPool as GlobalLpPool
from jaxnets.nn._pool_global import GlobalMaxPool as GlobalMaxPool
from jaxnets.nn._pool_global import GlobalMinPool as GlobalMinPool
from jaxnets.nn._pool_global import GlobalSumPool as GlobalSumPool
from jaxnets.nn._pool import LpPool as LpPool
from jaxnets.nn._pool import MaxPool as MaxPool
from jaxnets.nn._pool import MinPool as MinPool
from jaxnets.nn._pool import SumPool as SumPool

# What parameters carry, and who reads it
from jaxnets.nn._metadata import ActivityPenalty as ActivityPenalty
from jaxnets.nn._metadata import annotate as annotate
from jaxnets.nn._metadata import penalty as penalty
from jaxnets.nn._transforms import constrain as constrain
from jaxnets.nn._transforms import freeze as freeze

# What a model consists of
from jaxnets.nn._summary import LayerSummary as LayerSummary
from jaxnets.nn._summary import Summary as Summary
from jaxnets.nn._summary import summary as summary

# What a unit of a model sees
from jaxnets.nn._receptive_field import LayerField as LayerField
from jaxnets.nn._receptive_field import ReceptiveField as ReceptiveField
from jaxnets.nn._effective_field import (
    effective_receptive_field as effective_receptive_field,
)
from jaxnets.nn._receptive_field import receptive_field as receptive_field
