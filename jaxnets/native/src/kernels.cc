// The inner loops for one instruction set; JAXNETS_KERNELS names the table.
#include "kernels.h"

#include "dense_kernels.h"
#include "fft_kernels.h"
#include "fft_mix_kernels.h"
#include "fold_kernels.h"
#include "lanes_kernels.h"

namespace jaxnets {

extern const Kernels JAXNETS_KERNELS = {
    JAXNETS_NAME,    L,        kMostVectors, dense,      lanes_only, dense_grad,
    lanes_only_grad, spread,   fft_there,    fft_back,   fft_filter, fft_add_product,
    fft_place,       fft_take, fft_peaks,    fft_scale,  fft_mix,    fft_mix_grad,
    transpose,       dots,     add_rows,     end_stream,
};

}  // namespace jaxnets
