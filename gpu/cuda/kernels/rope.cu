// Rotary position embedding (Su et al. 2021) in the rotate-half layout: y[i] = x[i] cos - x[i+d/2] sin,
// y[i+d/2] = x[i+d/2] cos + x[i] sin, for x [batch, seq, heads·d] and tables [seq, d/2].
#include "common.cuh"

// A thread rotates V neighbouring pairs: it reads both halves before it writes either.
template <class T, int V>
DEVICE void rotate(int64_t i, int seq, int heads, int half, T *y, const T *x, const float *cos, const float *sin, float sign) {
  int per = half / V, c = (int)(i % per) * V;
  int64_t head = i / per, row = head / heads;
  int64_t at = head * 2 * half + c;
  const float *co = cos + row % seq * half + c, *si = sin + row % seq * half + c;
  Pack<T> a, b;
  if (V > 1) {
    a = load(x + at), b = load(x + at + half);
  } else {
    a.v[0] = x[at], b.v[0] = x[at + half];
  }
#pragma unroll
  for (int j = 0; j < V; j++) {
    float p = widen(a.v[j]), q = widen(b.v[j]), s = sign * si[j];
    a.v[j] = narrow<T>(p * co[j] - q * s);
    b.v[j] = narrow<T>(q * co[j] + p * s);
  }
  if (V > 1) {
    store(y + at, a), store(y + at + half, b);
  } else {
    y[at] = a.v[0], y[at + half] = b.v[0];
  }
}

template <class T>
DEVICE void rope(int64_t pairs, int seq, int heads, int half, T *y, const T *x, const float *cos, const float *sin, float sign) {
  const int N = Pack<T>::N;
  bool wide = half % N == 0 && aligned(x) && aligned(y);
  int64_t first = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, step = (int64_t)gridDim.x * blockDim.x;
  if (wide) {
    for (int64_t i = first; i < pairs / N; i += step) rotate<T, N>(i, seq, heads, half, y, x, cos, sin, sign);
  } else {
    for (int64_t i = first; i < pairs; i += step) rotate<T, 1>(i, seq, heads, half, y, x, cos, sin, sign);
  }
}

#define ROPE(S, T) EXPORT(rope_##S, (int64_t pairs, int seq, int heads, int half, T *y, const T *x, const float *cos, const float *sin, float sign), \
  rope(pairs, seq, heads, half, y, x, cos, sin, sign))
EACH_TYPE(ROPE)
