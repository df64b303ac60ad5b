// The gradient of the embedding table: dw[v,:] += the sum of dy[t,:] over the tokens t with id v, in fp32 and rounded once,
// to the type of dw.
//
// One id may have all tokens, or each its own. So tokens are sorted by their ids, and what is in order is cut into runs of
// as many tokens each: a run adds up the ids that lie in it, and what it has of an id that began before it or goes on after
// it is added in order of runs by another launch. A sum's order follows from ids and shapes; there are no atomics.
#include "common.cuh"

// Key is a token by its id, then by its place; all are different.
typedef unsigned long long Key;
DEVICE int id_of(Key k) { return (int)(k >> 32); }
DEVICE int token_of(Key k) { return (int)k; }

// Sorts pieces of tokens by Batcher's bitonic network (1968), a block of half as many threads a piece, a power of two.
DEVICE void sort_piece(int tokens, int piece, Key *sorted, const int *ids) {
  SHARED(room);
  Key *k = (Key *)room;
  int lo = blockIdx.x * piece;
  for (int i = threadIdx.x; i < piece; i += blockDim.x) k[i] = lo + i < tokens ? (Key)ids[lo + i] << 32 | (Key)(lo + i) : ~(Key)0;
  for (int size = 2; size <= piece; size *= 2)
    for (int step = size / 2; step > 0; step /= 2) {
      __syncthreads();
      int a = 2 * threadIdx.x - (threadIdx.x & (step - 1)), b = a + step;
      Key x = k[a], y = k[b];
      if ((x > y) == ((a & size) == 0)) k[a] = y, k[b] = x;
    }
  __syncthreads();
  for (int i = threadIdx.x; i < piece && lo + i < tokens; i += blockDim.x) sorted[lo + i] = k[i];
}
EXPORT(embedding_sort, (int tokens, int piece, Key *sorted, const int *ids), sort_piece(tokens, piece, sorted, ids))

// below counts the keys of n sorted ones that are less than k.
DEVICE int below(int n, const Key *sorted, Key k) {
  int lo = 0;
  while (lo < n) {
    int mid = lo + (n - lo) / 2;
    if (sorted[mid] < k) lo = mid + 1;
    else n = mid;
  }
  return lo;
}

// Merges sorted pieces: a key's place is the number of keys below it in all of them.
EXPORT(embedding_merge, (int tokens, int piece, Key *order, const Key *sorted), {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= tokens) return;
  Key k = sorted[i];
  int at = i % piece;
  for (int lo = 0; lo < tokens; lo += piece)
    if (lo != i - i % piece) at += below(tokens - lo < piece ? tokens - lo : piece, sorted + lo, k);
  order[at] = k;
})

// Two rows of partial sums a run: of the id that began before it, and of the one that begins in it and goes on.
DEVICE float *border(float *borders, int run, bool begins, int64_t cols) { return borders + (2 * (int64_t)run + begins) * cols; }

// A thread has V columns of a run. Several rows of dy, and of dw where an id ends, are under way at once.
template <class A, class T, int V>
DEVICE void embedding_runs(int tokens, int length, int64_t cols, A *dw, const Key *order, const T *dy, float *borders) {
  const int U = 8, N = V < 4 ? V : 4;
  int run = blockIdx.x, lo = run * length, hi = lo + length < tokens ? lo + length : tokens;
  int64_t c = ((int64_t)blockIdx.y * blockDim.x + threadIdx.x) * V;
  if (c >= cols) return;
  int before = lo > 0 ? id_of(order[lo - 1]) : -1, after = hi < tokens ? id_of(order[hi]) : -1;
  float s[V] = {};
  for (int first = lo; first < hi; first += U) {
    Key k[U + 1];
    Pack<T, V> x[U];
    Pack<A, V> w[U];
    bool ends[U], whole[U];
#pragma unroll
    for (int u = 0; u <= U; u++) k[u] = order[first + u < hi ? first + u : hi - 1];
#pragma unroll
    for (int u = 0; u < U; u++) {
      int id = id_of(k[u]);
      ends[u] = first + u + 1 >= hi || id_of(k[u + 1]) != id;
      whole[u] = ends[u] && id != before && (first + u + 1 < hi || id != after);
      x[u] = load<V>(dy + token_of(k[u]) * cols + c);
      if (whole[u]) w[u] = load<V>(dw + id * cols + c);
    }
#pragma unroll
    for (int u = 0; u < U; u++) {
      if (first + u >= hi) continue;
#pragma unroll
      for (int j = 0; j < V; j++) s[j] += widen(x[u].v[j]);
      if (!ends[u]) continue;
      if (whole[u]) {
#pragma unroll
        for (int j = 0; j < V; j++) w[u].v[j] = narrow<A>(widen(w[u].v[j]) + s[j]);
        store(dw + id_of(k[u]) * cols + c, w[u]);
      } else {
#pragma unroll
        for (int j = 0; j < V; j += N) {
          Pack<float, N> part;
#pragma unroll
          for (int i = 0; i < N; i++) part.v[i] = s[j + i];
          store(border(borders, run, id_of(k[u]) != before, cols) + c + j, part);
        }
      }
#pragma unroll
      for (int j = 0; j < V; j++) s[j] = 0;
    }
  }
}

// Adds the partial sums of the id that begins in a run and goes on: 8 warps have every eighth run of it each, a lane V
// columns, and their sums are added in order.
template <class A, int V> DEVICE void embedding_borders(int tokens, int length, int64_t cols, A *dw, const Key *order, float *borders) {
  SHARED(room);
  const int U = 4, warps = 8;
  int run = blockIdx.x, lo = run * length, hi = lo + length, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  if (hi >= tokens) return;
  int id = id_of(order[hi]);
  if (id_of(order[hi - 1]) != id || (lo > 0 && id_of(order[lo - 1]) == id)) return;
  int last = (below(tokens, order, ((Key)id << 32 | 0xffffffffu)) - 1) / length; // the run of the id's last token
  int64_t c = (int64_t)blockIdx.y * 32 * V + lane * V;
  float s[V] = {};
  for (int first = run + warp; c < cols && first <= last; first += U * warps) {
    Pack<float, V> x[U];
#pragma unroll
    for (int u = 0; u < U; u++)
      if (first + u * warps <= last) x[u] = load<V>((const float *)border(borders, first + u * warps, first + u * warps == run, cols) + c);
#pragma unroll
    for (int u = 0; u < U; u++)
#pragma unroll
      for (int j = 0; j < V; j++)
        if (first + u * warps <= last) s[j] += x[u].v[j];
  }
  float *all = (float *)room; // [warps][32 V]
#pragma unroll
  for (int j = 0; j < V; j++) all[(warp * 32 + lane) * V + j] = s[j];
  __syncthreads();
  c = (int64_t)blockIdx.y * 32 * V + threadIdx.x;
  if ((int)threadIdx.x >= 32 * V || c >= cols) return;
  float sum = 0;
  for (int w = 0; w < warps; w++) sum += all[w * 32 * V + threadIdx.x];
  A *to = dw + id * cols + c;
  *to = narrow<A>(widen(*to) + sum);
}

#define EMBEDDING_GRAD(S, A, T) \
  EXPORT(embedding_runs_##S, (int tokens, int length, int64_t cols, A *dw, const Key *order, const T *dy, float *borders), \
         const int V = 16 / (sizeof(A) > sizeof(T) ? sizeof(A) : sizeof(T)); \
         if (cols % V == 0) embedding_runs<A, T, V>(tokens, length, cols, dw, order, dy, borders); \
         else embedding_runs<A, T, 1>(tokens, length, cols, dw, order, dy, borders))
EMBEDDING_GRAD(f32_f32, float, float)
EMBEDDING_GRAD(bf16_bf16, bf16, bf16)
EMBEDDING_GRAD(f32_bf16, float, bf16)
#define EMBEDDING_BORDERS(S, A) \
  EXPORT(embedding_borders_##S, (int tokens, int length, int64_t cols, A *dw, const Key *order, float *borders), \
         if (cols % 4 == 0) embedding_borders<A, 4>(tokens, length, cols, dw, order, borders); \
         else embedding_borders<A, 1>(tokens, length, cols, dw, order, borders))
EACH_TYPE(EMBEDDING_BORDERS)
