// Some elements of a matrix, by their numbers, row-major in rows of cols elements: those of the matrix lie ld apart. The numbers
// are distinct and ascending, so threads that are neighbours touch places that are near, and no two the same.
#include "common.cuh"

DEVICE int64_t place_of(int number, int cols, int64_t ld) { return cols == ld ? number : number / cols * ld + number % cols; }

// y[at[k]] += v[k].
#define SCATTER_ADD(S, T) EXPORT(scatter_add_##S, (int64_t n, int cols, int64_t ld, T *y, const int *at, const T *v), \
  for (int64_t k = THREAD; k < n; k += STRIDE) { \
    int64_t p = place_of(at[k], cols, ld); \
    y[p] = narrow<T>(widen(y[p]) + widen(v[k])); \
  })
EACH_TYPE(SCATTER_ADD)

// y[k] = acc[k] + x[at[k]]; without acc it is 0.
#define GATHER(S, Y, X) EXPORT(gather_##S, (int64_t n, int cols, int64_t ld, Y *y, const X *x, const int *at, const Y *acc), \
  for (int64_t k = THREAD; k < n; k += STRIDE) { \
    float s = widen(x[place_of(at[k], cols, ld)]); \
    y[k] = narrow<Y>(acc ? widen(acc[k]) + s : s); \
  })
GATHER(f32_f32, float, float)
GATHER(bf16_bf16, bf16, bf16)
GATHER(f32_bf16, float, bf16)
GATHER(bf16_f32, bf16, float)
