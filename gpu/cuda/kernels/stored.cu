// Right operands of products that are stored in fewer bits, widened to what a library multiplies: y [rows, cols], with
// zeros beside the stored matrix, which has no padding.
#include "common.cuh"

// What is stored has rows and cols of its own.
struct Extent {
  int rows, cols;
};

// widen_rows has a row of y for each block of threads at a time, and a pack for each thread. from gives element c of a row.
template <class T, class F> DEVICE void widen_rows(int rows, int cols, T *y, Extent stored, F from) {
  const int N = Pack<T>::N;
  bool wide = cols % N == 0 && aligned(y);
  for (int r = blockIdx.x; r < rows; r += gridDim.x)
    for (int c = threadIdx.x * N; c < cols; c += blockDim.x * N) {
      float x[N];
#pragma unroll
      for (int j = 0; j < N; j++) x[j] = r < stored.rows && c + j < stored.cols ? from.at(r, c + j) : 0;
      Pack<T> p = packed<T>(x);
      T *to = y + (int64_t)r * cols + c;
      if (wide) put(to, p);
      else store_some<false>(to, p, cols - c);
    }
}

// The tables of NF4: levels of elements, and values of scales.
struct Tables {
  float level[16], scale[256];
};

// NF4 reads elements of nf4.go's layout. Neighbours have one scale, which is found once.
struct NF4 {
  const Tables &tables;
  const float *mean, *groups;
  const unsigned char *scales, *codes;
  int cols;
  int64_t block;
  float scale;
  __device__ NF4(const Tables &tables, const void *from, Extent stored) : tables(tables), cols(stored.cols), block(-1), scale(0) {
    int64_t n = (int64_t)stored.rows * stored.cols, blocks = (n + 63) / 64;
    mean = (const float *)from, groups = mean + 1;
    scales = (const unsigned char *)(groups + (blocks + 255) / 256);
    codes = scales + blocks;
  }
  __device__ float at(int r, int c) {
    int64_t i = (int64_t)r * cols + c;
    if (i / 64 != block) block = i / 64, scale = tables.scale[scales[block]] * groups[block / 256] + *mean;
    return tables.level[codes[i / 2] >> 4 * (1 - i % 2) & 15] * scale;
  }
};

// RowInt8 reads elements of quantized.go's layout.
struct RowInt8 {
  const float *scales;
  const signed char *codes;
  int cols;
  __device__ RowInt8(const void *from, Extent stored) : scales((const float *)from), codes((const signed char *)(scales + stored.rows)), cols(stored.cols) {}
  __device__ float at(int r, int c) { return (float)codes[(int64_t)r * cols + c] * scales[r] * (1.0f / 127); }
};

struct Half {
  Rows<const bf16> rows;
  __device__ float at(int r, int c) { return widen(*rows.of(r, c)); }
};

#define WIDEN_NF4(S, T) EXPORT(widen_nf4_##S, (int rows, int cols, T *y, Extent stored, const void *from, CONSTANT Tables tables), \
  widen_rows<T>(rows, cols, y, stored, NF4(tables, from, stored)))
EACH_TYPE(WIDEN_NF4)
#define WIDEN_INT8(S, T) EXPORT(widen_int8_##S, (int rows, int cols, T *y, Extent stored, const void *from), \
  widen_rows<T>(rows, cols, y, stored, RowInt8(from, stored)))
EACH_TYPE(WIDEN_INT8)
EXPORT(widen_bf16_f32, (int rows, int cols, float *y, Extent stored, const bf16 *from, int64_t ld), \
  widen_rows<float>(rows, cols, y, stored, Half{{from, ld}}))
