// Softmax cross entropy of rows of cols logits, ld apart, a block a row; targets below 0 are ignored. What is after the
// logits in a row is padding: it does not count, and its gradient is 0.
//
// A row is read once for its greatest logit and its sum of exponentials together (Milakov & Gimelshein 2018, alg. 3), and
// once more for the gradient. Exponentials are of base 2, since the card has those.
#include "common.cuh"

const float log2_e = 1.44269504f, ln_2 = 0.693147181f;

// Softmax is the denominator of a softmax over some logits: the sum of 2^(x log2 e - most), where most is the greatest
// x log2 e.
struct Softmax {
  float most, sum;
};
const float least = -1e38f; // is most of no logits, and not -infinity: the difference of two of those is not a number

// joined gives the same bits in either order.
DEVICE Softmax joined(Softmax a, Softmax b) {
  bool less = a.most < b.most;
  Softmax hi = less ? b : a, lo = less ? a : b;
  return Softmax{hi.most, lo.sum * ex2(lo.most - hi.most) + hi.sum};
}

DEVICE Softmax warp_joined(Softmax s) {
  for (int o = 16; o > 0; o >>= 1) s = joined(s, Softmax{__shfl_xor_sync(FULL, s.most, o), __shfl_xor_sync(FULL, s.sum, o)});
  return s;
}

// block_joined gives every thread the result; room holds one for each of 32 warps, and nothing else until the block ends.
DEVICE Softmax block_joined(Softmax s, unsigned char *room) {
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  Softmax *all = (Softmax *)room;
  s = warp_joined(s);
  if (lane == 0) all[warp] = s;
  __syncthreads();
  return warp_joined(lane < warps ? all[lane] : Softmax{least, 0});
}

// A thread takes TAKEN columns of a row a round, in packs of V; a round of a block is neighbouring columns.
const int TAKEN = 16;
template <int V> DEVICE int column(int round, int j) { return ((round * (TAKEN / V) + j / V) * (int)blockDim.x + (int)threadIdx.x) * V + j % V; }

// columns reads those of a round; from count on they are -infinity.
template <class X, int V> DEVICE void columns(float *x, const X *row, int round, int count) {
  bool whole = (round + 1) * TAKEN * (int)blockDim.x <= count;
  if (whole) {
    Pack<X, V> p[TAKEN / V];
#pragma unroll
    for (int j = 0; j < TAKEN; j += V) p[j / V] = load<V>(row + column<V>(round, j));
#pragma unroll
    for (int j = 0; j < TAKEN; j++) x[j] = widen(p[j / V].v[j % V]);
    return;
  }
#pragma unroll
  for (int j = 0; j < TAKEN; j += V) {
    Pack<X, V> p;
    bool any = column<V>(round, j) < count;
    if (any) p = load<V>(row + column<V>(round, j));
#pragma unroll
    for (int k = 0; k < V; k++) x[j + k] = any && column<V>(round, j + k) < count ? widen(p.v[k]) : -INFINITY;
  }
}

// softmax is over the columns of a thread.
template <class X, int V> DEVICE Softmax softmax(const X *row, int count) {
  Softmax s = {least, 0};
  for (int round = 0; round * TAKEN * (int)blockDim.x < count; round++) {
    float x[TAKEN];
    columns<X, V>(x, row, round, count);
    float most = x[0];
#pragma unroll
    for (int j = 1; j < TAKEN; j++) most = fmaxf(most, x[j]);
    most = fmaxf(s.most, most * log2_e);
    float sum = s.sum * ex2(s.most - most);
#pragma unroll
    for (int j = 0; j < TAKEN; j++) sum += ex2(x[j] * log2_e - most);
    s = Softmax{most, sum};
  }
  return s;
}

DEVICE float log_sum_exp(Softmax s) { return s.most * ln_2 + logf(s.sum); }

// gradient writes 2^(x log2 e - most) scale - [c = target] g, rounded to T, to columns c < ld; x holds the columns of round
// 0. It may write where it reads. Columns of a narrower type lie before those that they are made of: round r overwrites what
// round r/2 read. So a barrier is needed in rounds 2, 6, 14 ... alone, if one lies between the reading of round 0 and the
// call.
template <class T, class X, int V>
DEVICE void gradient(int ld, T *to, float *x, const X *row, int count, float most, float scale, int target, float g) {
  int safe = 1; // the last round that may be written without another barrier
  for (int round = 0;;) {
#pragma unroll
    for (int j = 0; j < TAKEN; j += V) {
      int c = column<V>(round, j);
      if (c >= ld) continue;
      Pack<T, V> d;
#pragma unroll
      for (int k = 0; k < V; k++) d.v[k] = narrow<T>(ex2(x[j + k] * log2_e - most) * scale - (c + k == target ? g : 0));
      put(to + c, d);
    }
    if (++round * TAKEN * (int)blockDim.x >= ld) return;
    columns<X, V>(x, row, round, count);
    if (sizeof(T) < sizeof(X) && round > safe) {
      __syncthreads();
      safe = 2 * round + 1;
    }
  }
}

// nll = lse - x[target].
template <class T, int V> DEVICE void cross_entropy(int cols, int ld, float *nll, float *lse, const T *x, const int *targets) {
  SHARED(room);
  const T *row = x + (int64_t)blockIdx.x * ld;
  float l = log_sum_exp(block_joined(softmax<T, V>(row, cols), room));
  if (threadIdx.x == 0) {
    int t = targets[blockIdx.x];
    lse[blockIdx.x] = l;
    nll[blockIdx.x] = t < 0 ? 0 : l - widen(row[t]);
  }
}

// dx = (exp(x - lse) - [c = target]) dnll.
template <class T, int V> DEVICE void cross_entropy_grad(int cols, int ld, T *dx, const float *dnll, const T *x, const int *targets, const float *lse) {
  int64_t at = (int64_t)blockIdx.x * ld;
  int t = targets[blockIdx.x], count = t < 0 ? 0 : cols;
  float g = t < 0 ? 0 : dnll[blockIdx.x], first[TAKEN];
  columns<T, V>(first, x + at, 0, count);
  gradient<T, T, V>(ld, dx + at, first, x + at, count, lse[blockIdx.x] * log2_e, g, t, g);
}

// The loss of a row of fp32 logits, which become their gradient where they lie, rounded to T.
template <class T, int V> DEVICE void logits_grad(int cols, int ld, float *nll, float *x, const float *dnll, const int *targets) {
  SHARED(room);
  float *row = x + (int64_t)blockIdx.x * ld, first[TAKEN];
  int t = targets[blockIdx.x], count = t < 0 ? 0 : cols;
  Softmax part = softmax<float, V>(row, count);
  float g = t < 0 ? 0 : dnll[blockIdx.x], hit = t < 0 ? 0 : row[t];
  columns<float, V>(first, row, 0, count);
  Softmax all = block_joined(part, room);
  if (threadIdx.x == 0) nll[blockIdx.x] = t < 0 ? 0 : log_sum_exp(all) - hit;
  gradient<T, float, V>(ld, (T *)row, first, row, count, all.most, t < 0 ? 0 : g / all.sum, t, g);
}

// nll as above; greedy is 1 where the target is the first of the greatest logits, else 0.
template <class T, int V> DEVICE void score(int cols, int ld, float *nll, float *greedy, const T *x, const int *targets) {
  SHARED(room);
  const T *row = x + (int64_t)blockIdx.x * ld;
  int t = targets[blockIdx.x], count = t < 0 ? 0 : cols;
  Softmax part = softmax<T, V>(row, count);
  float hit = t < 0 ? 0 : widen(row[t]);
  bool beaten = t < 0;
  for (int round = 0; round * TAKEN * (int)blockDim.x < count; round++) {
    float y[TAKEN];
    columns<T, V>(y, row, round, count);
#pragma unroll
    for (int j = 0; j < TAKEN; j++) beaten = beaten || y[j] > hit || (y[j] == hit && column<V>(round, j) < t);
  }
  float l = log_sum_exp(block_joined(part, room));
  beaten = __syncthreads_or(beaten);
  if (threadIdx.x == 0) {
    nll[blockIdx.x] = t < 0 ? 0 : l - hit;
    greedy[blockIdx.x] = beaten ? 0 : 1;
  }
}

// Rows are read in packs of 16 bytes where each begins at a multiple of 16, else one element at a time.
#define IN_PACKS(KERNEL, T, X, ...) \
  if (Rows<const X>{x, ld}.packed(Pack<X>::N)) KERNEL<T, Pack<X>::N>(__VA_ARGS__); \
  else KERNEL<T, 1>(__VA_ARGS__)

#define CROSS_ENTROPY(S, T) EXPORT(cross_entropy_##S, (int cols, int ld, float *nll, float *lse, const T *x, const int *targets), \
  IN_PACKS(cross_entropy, T, T, cols, ld, nll, lse, x, targets))
EACH_TYPE(CROSS_ENTROPY)
#define CROSS_ENTROPY_GRAD(S, T) EXPORT(cross_entropy_grad_##S, (int cols, int ld, T *dx, const float *dnll, const T *x, const int *targets, const float *lse), \
  IN_PACKS(cross_entropy_grad, T, T, cols, ld, dx, dnll, x, targets, lse))
EACH_TYPE(CROSS_ENTROPY_GRAD)
#define LOGITS_GRAD(S, T) EXPORT(logits_grad_##S, (int cols, int ld, float *nll, float *x, const float *dnll, const int *targets), \
  IN_PACKS(logits_grad, T, float, cols, ld, nll, x, dnll, targets))
EACH_TYPE(LOGITS_GRAD)
EXPORT(score_f32, (int cols, int ld, float *nll, float *greedy, const float *x, const int *targets),
       IN_PACKS(score, float, float, cols, ld, nll, greedy, x, targets))
