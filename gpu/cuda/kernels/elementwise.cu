// Kernels that compute each element of their outputs from the same element of their inputs.
//
// Those that take cols and a distance for every operand work on n elements in rows of cols.
#include "common.cuh"

// map is y = f(inputs).
template <class T, class S, class F> DEVICE void map(S shape, Rows<T> y, F f) {
  each_of<T, T, 1, 0>(shape, THREAD, STRIDE, &y, (const Rows<const T> *)0, f);
}
template <class T, class S, class F> DEVICE void map(S shape, Rows<T> y, Rows<const T> a, F f) {
  each_of<T, T, 1, 1>(shape, THREAD, STRIDE, &y, &a, f);
}
template <class T, class S, class F> DEVICE void map(S shape, Rows<T> y, Rows<const T> a, Rows<const T> b, F f) {
  Rows<const T> in[] = {a, b};
  each_of<T, T, 1, 2>(shape, THREAD, STRIDE, &y, in, f);
}
#define FLAT(p) {p, 0}

#define ZERO(S, T) EXPORT(zero_##S, (int64_t n, T * y), map<T>(Line{n}, FLAT(y), [](float *y, const float *) { *y = 0; }))
EACH_TYPE(ZERO)
#define BROADCAST(S, T) EXPORT(broadcast_##S, (int64_t n, T * y, const float *s), \
  float v = *s; map<T>(Line{n}, FLAT(y), [=](float *y, const float *) { *y = v; }))
EACH_TYPE(BROADCAST)

#define ADD(S, T) EXPORT(add_##S, (int64_t n, T * y, const T *a, const T *b), \
  map<T>(Line{n}, FLAT(y), FLAT(a), FLAT(b), [](float *y, const float *x) { *y = x[0] + x[1]; }))
EACH_TYPE(ADD)
#define MUL(S, T) EXPORT(mul_##S, (int64_t n, T * y, const T *a, const T *b), \
  map<T>(Line{n}, FLAT(y), FLAT(a), FLAT(b), [](float *y, const float *x) { *y = x[0] * x[1]; }))
EACH_TYPE(MUL)
#define SCALE(S, T) EXPORT(scale_##S, (int64_t n, T * y, const T *a, float alpha), \
  map<T>(Line{n}, FLAT(y), FLAT(a), [=](float *y, const float *x) { *y = alpha * x[0]; }))
EACH_TYPE(SCALE)
// y = x / max(sqrt(s), eps).
#define NORMALIZE(S, T) EXPORT(normalize_##S, (int64_t n, T * y, const T *x, const float *s, float eps), \
  float norm = fmaxf(sqrtf(*s), eps); map<T>(Line{n}, FLAT(y), FLAT(x), [=](float *y, const float *x) { *y = x[0] / norm; }))
EACH_TYPE(NORMALIZE)
// y[r,c] = x[r,c] + b[c].
#define BIAS_ADD(S, T) EXPORT(bias_add_##S, (int64_t n, int64_t cols, T * y, const T *x, const T *b), \
  map<T>(Table{n, cols}, {y, cols}, {x, cols}, FLAT(b), [](float *y, const float *x) { *y = x[0] + x[1]; }))
EACH_TYPE(BIAS_ADD)

DEVICE float sigmoid(float x) { return rcp(1 + ex2(-1.44269504f * x)); }

// y = g sigmoid(g) u.
#define SWIGLU(S, T) EXPORT(swiglu_##S, (int64_t n, int64_t cols, T * y, int64_t ldy, const T *gate, int64_t ldg, const T *up, int64_t ldu), \
  map<T>(Table{n, cols}, {y, ldy}, {gate, ldg}, {up, ldu}, [](float *y, const float *x) { *y = x[0] * sigmoid(x[0]) * x[1]; }))
EACH_TYPE(SWIGLU)

// With s = sigmoid(g): dg = dy u s (1 + g (1-s)), du = dy g s.
#define SWIGLU_GRAD(S, T) EXPORT(swiglu_grad_##S, (int64_t n, int64_t cols, T * dg, int64_t lddg, T * du, int64_t lddu, const T *dy, int64_t lddy, \
                                                   const T *gate, int64_t ldg, const T *up, int64_t ldu), \
  Rows<T> out[] = {{dg, lddg}, {du, lddu}}; \
  Rows<const T> in[] = {{dy, lddy}, {gate, ldg}, {up, ldu}}; \
  each_of<T, T, 2, 3>(Table{n, cols}, THREAD, STRIDE, out, in, [](float *y, const float *x) { \
    float s = sigmoid(x[1]), d = x[0] * s; \
    y[0] = d * x[2] * (1 + x[1] * (1 - s)); \
    y[1] = d * x[1]; \
  }))
EACH_TYPE(SWIGLU_GRAD)

// move is y = x, as bits.
template <class T, class R, class S> DEVICE void move(S shape, Rows<T> y, R x) {
  each_pack<T, T, 1, 1>(shape, THREAD, STRIDE, &y, &x, [](int64_t, auto *y, auto *x) { y->u = x->u; });
}
#define COPY(S, T) EXPORT(copy_##S, (int64_t n, T * y, const T *x), move<T, Rows<const T>>(Line{n}, FLAT(y), FLAT(x)))
EACH_TYPE(COPY)
#define COPY_ROWS(S, T) EXPORT(copy_rows_##S, (int64_t n, int64_t cols, T * y, int64_t ldy, const T *x, int64_t ldx), \
  move<T, Rows<const T>>(Table{n, cols}, {y, ldy}, {x, ldx}))
EACH_TYPE(COPY_ROWS)
// y[t,:] = w[ids[t],:].
#define EMBEDDING(S, T) EXPORT(embedding_##S, (int64_t n, int64_t cols, T * y, const int *ids, const T *w), \
  move<T, Chosen<const T>>(Table{n, cols}, {y, cols}, {w, cols, ids}))
EACH_TYPE(EMBEDDING)

// y += x.
template <class Y, class X> DEVICE void add_rows(int64_t n, int64_t cols, Rows<Y> y, Rows<const X> x) {
  each_of<Y, X, 1, 1, true>(Table{n, cols}, THREAD, STRIDE, &y, &x, [](float *y, const float *x) { *y = *x; });
}
#define ADD_ROWS(S, Y, X) EXPORT(add_rows_##S, (int64_t n, int64_t cols, Y * y, int64_t ldy, const X *x, int64_t ldx), \
  add_rows<Y, X>(n, cols, {y, ldy}, {x, ldx}))
ADD_ROWS(f32_f32, float, float)
ADD_ROWS(bf16_bf16, bf16, bf16)
ADD_ROWS(f32_bf16, float, bf16)
ADD_ROWS(bf16_f32, bf16, float)

// Rounds to nearest even, or widens exactly.
template <class Y, class X> DEVICE void cast(int64_t n, Rows<Y> y, Rows<const X> x) {
  each_of<Y, X, 1, 1>(Line{n}, THREAD, STRIDE, &y, &x, [](float *y, const float *x) { *y = *x; });
}
#define CAST(S, Y, X) EXPORT(cast_##S, (int64_t n, Y * y, const X *x), cast<Y, X>(n, FLAT(y), FLAT(x)))
CAST(f32_f32, float, float)
CAST(f32_bf16, bf16, float)
CAST(bf16_f32, float, bf16)
CAST(bf16_bf16, bf16, bf16)

DEVICE void cast_at_random(int64_t n, Rows<bf16> y, Rows<const float> x, float seed) {
  each_pack<bf16, float, 1, 1>(Line{n}, THREAD, STRIDE, &y, &x, [=](int64_t e, auto *y, auto *x) {
    const int N = sizeof(x->v) / sizeof(float);
#pragma unroll
    for (int j = 0; j < N; j++) y->v[j] = narrow_stochastic(x->v[j], seed, e + j);
  });
}
EXPORT(cast_stochastic, (int64_t n, bf16 *y, const float *x, const float *seed), cast_at_random(n, FLAT(y), FLAT(x), *seed))

// y = x + alpha u, with u in [-1, 1); columns from used on are padding and stay.
template <class T>
DEVICE void add_noise(int64_t n, int64_t cols, int64_t used, float alpha, Rows<T> y, Rows<const T> x, const float *seed) {
  const int64_t first = (int64_t)seed[1] * (n / cols);
  each_pack<T, T, 1, 1>(Line{n}, THREAD, STRIDE, &y, &x, [=](int64_t e, auto *y, auto *x) {
    const int N = sizeof(x->v) / sizeof(T);
    int64_t row = e / cols, c = e - row * cols;
#pragma unroll
    for (int j = 0; j < N; j++) {
      const float u = (float)(uint32_t)(splitmix(seed[0], (first + row) * used + c) >> 40) * 0x1p-23f - 1;
      y->v[j] = c < used ? narrow<T>(widen(x->v[j]) + alpha * u) : x->v[j];
      if (++c == cols) c = 0, row++;
    }
  });
}
#define UNIFORM_NOISE(S, T) EXPORT(uniform_noise_##S, \
  (int64_t n, int64_t cols, int64_t used, float alpha, T * y, const T *x, const float *seed), \
  add_noise<T>(n, cols, used, alpha, FLAT(y), FLAT(x), seed))
EACH_TYPE(UNIFORM_NOISE)
