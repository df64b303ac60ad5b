// Kernels that compute each element of their outputs from the same element of their inputs.
#include "common.cuh"

template <class T, class F> DEVICE void each0(int64_t n, T *y, F f) { each<T, 1, 0>(n, THREAD, STRIDE, &y, (const T *const *)0, f); }
template <class T, class F> DEVICE void each1(int64_t n, T *y, const T *x, F f) { each<T, 1, 1>(n, THREAD, STRIDE, &y, &x, f); }
template <class T, class F> DEVICE void each2(int64_t n, T *y, const T *a, const T *b, F f) {
  const T *in[] = {a, b};
  each<T, 1, 2>(n, THREAD, STRIDE, &y, in, f);
}

DEVICE float sigmoid(float x) { return 1 / (1 + expf(-x)); }

#define ZERO(S, T) EXPORT(zero_##S, (int64_t n, T * y), each0(n, y, [](float *y, const float *) { *y = 0; }))
EACH_TYPE(ZERO)

// y = x, as bits.
#define COPY(S, T) EXPORT(copy_##S, (int64_t n, T * y, const T *x), \
  const int N = Pack<T>::N; int64_t packs = aligned(x) && aligned(y) ? n / N : 0; \
  for (int64_t p = THREAD; p < packs; p += STRIDE) store(y + p * N, load(x + p * N)); \
  for (int64_t e = packs * N + THREAD; e < n; e += STRIDE) y[e] = x[e])
EACH_TYPE(COPY)

// Rows of n elements, with row strides in elements.
#define COPY_ROWS(S, T) EXPORT(copy_rows_##S, (int64_t n, int64_t cols, T * y, int64_t ldy, const T *x, int64_t ldx), \
  for (int64_t e = THREAD; e < n; e += STRIDE) y[e / cols * ldy + e % cols] = x[e / cols * ldx + e % cols])
EACH_TYPE(COPY_ROWS)

// y += x, rows of n elements in all, with row strides in elements.
#define ADD_ROWS(S, A, T) EXPORT(add_rows_##S, (int64_t n, int64_t cols, A * y, int64_t ldy, const T *x, int64_t ldx), \
  for (int64_t e = THREAD; e < n; e += STRIDE) { A *to = y + e / cols * ldy + e % cols; *to = narrow<A>(widen(*to) + widen(x[e / cols * ldx + e % cols])); })
ADD_ROWS(f32_f32, float, float)
ADD_ROWS(bf16_bf16, bf16, bf16)
ADD_ROWS(f32_bf16, float, bf16)
ADD_ROWS(bf16_f32, bf16, float)

#define ADD(S, T) EXPORT(add_##S, (int64_t n, T * y, const T *a, const T *b), each2(n, y, a, b, [](float *y, const float *x) { *y = x[0] + x[1]; }))
EACH_TYPE(ADD)
#define MUL(S, T) EXPORT(mul_##S, (int64_t n, T * y, const T *a, const T *b), each2(n, y, a, b, [](float *y, const float *x) { *y = x[0] * x[1]; }))
EACH_TYPE(MUL)
#define SCALE(S, T) EXPORT(scale_##S, (int64_t n, T * y, const T *a, float alpha), each1(n, y, a, [=](float *y, const float *x) { *y = alpha * x[0]; }))
EACH_TYPE(SCALE)
// y = x / max(sqrt(s), eps).
#define NORMALIZE(S, T) EXPORT(normalize_##S, (int64_t n, T * y, const T *x, const float *s, float eps), \
  float norm = fmaxf(sqrtf(*s), eps); each1(n, y, x, [=](float *y, const float *x) { *y = x[0] / norm; }))
EACH_TYPE(NORMALIZE)
#define BROADCAST(S, T) EXPORT(broadcast_##S, (int64_t n, T * y, const float *s), float v = *s; each0(n, y, [=](float *y, const float *) { *y = v; }))
EACH_TYPE(BROADCAST)

// y = g sigmoid(g) u.
#define SWIGLU(S, T) EXPORT(swiglu_##S, (int64_t n, T * y, const T *gate, const T *up), each2(n, y, gate, up, [](float *y, const float *x) { *y = x[0] * sigmoid(x[0]) * x[1]; }))
EACH_TYPE(SWIGLU)

// With s = sigmoid(g): dg = dy u s (1 + g (1-s)), du = dy g s.
#define SWIGLU_GRAD(S, T) EXPORT(swiglu_grad_##S, (int64_t n, T * dg, T * du, const T *dy, const T *gate, const T *up), \
  T *out[] = {dg, du}; const T *in[] = {dy, gate, up}; \
  each<T, 2, 3>(n, THREAD, STRIDE, out, in, [](float *y, const float *x) { float s = sigmoid(x[1]); y[0] = x[0] * x[2] * s * (1 + x[1] * (1 - s)); y[1] = x[0] * x[1] * s; }))
EACH_TYPE(SWIGLU_GRAD)

#define BIAS_ADD(S, T) EXPORT(bias_add_##S, (int64_t n, int cols, T * y, const T *x, const T *b), \
  for (int64_t e = THREAD; e < n; e += STRIDE) y[e] = narrow<T>(widen(x[e]) + widen(b[e % cols])))
EACH_TYPE(BIAS_ADD)

// Rounds to nearest even, or widens exactly.
template <class T, class S> DEVICE void cast(int64_t n, T *y, const S *x) {
  for (int64_t e = THREAD; e < n; e += STRIDE) y[e] = narrow<T>(widen(x[e]));
}
EXPORT(cast_f32_f32, (int64_t n, float *y, const float *x), cast(n, y, x))
EXPORT(cast_f32_bf16, (int64_t n, bf16 *y, const float *x), cast(n, y, x))
EXPORT(cast_bf16_f32, (int64_t n, float *y, const bf16 *x), cast(n, y, x))
EXPORT(cast_bf16_bf16, (int64_t n, bf16 *y, const bf16 *x), cast(n, y, x))
EXPORT(cast_stochastic, (int64_t n, bf16 *y, const float *x, const float *seed), \
  for (int64_t e = THREAD; e < n; e += STRIDE) y[e] = narrow_stochastic(x[e], *seed, e))
