// Attention in tiles, forward (Dao et al. 2022, FlashAttention, alg. 1) and backward (alg. 4): causal, grouped
// queries, document mask; memory beside the operands is one float a query.
//
// Operands are [batch, seq, heads·d]. A block has 4 warps, each 16 rows of its tile; a head's d channels
// are padded with zeros to D in shared memory. Products of bf16 tiles run on the tensor cores, those of
// floats in fp32, in the same fragments: lane l of a warp holds rows l/4 and l/4+8, columns 2(l%4) and
// the next of each 8 columns.
#include "common.cuh"

#define WARPS 4
#define ROWS 64 // of the tile that a block owns: queries forward, keys or queries backward

template <class T, int D> struct Tile {
  static const int LD = D + 16 / sizeof(T);              // padded: the rows of a fragment lie in different banks
  static const int STEP = sizeof(T) == sizeof(float) ? 16 : 32; // rows of the tiles a block goes through; fp32's fit 99 KiB
};

DEVICE int lane() { return threadIdx.x & 31; }

// acc[16, 8 NT] += A Bᵀ for A [16, D] and B [8 NT, D], both rows of LD elements.
template <int NT, int D, int LD> DEVICE void product_nt(float (*acc)[4], const bf16 *a, const bf16 *b) {
  int l = lane();
#pragma unroll
  for (int k = 0; k < D; k += 16) {
    uint32_t x[4], y[4];
    ldmatrix(x, a + l % 16 * LD + k + l / 16 * 8);
#pragma unroll
    for (int n = 0; n < NT; n += 2) {
      ldmatrix(y, b + (n * 8 + l % 8 + l / 16 * 8) * LD + k + l / 8 % 2 * 8);
      mma(acc[n], x, y);
      mma(acc[n + 1], x, y + 2);
    }
  }
}

template <int NT, int D, int LD> DEVICE void product_nt(float (*acc)[4], const float *a, const float *b) {
  int g = lane() / 4, t = lane() % 4;
#pragma unroll
  for (int n = 0; n < NT; n++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const float *x = a + (g + j / 2 * 8) * LD, *y = b + (n * 8 + 2 * t + j % 2) * LD;
      float s = 0;
      for (int k = 0; k < D; k++) s += x[k] * y[k];
      acc[n][j] += s;
    }
}

// acc[16, 8 NT] += P B for P [16, 8 KT] in fragments and B [8 KT, 8 NT] in rows of LD elements.
template <int KT, int NT, int LD> DEVICE void product_pn(float (*acc)[4], const float (*p)[4], const bf16 *b) {
  int l = lane();
#pragma unroll
  for (int k = 0; k < KT; k += 2) {
    uint32_t x[4] = {pair(p[k][0], p[k][1]), pair(p[k][2], p[k][3]), pair(p[k + 1][0], p[k + 1][1]), pair(p[k + 1][2], p[k + 1][3])};
#pragma unroll
    for (int n = 0; n < NT; n += 2) {
      uint32_t y[4];
      ldmatrix_trans(y, b + (k * 8 + l % 16) * LD + n * 8 + l / 16 * 8);
      mma(acc[n], x, y);
      mma(acc[n + 1], x, y + 2);
    }
  }
}

template <int KT, int NT, int LD> DEVICE void product_pn(float (*acc)[4], const float (*p)[4], const float *b) {
  int l = lane(), t = l % 4;
#pragma unroll
  for (int k = 0; k < KT; k++)
#pragma unroll 1
    for (int i = 0; i < 8; i++) {
      int owner = (l & ~3) | i / 2;
      float lo = __shfl_sync(FULL, i & 1 ? p[k][1] : p[k][0], owner), hi = __shfl_sync(FULL, i & 1 ? p[k][3] : p[k][2], owner);
#pragma unroll
      for (int n = 0; n < NT; n++) {
        const float *y = b + (k * 8 + i) * LD + n * 8 + 2 * t;
        acc[n][0] += lo * y[0], acc[n][1] += lo * y[1];
        acc[n][2] += hi * y[0], acc[n][3] += hi * y[1];
      }
    }
}

// fetch fills rows of a tile in shared memory from rows first, first+1 ... of a head, ld elements apart;
// what lies beyond the sequence or the head's d channels is zero.
template <class T, int D> DEVICE void fetch(T *to, int rows, const T *head, int64_t ld, int first, int seq, int d) {
  const int N = Pack<T>::N, LD = Tile<T, D>::LD;
  bool wide = d % N == 0 && ld % N == 0 && aligned(head);
  for (int i = threadIdx.x; i < rows * (D / N); i += WARPS * 32) {
    int r = i / (D / N), c = i % (D / N) * N;
    Pack<T> x;
    x.u = make_uint4(0, 0, 0, 0);
    if (first + r < seq && c < d) {
      const T *from = head + (int64_t)(first + r) * ld + c;
      if (wide) {
        x = load(from);
      } else {
#pragma unroll
        for (int j = 0; j < N; j++)
          if (c + j < d) x.v[j] = from[j];
      }
    }
    store(to + r * LD + c, x);
  }
}

// put stores a warp's fragments, times factors of its two rows.
template <class T, int NT> DEVICE void put(T *head, int64_t ld, int row, int seq, int d, const float (*acc)[4], float lo, float hi) {
  int g = lane() / 4, t = lane() % 4;
#pragma unroll
  for (int n = 0; n < NT; n++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int r = row + g + j / 2 * 8, c = n * 8 + 2 * t + j % 2;
      if (r < seq && c < d) head[(int64_t)r * ld + c] = narrow<T>(acc[n][j] * (j < 2 ? lo : hi));
    }
}

template <int NT> DEVICE void clear(float (*acc)[4]) {
#pragma unroll
  for (int n = 0; n < NT; n++)
#pragma unroll
    for (int j = 0; j < 4; j++) acc[n][j] = 0;
}

// Reductions over the 4 lanes that share a row.
DEVICE float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(FULL, x, 1));
  return fmaxf(x, __shfl_xor_sync(FULL, x, 2));
}
DEVICE float quad_sum(float x) {
  x += __shfl_xor_sync(FULL, x, 1);
  return x + __shfl_xor_sync(FULL, x, 2);
}

#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f

struct Shape {
  int seq, heads, kv_heads, d;
};

// Heads is a tensor [batch, seq, heads·d] whose rows begin ld elements apart.
template <class T> struct Heads {
  T *at;
  int64_t ld;
  __device__ T *head(const Shape &s, int b, int h) const { return at + (int64_t)b * s.seq * ld + h * s.d; }
};

// Forward: a block a tile of queries of one head; scores are kept in units of log 2.
template <class T, int D> DEVICE void attention(Shape s, float scale, Heads<T> o, float *lse, Heads<const T> q, Heads<const T> k, Heads<const T> v, const int *seg) {
  SHARED(room);
  const int LD = Tile<T, D>::LD, STEP = Tile<T, D>::STEP, NT = STEP / 8, DT = D / 8;
  T *qs = (T *)room, *ks = qs + ROWS * LD, *vs = ks + STEP * LD;
  int *segs = (int *)(vs + STEP * LD);
  int tile = (gridDim.x - 1 - blockIdx.x) * ROWS, h = blockIdx.y, b = blockIdx.z; // the longest rows first
  int kv = h / (s.heads / s.kv_heads);
  lse += ((int64_t)b * s.heads + h) * s.seq;
  if (seg) seg += (int64_t)b * s.seq;

  int warp = threadIdx.x / 32, g = lane() / 4, t = lane() % 4;
  int row = tile + warp * 16, r0 = row + g, r1 = r0 + 8;
  int doc0 = seg && r0 < s.seq ? seg[r0] : 0, doc1 = seg && r1 < s.seq ? seg[r1] : 0;
  fetch<T, D>(qs, ROWS, q.head(s, b, h), q.ld, tile, s.seq, s.d);

  float acc[DT][4], m0 = -INFINITY, m1 = -INFINITY, sum0 = 0, sum1 = 0;
  clear<DT>(acc);
  int end = tile + ROWS < s.seq ? tile + ROWS : s.seq;
  for (int at = 0; at < end; at += STEP) {
    __syncthreads();
    fetch<T, D>(ks, STEP, k.head(s, b, kv), k.ld, at, s.seq, s.d);
    fetch<T, D>(vs, STEP, v.head(s, b, kv), v.ld, at, s.seq, s.d);
    if (seg && threadIdx.x < STEP) segs[threadIdx.x] = at + (int)threadIdx.x < s.seq ? seg[at + threadIdx.x] : 0;
    __syncthreads();
    if (at > row + 15) continue; // all of it lies behind the warp's queries
    float p[NT][4];
    clear<NT>(p);
    product_nt<NT, D, LD>(p, qs + warp * 16 * LD, ks);
    float n0 = m0, n1 = m1;
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        int c = n * 8 + 2 * t + j % 2, r = j < 2 ? r0 : r1;
        bool seen = at + c <= r && (!seg || segs[c] == (j < 2 ? doc0 : doc1));
        p[n][j] = seen ? p[n][j] * (scale * LOG2E) : -INFINITY;
        if (j < 2) n0 = fmaxf(n0, p[n][j]);
        else n1 = fmaxf(n1, p[n][j]);
      }
    n0 = quad_max(n0), n1 = quad_max(n1);
    float u0 = n0 == -INFINITY ? 0 : n0, u1 = n1 == -INFINITY ? 0 : n1; // nothing seen yet
    float f0 = exp2f(m0 - u0), f1 = exp2f(m1 - u1);
    m0 = n0, m1 = n1;
    float s0 = 0, s1 = 0;
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        p[n][j] = exp2f(p[n][j] - (j < 2 ? u0 : u1));
        if (j < 2) s0 += p[n][j];
        else s1 += p[n][j];
      }
    sum0 = sum0 * f0 + quad_sum(s0), sum1 = sum1 * f1 + quad_sum(s1);
#pragma unroll
    for (int n = 0; n < DT; n++) acc[n][0] *= f0, acc[n][1] *= f0, acc[n][2] *= f1, acc[n][3] *= f1;
    product_pn<NT, DT, LD>(acc, p, vs);
  }
  put<T, DT>(o.head(s, b, h), o.ld, row, s.seq, s.d, acc, 1 / sum0, 1 / sum1);
  if (t == 0) {
    if (r0 < s.seq) lse[r0] = m0 * LN2 + logf(sum0);
    if (r1 < s.seq) lse[r1] = m1 * LN2 + logf(sum1);
  }
}

// delta[b,h,i] = do[i]·o[i], a warp a query and head.
template <class T> DEVICE void attention_delta(int64_t n, Shape s, float *delta, Heads<const T> grad, Heads<const T> o) {
  int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / 32; // of [batch, seq, heads]
  if (i >= n) return;
  int64_t h = i % s.heads, r = i / s.heads;
  const T *g = grad.at + r * grad.ld + h * s.d, *y = o.at + r * o.ld + h * s.d;
  float x = 0;
  for (int c = lane(); c < s.d; c += 32) x += widen(g[c]) * widen(y[c]);
  x = warp_reduce<Sum>(x);
  if (lane() == 0) delta[(r / s.seq * s.heads + h) * s.seq + r % s.seq] = x;
}

// dk and dv: a block a tile of keys of one key-value head. It goes through all queries that see them, of
// every head of the group, so that no sum is shared between blocks. Scores are transposed: rows are keys.
template <class T, int D>
DEVICE void attention_grad_kv(Shape s, float scale, Heads<T> dk, Heads<T> dv, Heads<const T> grad, Heads<const T> q, Heads<const T> k, Heads<const T> v, const float *lse, const float *delta, const int *seg) {
  SHARED(room);
  const int LD = Tile<T, D>::LD, STEP = Tile<T, D>::STEP, NT = STEP / 8, DT = D / 8;
  T *ks = (T *)room, *vs = ks + ROWS * LD, *qs = vs + ROWS * LD, *gs = qs + STEP * LD;
  float *ls = (float *)(gs + STEP * LD), *ds = ls + STEP;
  int *segs = (int *)(ds + STEP);
  int tile = blockIdx.x * ROWS, kv = blockIdx.y, b = blockIdx.z, group = s.heads / s.kv_heads;
  if (seg) seg += (int64_t)b * s.seq;

  int warp = threadIdx.x / 32, g = lane() / 4, t = lane() % 4;
  int row = tile + warp * 16, r0 = row + g, r1 = r0 + 8;
  int doc0 = seg && r0 < s.seq ? seg[r0] : 0, doc1 = seg && r1 < s.seq ? seg[r1] : 0;
  fetch<T, D>(ks, ROWS, k.head(s, b, kv), k.ld, tile, s.seq, s.d);
  fetch<T, D>(vs, ROWS, v.head(s, b, kv), v.ld, tile, s.seq, s.d);
  float accK[DT][4], accV[DT][4];
  clear<DT>(accK);
  clear<DT>(accV);
  for (int h = kv * group; h < (kv + 1) * group; h++) {
    int64_t lat = ((int64_t)b * s.heads + h) * s.seq;
    for (int at = tile / STEP * STEP; at < s.seq; at += STEP) {
      __syncthreads();
      fetch<T, D>(qs, STEP, q.head(s, b, h), q.ld, at, s.seq, s.d);
      fetch<T, D>(gs, STEP, grad.head(s, b, h), grad.ld, at, s.seq, s.d);
      if (threadIdx.x < STEP) {
        int r = at + threadIdx.x;
        ls[threadIdx.x] = r < s.seq ? lse[lat + r] * LOG2E : 0;
        ds[threadIdx.x] = r < s.seq ? delta[lat + r] : 0;
        segs[threadIdx.x] = seg && r < s.seq ? seg[r] : 0;
      }
      __syncthreads();
      if (at + STEP - 1 < row) continue; // all of its queries come before the warp's keys
      float p[NT][4], dp[NT][4];
      clear<NT>(p);
      clear<NT>(dp);
      product_nt<NT, D, LD>(p, ks + warp * 16 * LD, qs);
      product_nt<NT, D, LD>(dp, vs + warp * 16 * LD, gs);
#pragma unroll
      for (int n = 0; n < NT; n++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
          int c = n * 8 + 2 * t + j % 2, r = j < 2 ? r0 : r1;
          bool seen = r <= at + c && at + c < s.seq && (!seg || segs[c] == (j < 2 ? doc0 : doc1));
          p[n][j] = seen ? exp2f(p[n][j] * (scale * LOG2E) - ls[c]) : 0;
          dp[n][j] = p[n][j] * (dp[n][j] - ds[c]);
        }
      product_pn<NT, DT, LD>(accV, p, gs);
      product_pn<NT, DT, LD>(accK, dp, qs);
    }
  }
  put<T, DT>(dk.head(s, b, kv), dk.ld, row, s.seq, s.d, accK, scale, scale);
  put<T, DT>(dv.head(s, b, kv), dv.ld, row, s.seq, s.d, accV, 1, 1);
}

// dq: a block a tile of queries of one head.
template <class T, int D>
DEVICE void attention_grad_q(Shape s, float scale, Heads<T> dq, Heads<const T> grad, Heads<const T> q, Heads<const T> k, Heads<const T> v, const float *lse, const float *delta, const int *seg) {
  SHARED(room);
  const int LD = Tile<T, D>::LD, STEP = Tile<T, D>::STEP, NT = STEP / 8, DT = D / 8;
  T *qs = (T *)room, *gs = qs + ROWS * LD, *ks = gs + ROWS * LD, *vs = ks + STEP * LD;
  int *segs = (int *)(vs + STEP * LD);
  int tile = (gridDim.x - 1 - blockIdx.x) * ROWS, h = blockIdx.y, b = blockIdx.z;
  int kv = h / (s.heads / s.kv_heads);
  int64_t lat = ((int64_t)b * s.heads + h) * s.seq;
  if (seg) seg += (int64_t)b * s.seq;

  int warp = threadIdx.x / 32, g = lane() / 4, t = lane() % 4;
  int row = tile + warp * 16, r0 = row + g, r1 = r0 + 8;
  int doc0 = seg && r0 < s.seq ? seg[r0] : 0, doc1 = seg && r1 < s.seq ? seg[r1] : 0;
  float l0 = r0 < s.seq ? lse[lat + r0] * LOG2E : 0, l1 = r1 < s.seq ? lse[lat + r1] * LOG2E : 0;
  float d0 = r0 < s.seq ? delta[lat + r0] : 0, d1 = r1 < s.seq ? delta[lat + r1] : 0;
  fetch<T, D>(qs, ROWS, q.head(s, b, h), q.ld, tile, s.seq, s.d);
  fetch<T, D>(gs, ROWS, grad.head(s, b, h), grad.ld, tile, s.seq, s.d);
  float acc[DT][4];
  clear<DT>(acc);
  int end = tile + ROWS < s.seq ? tile + ROWS : s.seq;
  for (int at = 0; at < end; at += STEP) {
    __syncthreads();
    fetch<T, D>(ks, STEP, k.head(s, b, kv), k.ld, at, s.seq, s.d);
    fetch<T, D>(vs, STEP, v.head(s, b, kv), v.ld, at, s.seq, s.d);
    if (seg && threadIdx.x < STEP) segs[threadIdx.x] = at + (int)threadIdx.x < s.seq ? seg[at + threadIdx.x] : 0;
    __syncthreads();
    if (at > row + 15) continue;
    float p[NT][4], dp[NT][4];
    clear<NT>(p);
    clear<NT>(dp);
    product_nt<NT, D, LD>(p, qs + warp * 16 * LD, ks);
    product_nt<NT, D, LD>(dp, gs + warp * 16 * LD, vs);
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        int c = n * 8 + 2 * t + j % 2, r = j < 2 ? r0 : r1;
        bool seen = at + c <= r && (!seg || segs[c] == (j < 2 ? doc0 : doc1));
        float x = seen ? exp2f(p[n][j] * (scale * LOG2E) - (j < 2 ? l0 : l1)) : 0;
        p[n][j] = x * (dp[n][j] - (j < 2 ? d0 : d1));
      }
    product_pn<NT, DT, LD>(acc, p, ks);
  }
  put<T, DT>(dq.head(s, b, h), dq.ld, row, s.seq, s.d, acc, scale, scale);
}

#define ATTENTION(S, T, D) \
  EXPORT(attention_##S##_d##D, (Shape s, float scale, Heads<T> o, float *lse, Heads<const T> q, Heads<const T> k, Heads<const T> v, const int *seg), \
         attention<T, D>(s, scale, o, lse, q, k, v, seg)) \
  EXPORT(attention_grad_kv_##S##_d##D, (Shape s, float scale, Heads<T> dk, Heads<T> dv, Heads<const T> grad, Heads<const T> q, Heads<const T> k, Heads<const T> v, const float *lse, const float *delta, const int *seg), \
         attention_grad_kv<T, D>(s, scale, dk, dv, grad, q, k, v, lse, delta, seg)) \
  EXPORT(attention_grad_q_##S##_d##D, (Shape s, float scale, Heads<T> dq, Heads<const T> grad, Heads<const T> q, Heads<const T> k, Heads<const T> v, const float *lse, const float *delta, const int *seg), \
         attention_grad_q<T, D>(s, scale, dq, grad, q, k, v, lse, delta, seg))
#define EACH_HEAD(S, T) ATTENTION(S, T, 16) ATTENTION(S, T, 32) ATTENTION(S, T, 64) ATTENTION(S, T, 128)
EACH_TYPE(EACH_HEAD)

#define DELTA(S, T) EXPORT(attention_delta_##S, (int64_t n, Shape s, float *delta, Heads<const T> grad, Heads<const T> o), attention_delta(n, s, delta, grad, o))
EACH_TYPE(DELTA)
