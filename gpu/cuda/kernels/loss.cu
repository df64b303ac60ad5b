// Softmax cross entropy of rows of cols logits, ld apart, a block a row; targets below 0 are ignored. What is after the
// logits in a row is padding: it does not count, and its gradient is 0.
#include "common.cuh"

// lse of n logits: the maximum first, so that no exponential overflows.
template <class T> DEVICE float log_sum_exp(int64_t n, const T *x, float *room) {
  float most = -INFINITY, s = 0;
  each<T, 0, 1>(n, threadIdx.x, blockDim.x, (T *const *)0, &x, [&](float *, const float *a) { most = fmaxf(most, a[0]); });
  most = block_reduce<Max>(most, room);
  each<T, 0, 1>(n, threadIdx.x, blockDim.x, (T *const *)0, &x, [&](float *, const float *a) { s += expf(a[0] - most); });
  return most + logf(block_reduce<Sum>(s, room));
}

// nll = lse - x[target].
template <class T> DEVICE void cross_entropy(int cols, int ld, float *nll, float *lse, const T *x, const int *targets) {
  SHARED(room);
  const T *row = x + (int64_t)blockIdx.x * ld;
  float l = log_sum_exp(cols, row, (float *)room);
  if (threadIdx.x == 0) {
    int t = targets[blockIdx.x];
    lse[blockIdx.x] = l;
    nll[blockIdx.x] = t < 0 ? 0 : l - widen(row[t]);
  }
}

// dx = (exp(x - lse) - [c = target]) dnll.
template <class T> DEVICE void cross_entropy_grad(int cols, int ld, T *dx, const float *dnll, const T *x, const int *targets, const float *lse) {
  int64_t at = (int64_t)blockIdx.x * ld;
  int t = targets[blockIdx.x];
  float l = lse[blockIdx.x], g = t < 0 ? 0 : dnll[blockIdx.x];
  for (int c = threadIdx.x; c < ld; c += blockDim.x)
    dx[at + c] = narrow<T>(t < 0 || c >= cols ? 0 : (expf(widen(x[at + c]) - l) - (c == t ? 1.f : 0.f)) * g);
}

#define CROSS_ENTROPY(S, T) EXPORT(cross_entropy_##S, (int cols, int ld, float *nll, float *lse, const T *x, const int *targets), cross_entropy(cols, ld, nll, lse, x, targets))
EACH_TYPE(CROSS_ENTROPY)
#define CROSS_ENTROPY_GRAD(S, T) EXPORT(cross_entropy_grad_##S, (int cols, int ld, T *dx, const float *dnll, const T *x, const int *targets, const float *lse), cross_entropy_grad(cols, ld, dx, dnll, x, targets, lse))
EACH_TYPE(CROSS_ENTROPY_GRAD)

// The loss of a row of fp32 logits, which become their gradient where they lie, rounded to T: element c
// is written at or before the place of logit c, and only when all threads have read what lies there.
template <class T> DEVICE void logits_grad(int cols, int ld, float *nll, float *x, const float *dnll, const int *targets) {
  SHARED(room);
  float *row = x + (int64_t)blockIdx.x * ld;
  float l = log_sum_exp(cols, (const float *)row, (float *)room);
  int t = targets[blockIdx.x];
  float g = t < 0 ? 0 : dnll[blockIdx.x];
  if (threadIdx.x == 0) nll[blockIdx.x] = t < 0 ? 0 : l - row[t];
  T *to = (T *)row;
  __syncthreads();
  for (int base = 0; base < ld; base += blockDim.x) {
    int c = base + threadIdx.x;
    float d = 0;
    if (c < cols && t >= 0) d = (expf(row[c] - l) - (c == t ? 1.f : 0.f)) * g;
    __syncthreads();
    if (c < ld) to[c] = narrow<T>(d);
    __syncthreads();
  }
}

#define LOGITS_GRAD(S, T) EXPORT(logits_grad_##S, (int cols, int ld, float *nll, float *x, const float *dnll, const int *targets), logits_grad<T>(cols, ld, nll, x, dnll, targets))
EACH_TYPE(LOGITS_GRAD)
