// Sums over all elements and over rows. Each is cut by shape alone into partial sums, which a second
// launch adds in order: no atomics, the same bits every run.
#include "common.cuh"

// A tensor to add up, in blocks of `block` elements: a block of threads each, from `first` on.
struct Part {
  const void *x;
  int64_t n;
  int first, half; // half: of bf16
};
struct Parts {
  Part at[160];
};

// some_sum adds up f of what a thread has of n elements, four packs of which it reads at a time. f(0) is 0.
template <bool WIDE, class T, class F> DEVICE float some_sum(const T *x, int n, F f) {
  const int N = Pack<T>::N, AHEAD = 4;
  int step = blockDim.x * N;
  float s = 0;
  for (int e = threadIdx.x * N; e < n; e += AHEAD * step) {
    Pack<T> p[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; i++) p[i] = some<WIDE>(x + e + i * step, n - e - i * step);
#pragma unroll
    for (int i = 0; i < AHEAD; i++)
#pragma unroll
      for (int j = 0; j < N; j++) s += f(widen(p[i].v[j]));
  }
  return s;
}

template <class T, class F> DEVICE float block_sum(const Part &t, int block, F f) {
  int64_t lo = (int64_t)(blockIdx.x - t.first) * block;
  const T *x = (const T *)t.x + lo;
  int n = lo + block < t.n ? block : (int)(t.n - lo), whole = aligned(x) ? n / Pack<T>::N * Pack<T>::N : 0;
  return some_sum<true>(x, whole, f) + some_sum<false>(x + whole, n - whole, f);
}

// part[b] = sum of f(x) over block b.
template <class F> DEVICE void partial(int tensors, int block, float *part, const Parts &all, F f) {
  SHARED(room);
  const Part &t = owner(all.at, tensors);
  float s = t.half ? block_sum<bf16>(t, block, f) : block_sum<float>(t, block, f);
  s = block_reduce<Sum>(s, (float *)room);
  if (threadIdx.x == 0) part[blockIdx.x] = s;
}

EXPORT(sum, (int tensors, int block, float *part, CONSTANT Parts all), partial(tensors, block, part, all, [](float x) { return x; }))
EXPORT(sum_squares, (int tensors, int block, float *part, CONSTANT Parts all), partial(tensors, block, part, all, [](float x) { return x * x; }))

// y[i] = sum of the partial sums of tensor i, which are those from first[i] to first[i+1].
struct Firsts {
  int at[961];
};
DEVICE void total(float *y, const float *part, const Firsts &first) {
  SHARED(room);
  float s = 0;
#pragma unroll 4
  for (int i = first.at[blockIdx.x] + threadIdx.x; i < first.at[blockIdx.x + 1]; i += blockDim.x) s += part[i];
  s = block_reduce<Sum>(s, (float *)room);
  if (threadIdx.x == 0) y[blockIdx.x] = s;
}
EXPORT(totals, (float *y, const float *part, CONSTANT Firsts first), total(y, part, first))

// Warps of a block that adds up columns, each some of the rows.
#define ROW_WARPS 8

// column_partial adds up scale(r) times the product of the IN inputs, of `block` rows r: a warp 32 packs of columns of
// every eighth, of which a thread reads four at a time.
template <bool WIDE, int IN, class T, class S>
DEVICE void column_partial(int rows, int cols, int block, float *part, const T *const *in, S scale) {
  SHARED(room);
  const int N = Pack<T>::N, AHEAD = 4;
  float *all = (float *)room; // [ROW_WARPS][32 N]
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, first = blockIdx.x * 32 * N, c = first + lane * N;
  int lo = blockIdx.y * block, hi = lo + block < rows ? lo + block : rows;
  float s[N] = {};
  for (int r = lo + warp; r < hi; r += AHEAD * ROW_WARPS) {
    Pack<T> x[AHEAD][IN];
    float by[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      int at = r + i * ROW_WARPS;
      by[i] = at < hi ? scale(at) : 0;
#pragma unroll
      for (int k = 0; k < IN; k++) x[i][k] = some<WIDE>(in[k] + (int64_t)at * cols + c, at < hi ? cols - c : 0);
    }
#pragma unroll
    for (int i = 0; i < AHEAD; i++)
#pragma unroll
      for (int j = 0; j < N; j++) {
        float a = by[i];
#pragma unroll
        for (int k = 0; k < IN; k++) a *= widen(x[i][k].v[j]);
        s[j] += a;
      }
  }
#pragma unroll
  for (int j = 0; j < N; j++) all[(warp * 32 + lane) * N + j] = s[j];
  __syncthreads();
  for (int i = threadIdx.x; i < 32 * N && first + i < cols; i += blockDim.x) {
    float sum = 0;
    for (int w = 0; w < ROW_WARPS; w++) sum += all[w * 32 * N + i];
    part[(int64_t)blockIdx.y * cols + first + i] = sum;
  }
}

template <int IN, class T, class S>
DEVICE void columns(int rows, int cols, int block, float *part, const T *const *in, S scale) {
  bool wide = cols % Pack<T>::N == 0;
#pragma unroll
  for (int k = 0; k < IN; k++) wide = wide && aligned(in[k]);
  if (wide) column_partial<true, IN>(rows, cols, block, part, in, scale);
  else column_partial<false, IN>(rows, cols, block, part, in, scale);
}

#define SUM_ROWS(S, T) EXPORT(sum_rows_##S, (int rows, int cols, int block, float *part, const T *x), \
  columns<1>(rows, cols, block, part, &x, [](int) { return 1.f; }))
EACH_TYPE(SUM_ROWS)

// dw[c] = sum_r dy[r,c] x[r,c] rstd[r].
#define NORM_GRAD_W(S, T) EXPORT(rmsnorm_grad_w_##S, (int rows, int cols, int block, float *part, const T *dy, const T *x, const float *rstd), \
  const T *in[] = {dy, x}; \
  columns<2>(rows, cols, block, part, in, [=](int r) { return rstd[r]; }))
EACH_TYPE(NORM_GRAD_W)

// y[c] = acc[c] + sum of the column's partial sums, a warp 32 columns of every eighth block; acc may be none.
template <class T> DEVICE void column_total(int blocks, int cols, T *y, const float *part, const T *acc) {
  SHARED(room);
  float *all = (float *)room; // [ROW_WARPS][32]
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, c = blockIdx.x * 32 + lane;
  float s = 0;
  if (c < cols)
#pragma unroll 8
    for (int i = warp; i < blocks; i += ROW_WARPS) s += part[(int64_t)i * cols + c];
  all[threadIdx.x] = s;
  __syncthreads();
  if (warp > 0 || c >= cols) return;
  for (int w = 1; w < ROW_WARPS; w++) s += all[w * 32 + lane];
  y[c] = narrow<T>(acc ? widen(acc[c]) + s : s);
}
#define COLUMN_TOTAL(S, T) EXPORT(column_total_##S, (int blocks, int cols, T *y, const float *part, const T *acc), \
  column_total(blocks, cols, y, part, acc))
EACH_TYPE(COLUMN_TOTAL)

// y[r] = sum_c x[r,c]², a block a row.
template <class T> DEVICE void row_squares(int cols, float *y, const T *x) {
  SHARED(room);
  const T *row = x + (int64_t)blockIdx.x * cols;
  int whole = aligned(row) ? cols / Pack<T>::N * Pack<T>::N : 0;
  auto square = [](float x) { return x * x; };
  float s = some_sum<true>(row, whole, square) + some_sum<false>(row + whole, cols - whole, square);
  s = block_reduce<Sum>(s, (float *)room);
  if (threadIdx.x == 0) y[blockIdx.x] = s;
}
#define ROW_SQUARES(S, T) EXPORT(row_squares_##S, (int cols, float *y, const T *x), row_squares(cols, y, x))
EACH_TYPE(ROW_SQUARES)

// y[c] = sum_r x[r,c]², of which these are partial sums.
#define COLUMN_SQUARES(S, T) EXPORT(column_squares_##S, (int rows, int cols, int block, float *part, const T *x), \
  const T *in[] = {x, x}; \
  columns<2>(rows, cols, block, part, in, [](int) { return 1.f; }))
EACH_TYPE(COLUMN_SQUARES)
