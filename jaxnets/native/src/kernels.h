// The inner loops of convolution, compiled once for each instruction set.
//
// Everything here is plain data and function pointers: a translation unit that is
// compiled for AVX-512 must not share inline functions with the others, or the linker
// may hand its version to a processor that lacks the instructions.
#pragma once

#include <cstdint>

namespace jaxnets {

using i64 = std::int64_t;

// A row of results: `count` of them, the cells they begin at `x_step` floats apart.
struct Row {
  const float* x;
  i64 x_step;
  float* y;
  i64 y_step;
  i64 count;
  bool stream;         // past the caches, for results that they do not hold
  bool fetch = false;  // lines of results while they are summed, or storing waits
};

// Cells that meet: `rows` rows of `count` cells of x and of g.
struct Pairs {
  const float* x;
  i64 x_step, x_row;
  const float* g;
  i64 g_step, g_row;
  i64 rows, count;
};

// A step of a transform: blocks of `block` points, each cut into `radix` parts, of
// which `inner` points in a row are turned alike. turns[j, q - 1] is what part q is
// multiplied by at inner row j, a real and an imaginary part.
struct FftStep {
  int radix;
  i64 block, inner;
  const float* turns;
};

// For spectra of `rows` tiles, at points p of a range,
//     fft_mix:       y[t, u] = sum over c < terms of x[t, c] conj(k[p, c, u])
//     fft_mix_grad:  k[p, u, c] += sum over t of x[t, c] conj(y[t, u])
// with vectors u. Row t begins at x + at[t], a point of it is 2 * `lanes` floats; every
// `chunk` inputs c are in an array x_step floats further on. Input c is broadcast from
// lane c % chunk of its array; with `spread` lane l has it from lane
// spread[c * lanes + l], and there is one vector u.
struct FftSums {
  const float* x;
  const i64* at;
  i64 x_step, chunk;
  float* y;
  i64 y_step;  // from one (t, u) to the next
  float* k;
  i64 rows, terms, vectors;
  const std::int32_t* spread;
};

// The points of a tile in blocks, and which of them lie in windows. Along an axis,
// block Q holds points Q * block, ..., and every window that begins in it contains the
// `window` blocks from Q + first on, where there are so many. Results begin in the
// first `results` blocks.
struct WindowBlocks {
  i64 length[3], block[3], blocks[3], first[3], window[3], results[3];
};

// Rows of products, from row `from` on, and the sums that they belong to.
struct AddedRow {
  i64 from;
  float* to;
};

struct Kernels {
  const char* name;
  int lanes;    // floats in a vector
  int vectors;  // vectors of output channels that a block of results may span

  // y[p, o] (+)= sum over runs r and i < length of x[p, offsets[r] + i] w[r, i, o],
  // for o < width, in columns of `vectors` vectors. w has a panel for every column,
  // `panel` floats apart, with a row of `vectors` whole vectors for every (r, i).
  void (*dense)(const Row& row, const i64* offsets, i64 runs, i64 length,
                const float* w, i64 panel, int vectors, i64 width, bool add);

  // y[p, lane] = sum over t < terms of x[p, offsets[t] + lane] w[weights[t] + lane] for
  // the lanes of `blocks` vectors one behind the other, the last of which has `width`.
  // Nothing else of x is read; all lanes of w can be. At most `pixels` results run side
  // by side.
  void (*lanes_only)(const Row& row, const i64* offsets, const i64* weights, i64 terms,
                     const float* w, i64 blocks, i64 pixels, int width);

  // dk[i, o] += sum over pairs of x[pair, i] g[pair, o], i < length, o < width; rows of
  // dk are `dk_step` floats apart. All `vectors` vectors of g can be read.
  void (*dense_grad)(const Pairs& pairs, i64 length, float* dk, i64 dk_step,
                     int vectors, int width);

  // dk[i, lane] += sum over pairs of x[pair, i * entry_step + lane] g[pair, lane]; rows
  // of dk are `dk_step` floats apart.
  void (*lanes_only_grad)(const Pairs& pairs, i64 length, i64 entry_step, float* dk,
                          i64 dk_step);

  // dst[cell, j, lane] = src[cell * step + index[j, lane]], or 0 where that is
  // negative. All indices are below `span`; nothing is read at or beyond `end`.
  void (*spread)(const float* src, i64 step, const float* end, i64 cells,
                 const std::int32_t* index, i64 terms, i64 span, float* dst);

  // Transforms of `lanes` lines, their points a vector of real and one of imaginary
  // parts. `fft_filter` is there, times the conjugate of k, and back; `fft_add_product`
  // adds the spectrum of z times the conjugate of that of w to sum, and leaves neither.
  // None divides.
  void (*fft_there)(float* z, const FftStep* steps, int count);
  void (*fft_back)(float* z, const FftStep* steps, int count);
  void (*fft_filter)(float* z, const float* k, const FftStep* steps, int count);
  void (*fft_add_product)(float* z, float* w, float* sum, const FftStep* steps,
                          int count);

  // dst[i, lane] = src[i * step + lane] for lane < width, 0 up to `stored`, every
  // second vector; zeros without a source. `fft_take` is the way back,
  // times scale[lane].
  void (*fft_place)(const float* src, i64 step, i64 count, int width, int stored,
                    float* dst);
  void (*fft_take)(const float* src, i64 count, int width, const float* scale,
                   float* dst, i64 step);

  // The largest sizes of real and of imaginary parts in every lane; false if z has a
  // number that is not finite. `fft_scale` multiplies imaginary parts by factor[lane].
  bool (*fft_peaks)(const float* z, i64 points, float* re, float* im);
  void (*fft_scale)(float* z, i64 points, const float* factor);

  // Real parts and then imaginary parts, a lane each: `fft_sizes` raises peaks to the
  // largest size and adds squares to energies, which are not finite if a number is not.
  // `fft_blocks` adds min(size * scale, 1) of every point to the sum of its block.
  // `fft_windows` sums the blocks that windows contain, in place; false if a sum that
  // belongs to results is less than least[lane].
  void (*fft_sizes)(const float* z, i64 points, float* peaks, float* energies);
  void (*fft_blocks)(const float* z, const WindowBlocks& grid, const float* scale,
                     float* sums);
  bool (*fft_windows)(float* sums, const WindowBlocks& grid, const float* least);

  // Sums of products of spectra over channels, see FftSums.
  void (*fft_mix)(const FftSums& sums, i64 from, i64 to);
  void (*fft_mix_grad)(const FftSums& sums, i64 from, i64 to);

  // to[c, r] = from[r, c] for r < rows, c < columns; zeros for r from `rows` to
  // `width`.
  void (*transpose)(const float* from, i64 from_step, i64 rows, i64 columns, float* to,
                    i64 to_step, i64 width);

  // to[c, r] = sum over i < length of a[r, i] b[c, i] for r < rows, c < columns.
  void (*dots)(const float* a, i64 a_step, i64 rows, const float* b, i64 b_step,
               i64 columns, i64 length, float* to, i64 to_step);

  // row.to[columns[c] + p] += from[(row.from + c) * from_step + p] for each of `number`
  // rows, c < length and p < count. Up to `lanes` floats behind are written as they
  // are.
  void (*add_rows)(const float* from, i64 from_step, const AddedRow* rows, i64 number,
                   const i64* columns, i64 length, i64 count);

  // To be called behind rows that were streamed, by the thread that did.
  void (*end_stream)();
};

extern const Kernels kGeneric;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
#endif

}  // namespace jaxnets
