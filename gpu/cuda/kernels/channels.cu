// Updates by channel: factors of rows and columns, and what is made of sums of squares of them. The sums are in reduce.cu.
#include "common.cuh"

// y[r,:] = x[r,:] s[r], a block a row.
template <class T> DEVICE void scale_row(int cols, float *y, const T *x, float s) {
  Rows<float> to{y, 0};
  Rows<const T> from{x, 0};
  each_of<float, T, 1, 1>(Line{cols}, threadIdx.x, blockDim.x, &to, &from, [=](float *y, const float *x) { *y = *x * s; });
}
#define SCALE_ROWS(S, T) EXPORT(scale_rows_##S, (int cols, float *y, const T *x, const float *s), \
  scale_row(cols, y + (int64_t)blockIdx.x * cols, x + (int64_t)blockIdx.x * cols, s[blockIdx.x]))
EACH_TYPE(SCALE_ROWS)

// y[r,c] = x[r,c] s[c], a block a row.
template <class T> DEVICE void scale_columns(int cols, float *y, const T *x, const float *s) {
  Rows<float> to{y, 0};
  Rows<const T> from{x, 0};
  each_pack<float, T, 1, 1>(Line{cols}, threadIdx.x, blockDim.x, &to, &from, [=](int64_t e, auto *y, auto *x) {
    const int N = sizeof(x->v) / sizeof(T);
#pragma unroll
    for (int j = 0; j < N; j++) y->v[j] = widen(x->v[j]) * s[e + j];
  });
}
#define SCALE_COLUMNS(S, T) EXPORT(scale_columns_##S, (int cols, float *y, const T *x, const float *s), \
  scale_columns(cols, y + (int64_t)blockIdx.x * cols, x + (int64_t)blockIdx.x * cols, s))
EACH_TYPE(SCALE_COLUMNS)

// y = 1 / max(sqrt(s / cols), eps).
EXPORT(inverse_rms, (int64_t n, float *y, const float *s, float cols, float eps), {
  for (int64_t e = THREAD; e < n; e += STRIDE) y[e] = 1 / fmaxf(sqrtf(s[e] / cols), eps);
})

DEVICE bool finite(float x) { return fabsf(x) < INFINITY; }

// f[i] = k (sqrt(a[i]) / bias) / (k sqrt(b[i]) + 1e-8), of one a and b for all if stride is 0.
DEVICE float factor(int i, int stride, const float *a, const float *b, float k, float bias) {
  return k * (sqrtf(a[i * stride]) / bias) / (k * sqrtf(b[i * stride]) + 1e-8f);
}

// s = alpha bias f / limit, norm = sqrt(sum f² q) / limit, where limit keeps norm from more than 1.01 (before + 1e-8). One block.
DEVICE void channel_factors_of(int n, int stride, float *s, float *norm, const float *a, const float *b, const float *q, const float *before,
                               const float *coef, const float *hyper, float alpha) {
  SHARED(room);
  float k = *coef, bias = hyper[1], p = *before, sum = 0;
  bool skip = !finite(k);
  for (int i = threadIdx.x; i < n && !skip; i += blockDim.x) {
    float f = factor(i, stride, a, b, k, bias);
    sum += f * f * q[i];
  }
  float size = sqrtf(block_reduce<Sum>(sum, (float *)room)), limit = 1;
  if (p > 0) limit = fmaxf(1, size / (1.01f * (p + 1e-8f)));
  for (int i = threadIdx.x; i < n; i += blockDim.x) s[i] = skip ? 0 : factor(i, stride, a, b, k, bias) * alpha * bias / limit;
  if (threadIdx.x == 0) *norm = skip ? p : size / limit;
}
EXPORT(channel_factors, (int n, int stride, float *s, float *norm, const float *a, const float *b, const float *q, const float *before,
                         const float *coef, const float *hyper, float alpha),
       channel_factors_of(n, stride, s, norm, a, b, q, before, coef, hyper, alpha))

// y = β x + (1-β) (coef² s / cols + eps) of the first rows elements, 0 of others; y = x when coef is not finite.
EXPORT(ema_squares, (int64_t n, float *y, const float *x, const float *s, const float *coef, const float *hyper, float cols, int64_t rows, float eps), {
  float k = *coef;
  float beta = hyper[1];
  for (int64_t e = THREAD; e < n; e += STRIDE)
    if (!finite(k)) y[e] = x[e];
    else y[e] = e < rows ? beta * x[e] + (1 - beta) * (k * k * s[e] / cols + eps) : 0;
})

// y = coef sqrt(mean / x), the mean over the first rows elements; 0 where x is. One block.
DEVICE void row_factors_of(int n, int rows, float *y, const float *x, const float *coef) {
  SHARED(room);
  float sum = 0;
  for (int i = threadIdx.x; i < rows; i += blockDim.x) sum += x[i] / rows;
  float mean = block_reduce<Sum>(sum, (float *)room);
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = x[i] == 0 ? 0 : *coef * sqrtf(mean / x[i]);
}
EXPORT(row_factors, (int n, int rows, float *y, const float *x, const float *coef), row_factors_of(n, rows, y, x, coef))

// y = hyper, the first of which is multiplied by max(eps, sqrt(s / cols)).
EXPORT(scale_rate, (int n, float *y, const float *s, const float *hyper, float cols, float eps), {
  int i = threadIdx.x;
  if (i < n) y[i] = i ? hyper[i] : hyper[0] * fmaxf(eps, sqrtf(*s / cols));
})
