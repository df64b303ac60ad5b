// Rotary position embedding (Su et al. 2021) in the rotate-half layout: y[i] = x[i] cos - x[i+d/2] sin,
// y[i+d/2] = x[i+d/2] cos + x[i] sin, for rows x [batch·seq, heads·d] that begin ldx apart and tables [rows, d/2], of which
// the row is a token's place in its sequence, or its position, where there are any.
#include "common.cuh"

// floats reads V neighbouring floats, by 16 bytes where V allows it.
template <int V> DEVICE void floats(float *to, const float *from) {
  const int N = V < 4 ? V : 4;
#pragma unroll
  for (int j = 0; j < V; j += N) {
    Pack<float, N> x = load<N>(from + j);
#pragma unroll
    for (int k = 0; k < N; k++) to[j + k] = x.v[k];
  }
}

// Where pairs i to i+V-1 lie: in which row, at which column the first halves begin, and at which element of the tables.
struct Pair {
  int64_t row;
  int col;
  int64_t angle;
};
template <int V> DEVICE Pair pair_at(int64_t i, int seq, int heads, int half, const int *positions, int rows) {
  int per = half / V, all = heads * per;
  int64_t row = i / all;
  int r = (int)(i - row * all), head = r / per, c = (r - head * per) * V;
  int t = positions ? positions[row] : (int)((uint32_t)row % (uint32_t)seq);
  t = t < 0 ? 0 : t < rows ? t : rows - 1;
  return Pair{row, head * 2 * half + c, (int64_t)t * half + c};
}

// A thread rotates packs of V neighbouring pairs, two at once: it reads both halves before it writes either.
template <class T, int V>
DEVICE void rotate(int64_t pairs, int seq, int heads, int half, Rows<T> y, Rows<const T> x, const float *cos, const float *sin, float sign,
                   const int *positions, int rows) {
  const int U = 2;
  for (int64_t first = THREAD; first < pairs / V; first += U * STRIDE) {
    Pack<T, V> a[U], b[U];
    Pair at[U];
#pragma unroll
    for (int u = 0; u < U; u++) {
      int64_t i = first + u * STRIDE;
      if (i >= pairs / V) continue;
      at[u] = pair_at<V>(i, seq, heads, half, positions, rows);
      const T *from = x.of(at[u].row, at[u].col);
      a[u] = load<V>(from), b[u] = load<V>(from + half);
    }
#pragma unroll
    for (int u = 0; u < U; u++) {
      if (first + u * STRIDE >= pairs / V) continue;
      float co[V], si[V];
      floats<V>(co, cos + at[u].angle), floats<V>(si, sin + at[u].angle);
#pragma unroll
      for (int j = 0; j < V; j++) {
        float p = widen(a[u].v[j]), q = widen(b[u].v[j]), s = sign * si[j];
        a[u].v[j] = narrow<T>(p * co[j] - q * s);
        b[u].v[j] = narrow<T>(q * co[j] + p * s);
      }
      T *to = y.of(at[u].row, at[u].col);
      store(to, a[u]), store(to + half, b[u]);
    }
  }
}

template <class T>
DEVICE void rope(int64_t pairs, int seq, int heads, int half, Rows<T> y, Rows<const T> x, const float *cos, const float *sin, float sign,
                   const int *positions, int rows) {
  const int N = Pack<T>::N;
  if (half % N == 0 && x.packed(N) && y.packed(N)) {
    rotate<T, N>(pairs, seq, heads, half, y, x, cos, sin, sign, positions, rows);
  } else {
    rotate<T, 1>(pairs, seq, heads, half, y, x, cos, sin, sign, positions, rows);
  }
}

#define ROPE(S, T) EXPORT(rope_##S, (int64_t pairs, int seq, int heads, int half, T *y, int64_t ldy, const T *x, int64_t ldx, \
                                     const float *cos, const float *sin, float sign, const int *positions, int rows), \
  rope<T>(pairs, seq, heads, half, {y, ldy}, {x, ldx}, cos, sin, sign, positions, rows))
EACH_TYPE(ROPE)
