"""Pure functions: arrays in, arrays out; every JAX transform works on every one.

Layout is channels last, `(*batch, *spatial, channels)`, with any number of batch axes.
Positional arguments are arrays and the sizes that define an operation, every option is
keyword-only, and randomness is an explicit `key`, first. Results have the dtype of the
inputs; halves are summed in float32. Bad input raises before anything is compiled.

Activations are those of `jax.nn`, losses and projections those of `optax`.
"""

# Convolution
from jaxnets.functional._conv import conv as conv
from jaxnets.functional._conv import conv_output_shape as conv_output_shape

# Pooling
from jaxnets.functional._pool import max_pool as max_pool
from jaxnets.functional._pool import min_pool as min_pool
from jaxnets.functional._pool import sum_pool as sum_pool
from jaxnets.functional._pool import pool_output_shape as pool_output_shape
from jaxnets.functional._pool_mean import avg_pool as avg_pool
from jaxnets.functional._pool_mean import lp_pool as lp_pool
from jaxnets.functional._pool_any import pool as pool
from jaxnets.functional._pool_indices import (
    max_pool_with_indices as max_pool_with_indices,
)
from jaxnets.functional._pool_indices import max_unpool as max_unpool
from jaxnets.functional._pool_global import global_avg_pool as global_avg_pool
from jaxnets.functional._pool_global import global_lp_pool as global_lp_pool
from jaxnets.functional._pool_global import global_max_pool as global_max_pool
from jaxnets.functional._pool_global import global_min_pool as global_min_pool
from jaxnets.functional._pool_global import global_sum_pool as global_sum_pool
from jaxnets.functional._pool_adaptive import adaptive_avg_pool as adaptive_avg_pool
from jaxnets.functional._pool_adaptive import adaptive_max_pool as adaptive_max_pool

# Dense layers and dropout
from jaxnets.functional._dense import dense as dense
from jaxnets.functional._dropout import dropout as dropout
from jaxnets.functional._dropout import spatial_dropout as spatial_dropout

# Normalisation
from jaxnets.functional._batch_norm import BatchStats as BatchStats
from jaxnets.functional._batch_norm import batch_norm as batch_norm
from jaxnets.functional._normalize import group_norm as group_norm
from jaxnets.functional._normalize import instance_norm as instance_norm
from jaxnets.functional._normalize import layer_norm as layer_norm
from jaxnets.functional._normalize import rms_norm as rms_norm
from jaxnets.functional._local_response_norm import (
    local_response_norm as local_response_norm,
)

# Penalties and constraints on parameters
from jaxnets.functional._penalties import l1 as l1
from jaxnets.functional._penalties import l1_l2 as l1_l2
from jaxnets.functional._penalties import l2 as l2
from jaxnets.functional._penalties import orthogonal as orthogonal
from jaxnets.functional._constraints import max_norm as max_norm
from jaxnets.functional._constraints import min_max_norm as min_max_norm
from jaxnets.functional._constraints import unit_norm as unit_norm
