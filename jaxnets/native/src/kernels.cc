// The inner loops for one instruction set; JAXNETS_KERNELS names the table.
#include "kernels.h"

#include "dense_kernels.h"
#include "fft_check_kernels.h"
#include "fft_kernels.h"
#include "fft_mix_kernels.h"
#include "fold_kernels.h"
#include "lanes_kernels.h"

namespace jaxnets {

extern const Kernels JAXNETS_KERNELS = {
    .name = JAXNETS_NAME,
    .lanes = L,
    .vectors = kMostVectors,
    .dense = dense,
    .lanes_only = lanes_only,
    .dense_grad = dense_grad,
    .lanes_only_grad = lanes_only_grad,
    .spread = spread,
    .fft_there = fft_there,
    .fft_back = fft_back,
    .fft_filter = fft_filter,
    .fft_add_product = fft_add_product,
    .fft_place = fft_place,
    .fft_take = fft_take,
    .fft_peaks = fft_peaks,
    .fft_scale = fft_scale,
    .fft_sizes = fft_sizes,
    .fft_blocks = fft_blocks,
    .fft_windows = fft_windows,
    .fft_mix = fft_mix,
    .fft_mix_grad = fft_mix_grad,
    .transpose = transpose,
    .dots = dots,
    .add_rows = add_rows,
    .end_stream = end_stream,
};

}  // namespace jaxnets
