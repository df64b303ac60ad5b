// Keys and values of a context, kept in a cache [slots, capacity, kv_heads·d]: writing rows to it, and attention of new
// tokens over it. Slots and numbers of kept rows come from the host; those that are not there are the nearest that are.
#include "common.cuh"

DEVICE int nearest(int x, int most) { return x < 0 ? 0 : x > most ? most : x; }

// Row t < count[b] of sequence b goes to row past[b] + t of its slot, if there is one. A thread moves packs of V elements.
template <class T, int V>
DEVICE void write_rows(int64_t elements, int n, int width, T *cache, int slots, int capacity, Rows<const T> x, const int *slot,
                       const int *past, const int *count) {
  int packs = width / V;
  for (int64_t i = THREAD; i < elements / V; i += STRIDE) {
    int64_t row = i / packs;
    int c = (int)(i - row * packs) * V, b = (int)(row / n), t = (int)(row - (int64_t)b * n);
    int at = nearest(past[b], capacity) + t;
    if (t >= count[b] || at >= capacity) continue;
    store(cache + ((int64_t)nearest(slot[b], slots - 1) * capacity + at) * width + c, load<V>(x.of(row, c)));
  }
}

template <class T>
DEVICE void cache_write(int64_t elements, int n, int width, T *cache, int slots, int capacity, const T *x, int64_t ldx, const int *slot,
                        const int *past, const int *count) {
  const int N = Pack<T>::N;
  Rows<const T> rows{x, ldx};
  if (rows.packed(N) && Rows<T>{cache, width}.packed(N) && width % N == 0)
    write_rows<T, N>(elements, n, width, cache, slots, capacity, rows, slot, past, count);
  else write_rows<T, 1>(elements, n, width, cache, slots, capacity, rows, slot, past, count);
}

#define CACHE_WRITE(S, T) EXPORT(cache_write_##S, (int64_t elements, int n, int width, T *cache, int slots, int capacity, const T *x, \
                                                   int64_t ldx, const int *slot, const int *past, const int *count), \
  cache_write<T>(elements, n, width, cache, slots, capacity, x, ldx, slot, past, count))
EACH_TYPE(CACHE_WRITE)

// CachedShape is the launch of attention over a cache: n new tokens a sequence.
struct CachedShape {
  int n, heads, kv_heads, d, slots, capacity;
};

// Seen are the keys, or the values, that a query sees, of one head: those that were kept, then the new ones.
template <class T> struct Seen {
  Rows<const T> kept, now;
  int past;
  __device__ const T *of(int j, int c) const { return j < past ? kept.of(j, c) : now.of(j - past, c); }
  __device__ bool packed(int n) const { return kept.packed(n) && now.packed(n); }
};

// A query with some of its keys: the greatest score in base 2, the sum of 2^(score - most), and lanes' channels of the sum
// of values by that.
const int CACHED_WARPS = 8, CACHED_WIDEST = 128, CACHED_CHANNELS = CACHED_WIDEST / 32;

// The score of a key in base 2; query holds the query's channels, scaled.
template <class T, int V> DEVICE float cached_score(const float *query, const T *key, int d) {
  float s = 0;
  for (int c = 0; c < d; c += V) {
    Pack<T, V> k = load<V>(key + c);
#pragma unroll
    for (int j = 0; j < V; j++) s += query[c + j] * widen(k.v[j]);
  }
  return s;
}

// A block is a query of one head. Its warps take 32 keys in turn, a lane a key, and of their values a lane some channels;
// in the end their sums are joined in order. So a query's keys alone decide in which order it adds up.
template <class T, int V>
DEVICE void attend_cached(CachedShape shape, float scale, Rows<T> o, Rows<const T> q, Seen<T> keys, Seen<T> values, int64_t row, int head, int seen) {
  SHARED(room);
  float *query = (float *)room, *most_of = query + CACHED_WIDEST, *sum_of = most_of + CACHED_WARPS, *acc_of = sum_of + CACHED_WARPS;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, d = shape.d;
  for (int c = threadIdx.x; c < d; c += blockDim.x) query[c] = widen(*q.of(row, head * d + c)) * scale;
  __syncthreads();
  float most = -1e38f, sum = 0, acc[CACHED_CHANNELS] = {};
  for (int first = warp * 32; first < seen; first += CACHED_WARPS * 32) {
    int j = first + lane, in_turn = seen - first < 32 ? seen - first : 32;
    float s = lane < in_turn ? cached_score<T, V>(query, keys.of(j, 0), d) : -INFINITY;
    float now = fmaxf(most, warp_reduce<Max>(s)), p = ex2(s - now), before = ex2(most - now);
    most = now;
    sum = sum * before + warp_reduce<Sum>(p);
#pragma unroll
    for (int i = 0; i < CACHED_CHANNELS; i++) acc[i] *= before;
    for (int k = 0; k < in_turn; k++) {
      const T *value = values.of(first + k, 0);
      float weight = __shfl_sync(FULL, p, k);
#pragma unroll
      for (int i = 0; i < CACHED_CHANNELS; i++)
        if (i * 32 + lane < d) acc[i] += weight * widen(value[i * 32 + lane]);
    }
  }
  if (lane == 0) most_of[warp] = most, sum_of[warp] = sum;
#pragma unroll
  for (int i = 0; i < CACHED_CHANNELS; i++) acc_of[warp * CACHED_WIDEST + i * 32 + lane] = acc[i];
  __syncthreads();
  float all = -1e38f, total = 0;
  for (int w = 0; w < CACHED_WARPS; w++) all = fmaxf(all, most_of[w]);
  for (int w = 0; w < CACHED_WARPS; w++) total += sum_of[w] * ex2(most_of[w] - all);
  for (int c = threadIdx.x; c < d; c += blockDim.x) {
    float x = 0;
    for (int w = 0; w < CACHED_WARPS; w++) x += acc_of[w * CACHED_WIDEST + c] * ex2(most_of[w] - all);
    *o.of(row, head * d + c) = narrow<T>(x / total);
  }
}

template <class T>
DEVICE void attention_cached(CachedShape shape, float scale, Rows<T> o, Rows<const T> q, Rows<const T> k, Rows<const T> v, const T *kc,
                             const T *vc, const int *slot, const int *past) {
  const int N = Pack<T>::N;
  int i = blockIdx.x, head = blockIdx.y, b = blockIdx.z, col = head / (shape.heads / shape.kv_heads) * shape.d;
  int kept = nearest(past[b], shape.capacity);
  int64_t width = (int64_t)shape.kv_heads * shape.d, first = (int64_t)nearest(slot[b], shape.slots - 1) * shape.capacity * width + col;
  int64_t now = (int64_t)b * shape.n, row = now + i;
  Seen<T> keys{{kc + first, width}, {k.of(now, col), k.ld}, kept}, values{{vc + first, width}, {v.of(now, col), v.ld}, kept};
  if (shape.d % N == 0 && keys.packed(N)) attend_cached<T, N>(shape, scale, o, q, keys, values, row, head, kept + i + 1);
  else attend_cached<T, 1>(shape, scale, o, q, keys, values, row, head, kept + i + 1);
}

#define ATTENTION_CACHED(S, T) EXPORT_BOUNDED((CACHED_WARPS * 32), attention_cached_##S, \
  (CachedShape shape, float scale, Rows<T> o, Rows<const T> q, Rows<const T> k, Rows<const T> v, const T *kc, const T *vc, \
   const int *slot, const int *past), \
  attention_cached<T>(shape, scale, o, q, k, v, kc, vc, slot, past))
EACH_TYPE(ATTENTION_CACHED)
