"""Pure functions: arrays in, arrays out; every JAX transform works on every one.

Layout is channels last, `(*batch, *spatial, channels)`, with any number of batch axes.
"""

# Convolution
from jaxnets.functional._conv import conv as conv
from jaxnets.functional._conv import conv_output_shape as conv_output_shape
