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

from jaxnets.functional._conv_gradients import conv_input_grad as conv_input_grad
from jaxnets.functional._conv_gradients import conv_kernel_grad as conv_kernel_grad
from jaxnets.functional._lax_compatible import (
    lax_compatible_conv as lax_compatible_conv,
)

# Kinds of convolution
from jaxnets.functional._conv_transpose import conv_transpose as conv_transpose
from jaxnets.functional._conv_transpose_shapes import (
    conv_transpose_output_shape as conv_transpose_output_shape,
)
from jaxnets.functional._conv_separable import separable_conv as separable_conv
from jaxnets.functional._conv_separable import (
    spatially_separable_conv as spatially_separable_conv,
)
from jaxnets.functional._conv_local import local_conv as local_conv
from jaxnets.functional._conv_local import tiled_conv as tiled_conv
from jaxnets.functional._unfold import fold as fold
from jaxnets.functional._unfold import unfold as unfold
from jaxnets.functional._flip_kernel import flip_kernel as flip_kernel

# Which algorithm convolves, and how accurately
from jaxnets.functional._conv_accuracy import conv_accuracy as conv_accuracy
from jaxnets.functional._conv_plan import ConvPlan as ConvPlan
from jaxnets.functional._conv_explain import ConvExplanation as ConvExplanation
from jaxnets.functional._conv_explain import conv_plan as conv_plan
from jaxnets.functional._conv_explain import explain_conv as explain_conv
from jaxnets.functional._conv_plans import use_plans as use_plans
from jaxnets.functional._conv_tune import tune_conv as tune_conv

# Convolution as mathematics
from jaxnets.functional._convolve import convolve as convolve
from jaxnets.functional._convolve import correlate as correlate
from jaxnets.functional._convolve import polynomial_product as polynomial_product
from jaxnets.functional._conv_matrix import conv_matrix as conv_matrix
from jaxnets.functional._conv_operator import ConvOperator as ConvOperator
from jaxnets.functional._conv_operator import conv_operator as conv_operator
from jaxnets.functional._equivariance import equivariance_error as equivariance_error
from jaxnets.functional._equivariance import reflect_action as reflect_action
from jaxnets.functional._equivariance import rotate_action as rotate_action
from jaxnets.functional._equivariance import shift_action as shift_action
from jaxnets.functional._connections import ConnectionCounts as ConnectionCounts
from jaxnets.functional._connections import LayerCounts as LayerCounts
from jaxnets.functional._connections import connection_counts as connection_counts

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

# Recurrence
from jaxnets.functional._rnn import rnn as rnn
from jaxnets.functional._lstm import lstm as lstm
from jaxnets.functional._gru import gru as gru
from jaxnets.functional._recurrent import recurrent as recurrent
from jaxnets.functional._bidirectional import bidirectional as bidirectional
from jaxnets.functional._bidirectional import stacked as stacked
from jaxnets.functional._truncated_bptt import truncated_bptt as truncated_bptt
from jaxnets.functional._cells import rnn_cell as rnn_cell
from jaxnets.functional._cells import lstm_cell as lstm_cell
from jaxnets.functional._cells import gru_cell as gru_cell
from jaxnets.functional._cells import mgu_cell as mgu_cell
from jaxnets.functional._conv_lstm import conv_lstm_cell as conv_lstm_cell
from jaxnets.functional._cells import gate as gate
from jaxnets.functional._recurrent_steps import zero_state as zero_state
from jaxnets.functional._recurrent_params import ConvLSTMParams as ConvLSTMParams
from jaxnets.functional._recurrent_params import GRUParams as GRUParams
from jaxnets.functional._recurrent_params import LSTMNorm as LSTMNorm
from jaxnets.functional._recurrent_params import LSTMParams as LSTMParams
from jaxnets.functional._recurrent_params import LSTMState as LSTMState
from jaxnets.functional._recurrent_params import MGUParams as MGUParams
from jaxnets.functional._recurrent_params import RNNParams as RNNParams
from jaxnets.functional._recurrent_init import init_conv_lstm as init_conv_lstm
from jaxnets.functional._recurrent_init import init_gru as init_gru
from jaxnets.functional._recurrent_init import init_lstm as init_lstm
from jaxnets.functional._recurrent_init import init_mgu as init_mgu
from jaxnets.functional._recurrent_init import init_rnn as init_rnn

# Spatial transforms
from jaxnets.functional._affine_matrices import inverse_affine as inverse_affine
from jaxnets.functional._affine_matrices import rotation as rotation
from jaxnets.functional._affine_matrices import scaling as scaling
from jaxnets.functional._affine_matrices import shear as shear
from jaxnets.functional._affine_matrices import translation as translation
from jaxnets.functional._grid_sample import grid_sample as grid_sample
from jaxnets.functional._grids import affine_grid as affine_grid
from jaxnets.functional._grids import projective_grid as projective_grid
from jaxnets.functional._grids import thin_plate_spline_grid as thin_plate_spline_grid
from jaxnets.functional._spatial_transform import spatial_transform as spatial_transform
from jaxnets.functional._spatial_transform import warp_affine as warp_affine

# Dense layers and dropout
from jaxnets.functional._dense import dense as dense
from jaxnets.functional._dropout import dropout as dropout
from jaxnets.functional._dropout import spatial_dropout as spatial_dropout

# Residual connections
from jaxnets.functional._residual import pad_shortcut as pad_shortcut
from jaxnets.functional._residual import residual as residual

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

# Losses of sequences
from jaxnets.functional._sequence_loss import bits_per_character as bits_per_character
from jaxnets.functional._sequence_loss import perplexity as perplexity
from jaxnets.functional._sequence_loss import (
    sequence_cross_entropy as sequence_cross_entropy,
)

# Penalties and constraints on parameters
from jaxnets.functional._penalties import l1 as l1
from jaxnets.functional._penalties import l1_l2 as l1_l2
from jaxnets.functional._penalties import l2 as l2
from jaxnets.functional._penalties import orthogonal as orthogonal
from jaxnets.functional._constraints import max_norm as max_norm
from jaxnets.functional._constraints import min_max_norm as min_max_norm
from jaxnets.functional._constraints import unit_norm as unit_norm

# Programs that were compiled elsewhere call the native kernels by name.
from jaxnets import native as _native

_native.missing()
