// Sums over all elements and over rows. Each is cut by shape alone into partial sums, which a second
// launch adds in order: no atomics, the same bits every run.
#include "common.cuh"

// Partial sums of blocks of `block` elements: part[i] = sum of f(x) over block i.
template <class T, class F> DEVICE void partial(int64_t n, int block, float *part, const T *x, F f) {
  SHARED(room);
  const int N = Pack<T>::N;
  int64_t lo = (int64_t)blockIdx.x * block, hi = lo + block < n ? lo + block : n;
  float s = 0;
  if (aligned(x)) {
    int64_t e = lo + (int64_t)threadIdx.x * N;
    for (; e + N <= hi; e += (int64_t)blockDim.x * N) {
      Pack<T> p = load(x + e);
#pragma unroll
      for (int j = 0; j < N; j++) s += f(widen(p.v[j]));
    }
    for (; e < hi; e++) s += f(widen(x[e])); // at most one thread has such a rest
  } else {
    for (int64_t e = lo + threadIdx.x; e < hi; e += blockDim.x) s += f(widen(x[e]));
  }
  s = block_reduce<Sum>(s, (float *)room);
  if (threadIdx.x == 0) part[blockIdx.x] = s;
}

#define SUM(S, T) EXPORT(sum_##S, (int64_t n, int block, float *part, const T *x), partial(n, block, part, x, [](float x) { return x; }))
EACH_TYPE(SUM)
#define SUM_SQUARES(S, T) EXPORT(sum_squares_##S, (int64_t n, int block, float *part, const T *x), partial(n, block, part, x, [](float x) { return x * x; }))
EACH_TYPE(SUM_SQUARES)

// y[0] = sum of n partial sums, by one block.
DEVICE void total_of(int n, float *y, const float *part) {
  SHARED(room);
  float s = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) s += part[i];
  s = block_reduce<Sum>(s, (float *)room);
  if (threadIdx.x == 0) *y = s;
}
EXPORT(total, (int n, float *y, const float *part), total_of(n, y, part))

// Partial sums of columns: a block of 32x8 threads sums 32 columns over `block` rows of f(r, c).
template <class F> DEVICE void column_partial(int rows, int cols, int block, float *part, F f) {
  SHARED(room);
  float *all = (float *)room; // [8][32]
  int x = threadIdx.x & 31, y = threadIdx.x >> 5, c = blockIdx.x * 32 + x;
  int lo = blockIdx.y * block, hi = lo + block < rows ? lo + block : rows;
  float s = 0;
  if (c < cols)
    for (int r = lo + y; r < hi; r += 8) s += f(r, c);
  all[y * 32 + x] = s;
  __syncthreads();
  if (y == 0 && c < cols) {
    for (int i = 1; i < 8; i++) s += all[i * 32 + x];
    part[(int64_t)blockIdx.y * cols + c] = s;
  }
}

#define SUM_ROWS(S, T) EXPORT(sum_rows_##S, (int rows, int cols, int block, float *part, const T *x), \
  column_partial(rows, cols, block, part, [=](int r, int c) { return widen(x[(int64_t)r * cols + c]); }))
EACH_TYPE(SUM_ROWS)

// dw[c] = sum_r dy[r,c] x[r,c] rstd[r].
#define NORM_GRAD_W(S, T) EXPORT(rmsnorm_grad_w_##S, (int rows, int cols, int block, float *part, const T *dy, const T *x, const float *rstd), \
  column_partial(rows, cols, block, part, [=](int r, int c) { int64_t e = (int64_t)r * cols + c; return widen(dy[e]) * widen(x[e]) * rstd[r]; }))
EACH_TYPE(NORM_GRAD_W)

#define COLUMN_TOTAL(S, T) EXPORT(column_total_##S, (int blocks, int cols, T * y, const float *part), { \
  int c = blockIdx.x * blockDim.x + threadIdx.x; \
  if (c < cols) { \
    float s = 0; \
    for (int i = 0; i < blocks; i++) s += part[(int64_t)i * cols + c]; \
    y[c] = narrow<T>(s); \
  } \
})
EACH_TYPE(COLUMN_TOTAL)
