// RMSNorm and its input gradient (Zhang & Sennrich 2019, eq. 4), a block a row. The gain's gradient is
// a sum over rows: reduce.cu. Means are over n columns; those after them are padding and hold zeros.
#include "common.cuh"

// rstd = 1/sqrt(mean x² + eps), y = x rstd w.
template <class T> DEVICE void norm(int cols, int n, T *y, float *rstd, const T *x, const T *w, float eps) {
  SHARED(room);
  int64_t at = (int64_t)blockIdx.x * cols;
  float ss = 0;
  const T *in[] = {x + at, w};
  T *out[] = {y + at};
  each<T, 0, 1>(cols, threadIdx.x, blockDim.x, (T *const *)0, in, [&](float *, const float *a) { ss += a[0] * a[0]; });
  ss = block_reduce<Sum>(ss, (float *)room);
  float s = 1 / sqrtf(ss / n + eps);
  if (threadIdx.x == 0) rstd[blockIdx.x] = s;
  each<T, 1, 2>(cols, threadIdx.x, blockDim.x, out, in, [=](float *b, const float *a) { b[0] = a[0] * s * a[1]; });
}

// dx = rstd (dy w - x rstd² mean(dy w x)).
template <class T> DEVICE void norm_grad_x(int cols, int n, T *dx, const T *dy, const T *x, const T *w, const float *rstd) {
  SHARED(room);
  int64_t at = (int64_t)blockIdx.x * cols;
  float dot = 0, s = rstd[blockIdx.x];
  const T *in[] = {dy + at, x + at, w};
  T *out[] = {dx + at};
  each<T, 0, 3>(cols, threadIdx.x, blockDim.x, (T *const *)0, in, [&](float *, const float *a) { dot += a[0] * a[1] * a[2]; });
  float k = s * s * block_reduce<Sum>(dot, (float *)room) / n;
  each<T, 1, 3>(cols, threadIdx.x, blockDim.x, out, in, [=](float *b, const float *a) { b[0] = s * (a[0] * a[2] - a[1] * k); });
}

#define NORM(S, T) EXPORT(rmsnorm_##S, (int cols, int n, T *y, float *rstd, const T *x, const T *w, float eps), norm(cols, n, y, rstd, x, w, eps))
EACH_TYPE(NORM)
#define NORM_GRAD_X(S, T) EXPORT(rmsnorm_grad_x_##S, (int cols, int n, T *dx, const T *dy, const T *x, const T *w, const float *rstd), norm_grad_x(cols, n, dx, dy, x, w, rstd))
EACH_TYPE(NORM_GRAD_X)
