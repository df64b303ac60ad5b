// Attention in tiles, forward (Dao et al. 2022, FlashAttention, alg. 1) and backward (alg. 4): causal, grouped
// queries, document mask; memory beside the operands is one float a query.
//
// Operands are [batch, seq, heads·d]. A block owns a tile of rows, each of its 4 warps M times 16 of them, and goes through
// tiles of STEP rows of the other operands; while it works on one, the next is copied to shared memory. A head's d
// channels are padded with zeros to D there. Products of bf16 tiles run on the tensor cores, those of floats in fp32, in
// the same fragments: lane l of a warp holds rows l/4 and l/4+8, columns 2(l%4) and the next of each 8 columns.
//
// Documents are runs of equal ids in seg: tiles without a pair of one document are skipped, and only tiles that are cut by the
// diagonal or by a border of documents are masked.
#include "common.cuh"

#define WARPS 4
#define THREADS (WARPS * 32)

// Tile is how rows of D channels lie in shared memory, so that the 8 rows of a fragment are in different banks: those of
// floats are padded, those of bf16 have their pieces of 8 channels in another order, by an exclusive or.
template <class T, int D> struct Tile {
  static const int LD = D + 4;
  static __device__ int at(int row, int col) { return row * LD + col; }
};
template <int D> struct Tile<bf16, D> {
  static const int LD = D, PIECES = D / 8 < 8 ? D / 8 : 8;
  static __device__ int at(int row, int col) { return row * LD + (col ^ row / (8 / PIECES) % PIECES * 8); }
  // The shared_address of an element of a tile; k columns further, a multiple of 16, is at address ^ 2 k.
  static __device__ uint32_t address(const bf16 *tile, int row, int col) { return shared_address(tile) + at(row, col) * 2; }
};

// How the kernels cut their work: M and STEP as above; SUB are the rows of a step that the backward kernels work on at once,
// HELD says whether what a warp owns stays in registers. All that a block holds is at most 99 KiB.
template <class T, int D> struct Forward {
  static const int M = 1, STEP = 16;
  static const bool HELD = false;
};
template <class T, int D> struct GradQ {
  static const int M = 1, STEP = D < 128 ? 16 : 8, SUB = STEP;
  static const bool HELD = false;
};
template <class T, int D> struct GradKV : GradQ<T, D> {};
template <int D> struct Forward<bf16, D> {
  static const int M = 2, STEP = D < 128 ? 64 : 32;
  static const bool HELD = D < 128;
};
template <int D> struct GradQ<bf16, D> {
  static const int M = 2, STEP = D < 128 ? 64 : 32, SUB = 32;
  static const bool HELD = D < 128;
};
template <int D> struct GradKV<bf16, D> {
  static const int M = D < 128 ? 2 : 1, STEP = D < 128 ? 64 : 32, SUB = 32;
  static const bool HELD = D >= 128; // of k, not of v
};

DEVICE int lane() { return threadIdx.x & 31; }
// The same for all lanes, as the compiler sees.
DEVICE int warp() { return __shfl_sync(FULL, (int)threadIdx.x / 32, 0); }

// Left is the left operand of products: 16 M rows of D elements in shared memory, or in registers where HELD.
template <class T, int M, int D, bool HELD> struct Left {
  const T *rows;
  __device__ Left(const T *rows) : rows(rows) {}
  __device__ void fragment(uint32_t *x, int i, int k) const {
    ldmatrix(x, (Tile<T, D>::address(rows, lane() % 16, lane() / 16 * 8) ^ k * 2) + i * 16 * D * 2);
  }
};
template <class T, int M, int D> struct Left<T, M, D, true> {
  uint32_t held[M][D / 16][4];
  __device__ Left(const T *rows) {
    Left<T, M, D, false> left(rows);
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
      for (int k = 0; k < D; k += 16) left.fragment(held[i][k / 16], i, k);
  }
  __device__ void fragment(uint32_t *x, int i, int k) const {
#pragma unroll
    for (int j = 0; j < 4; j++) x[j] = held[i][k / 16][j];
  }
};

// acc[16 M, 8 NT] += A Bᵀ for A [16 M, D] and B [8 NT, D], a tile in shared memory.
template <int M, int NT, int D, bool HELD> DEVICE void product_nt(float (*acc)[NT][4], const Left<bf16, M, D, HELD> &a, const bf16 *b) {
  uint32_t at = Tile<bf16, D>::address(b, lane() % 8 + lane() / 16 * 8, lane() / 8 % 2 * 8);
#pragma unroll
  for (int k = 0; k < D; k += 16) {
    uint32_t x[M][4], y[4];
#pragma unroll
    for (int i = 0; i < M; i++) a.fragment(x[i], i, k);
#pragma unroll
    for (int n = 0; n < NT; n += 2) {
      ldmatrix(y, (at ^ k * 2) + n * 8 * D * 2);
#pragma unroll
      for (int i = 0; i < M; i++) {
        mma(acc[i][n], x[i], y);
        mma(acc[i][n + 1], x[i], y + 2);
      }
    }
  }
}

template <int M, int NT, int D, bool HELD> DEVICE void product_nt(float (*acc)[NT][4], const Left<float, M, D, HELD> &a, const float *b) {
  int g = lane() / 4, t = lane() % 4;
#pragma unroll 4
  for (int k = 0; k < D; k++)
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
      for (int n = 0; n < NT; n++)
#pragma unroll
        for (int j = 0; j < 4; j++)
          acc[i][n][j] += a.rows[Tile<float, D>::at(i * 16 + g + j / 2 * 8, k)] * b[Tile<float, D>::at(n * 8 + 2 * t + j % 2, k)];
}

// Weights [16 M, 8 KT] are a left operand made in registers, from scores.
template <class T, int M, int KT> struct Weights {
  float p[M][KT][4];
  // Columns 2(l%4) and the next of piece n of the rows l/4 + 8 h of tile i.
  __device__ void set(int i, int n, int h, float lo, float hi) { p[i][n][2 * h] = lo, p[i][n][2 * h + 1] = hi; }
};
template <int M, int KT> struct Weights<bf16, M, KT> {
  uint32_t p[M][(KT + 1) / 2][4];
  __device__ void set(int i, int n, int h, float lo, float hi) { p[i][n / 2][n % 2 * 2 + h] = pair(lo, hi); }
};

// acc[16 M, D] += P B for B [8 KT, D], a tile in shared memory.
template <int M, int KT, int D> DEVICE void product_pn(float (*acc)[D / 8][4], const Weights<bf16, M, KT> &w, const bf16 *b) {
  uint32_t at = Tile<bf16, D>::address(b, lane() % 16, lane() / 16 * 8);
#pragma unroll
  for (int k = 0; k < KT; k += 2)
#pragma unroll
    for (int n = 0; n < D / 8; n += 2) {
      uint32_t y[4];
      ldmatrix_trans(y, (at ^ n * 16) + k * 16 * D);
#pragma unroll
      for (int i = 0; i < M; i++) {
        mma(acc[i][n], w.p[i][k / 2], y);
        mma(acc[i][n + 1], w.p[i][k / 2], y + 2);
      }
    }
}

template <int M, int KT, int D> DEVICE void product_pn(float (*acc)[D / 8][4], const Weights<float, M, KT> &w, const float *b) {
  int l = lane(), t = l % 4;
#pragma unroll
  for (int i = 0; i < M; i++)
#pragma unroll
    for (int k = 0; k < KT; k++)
#pragma unroll 1
      for (int r = 0; r < 8; r++) {
        const float *p = w.p[i][k];
        int owner = (l & ~3) | r / 2;
        float lo = __shfl_sync(FULL, r & 1 ? p[1] : p[0], owner), hi = __shfl_sync(FULL, r & 1 ? p[3] : p[2], owner);
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
          const float *y = b + Tile<float, D>::at(k * 8 + r, n * 8 + 2 * t);
          acc[i][n][0] += lo * y[0], acc[i][n][1] += lo * y[1];
          acc[i][n][2] += hi * y[0], acc[i][n][3] += hi * y[1];
        }
      }
}

struct Shape {
  int seq, heads, kv_heads, d;
};

// Heads is a tensor [batch, seq, heads·d] whose rows begin ld elements apart; Head is one head of one sequence.
template <class T> struct Head {
  T *at;
  int64_t ld;
};
template <class T> struct Heads {
  T *at;
  int64_t ld;
  __device__ Head<T> head(const Shape &s, int b, int h) const { return {at + (int64_t)b * s.seq * ld + h * s.d, ld}; }
  // Whether pieces of 16 bytes of each head's rows are aligned.
  __device__ bool wide(const Shape &s) const { return s.d % Pack<T>::N == 0 && ld % Pack<T>::N == 0 && aligned(at); }
};

// fetch starts to fill a tile in shared memory with ROWS rows of a head from row first on; what lies beyond the sequence or
// the head's d channels is zero. A tile that is not of wide heads is filled at once.
template <int ROWS, int D, class T> DEVICE void fetch(T *to, Head<const T> from, bool wide, int first, const Shape &s) {
  if (wide) {
    const int N = Pack<T>::N, PIECES = D / N, AT_ONCE = THREADS / PIECES; // rows: of bf16 a multiple of 8, whose pieces have the same order
    int r = threadIdx.x / PIECES, c = threadIdx.x % PIECES * N, left = c < s.d ? s.seq - first - r : 0;
    const T *x = from.at + (first + r) * from.ld + c;
    T *y = to + Tile<T, D>::at(r, c);
#pragma unroll
    for (int j = 0; j < ROWS; j += AT_ONCE)
      if (AT_ONCE <= ROWS || r < ROWS) copy_async<16>(y + j * Tile<T, D>::LD, x + j * from.ld, j < left ? 16 : 0);
  } else {
#pragma unroll 1
    for (int i = threadIdx.x; i < ROWS * D; i += THREADS) {
      int r = i / D, c = i % D;
      to[Tile<T, D>::at(r, c)] = first + r < s.seq && c < s.d ? from.at[(first + r) * from.ld + c] : T{};
    }
  }
}

// fetch_column starts to fill ROWS places, at most THREADS, with a number a row, zero beyond the sequence.
template <int ROWS, class V> DEVICE void fetch_column(V *to, const V *from, int first, int seq) {
  int r = threadIdx.x;
  if (r < ROWS) copy_async<4>(to + r, from + first + r, first + r < seq ? 4 : 0);
}

// put stores a warp's fragments, times a factor a row.
template <int M, int D, class T> DEVICE void put(Head<T> to, int row, const Shape &s, const float (*acc)[D / 8][4], const float (*factor)[2]) {
  bool paired = s.d == D && to.ld % 2 == 0 && (uintptr)to.at % (2 * sizeof(T)) == 0;
#pragma unroll
  for (int i = 0; i < M; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      int r = row + i * 16 + lane() / 4 + h * 8, t = lane() % 4 * 2;
      if (r >= s.seq) continue;
      T *y = to.at + r * to.ld + t;
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
        float lo = acc[i][n][2 * h] * factor[i][h], hi = acc[i][n][2 * h + 1] * factor[i][h];
        if (paired) {
          store_pair(y + n * 8, lo, hi);
        } else {
          if (n * 8 + t < s.d) y[n * 8] = narrow<T>(lo);
          if (n * 8 + t + 1 < s.d) y[n * 8 + 1] = narrow<T>(hi);
        }
      }
    }
}

template <int M, int NT> DEVICE void fill(float (*acc)[NT][4], float x) {
#pragma unroll
  for (int i = 0; i < M; i++)
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
      for (int j = 0; j < 4; j++) acc[i][n][j] = x;
}

// mask makes scores -∞ of pairs that may not see each other: seen(row, column) is false, or their documents differ, where
// there are documents.
template <int M, int NT, class F> DEVICE void mask(float (*p)[NT][4], bool documents, const int *rows, const int *cols, F seen) {
  int g = lane() / 4, t = lane() % 4 * 2, of[M][2];
#pragma unroll
  for (int i = 0; i < M; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) of[i][h] = documents ? rows[i * 16 + g + h * 8] : 0;
#pragma unroll
  for (int n = 0; n < NT; n++)
#pragma unroll
    for (int j = 0; j < 2; j++) {
      int c = n * 8 + t + j, doc = documents ? cols[c] : 0;
#pragma unroll
      for (int i = 0; i < M; i++)
#pragma unroll
        for (int h = 0; h < 2; h++)
          if (!seen(i * 16 + g + h * 8, c) || of[i][h] != doc) p[i][n][2 * h + j] = -INFINITY;
    }
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

// first_step is the first row of the first step of keys that queries from row tile on may see: those that end before the
// document of row tile begins are skipped.
template <int STEP> DEVICE int first_step(const int *seg, int tile) {
  int steps = tile / STEP, skipped = 0;
  for (int i = 0; i < steps; i += THREADS) {
    int step = i + threadIdx.x;
    skipped += __syncthreads_count(step < steps && seg[step * STEP + STEP - 1] != seg[tile]);
  }
  return skipped * STEP;
}

// end_step is the end of the queries that may see keys up to the one before row end, which is in the sequence: steps from
// there on that begin in another document are skipped.
template <int STEP> DEVICE int end_step(const int *seg, int end, int seq) {
  int steps = (seq - end + STEP - 1) / STEP, seen = 0;
  for (int i = 0; i < steps; i += THREADS) {
    int step = i + threadIdx.x;
    seen += __syncthreads_count(step < steps && seg[end + step * STEP] == seg[end - 1]);
  }
  return min(end + seen * STEP, seq);
}

#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f

// Weights are 2 to the power of a score, in units of log 2, less the base of its row. The base need not be the largest
// score, only within SLACK of it: so it seldom changes, and what was added up seldom has to be scaled.
#define SLACK 8

// rebase makes the largest score the base of rows where one is higher, if a row of the warp has left SLACK.
template <int M, int NT, int DT> DEVICE void rebase(float (*base)[2], float (*sum)[2], float (*acc)[DT][4], const float (*p)[NT][4], float unit) {
  float most[M][2];
  bool far = false;
#pragma unroll
  for (int i = 0; i < M; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float x = -INFINITY;
#pragma unroll
      for (int n = 0; n < NT; n++) x = fmaxf(x, fmaxf(p[i][n][2 * h], p[i][n][2 * h + 1]));
      most[i][h] = quad_max(x) * unit;
      far = far || most[i][h] > base[i][h] + SLACK;
    }
  if (!__any_sync(FULL, far)) return;
#pragma unroll
  for (int i = 0; i < M; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      if (most[i][h] <= base[i][h]) continue;
      float fade = pow2(base[i][h] - most[i][h]);
      base[i][h] = most[i][h];
      sum[i][h] *= fade;
#pragma unroll
      for (int n = 0; n < DT; n++) acc[i][n][2 * h] *= fade, acc[i][n][2 * h + 1] *= fade;
    }
}

// weigh turns scores into weights and adds them up.
template <class T, int M, int NT> DEVICE void weigh(Weights<T, M, NT> &w, float (*sum)[2], const float (*base)[2], const float (*p)[NT][4], float unit) {
#pragma unroll
  for (int i = 0; i < M; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float less = base[i][h] == -INFINITY ? 0 : base[i][h]; // nothing seen yet
#pragma unroll
      for (int n = 0; n < NT; n++) {
        float lo = pow2(p[i][n][2 * h] * unit - less), hi = pow2(p[i][n][2 * h + 1] * unit - less);
        sum[i][h] += lo + hi;
        w.set(i, n, h, lo, hi);
      }
    }
}

// Forward: a block a tile of queries of one head.
template <class T, int D>
DEVICE void attention(Shape s, float scale, Heads<T> o, float *lse, Heads<const T> q, Heads<const T> k, Heads<const T> v, const int *seg) {
  SHARED(room);
  typedef Forward<T, D> Cut;
  const int LD = Tile<T, D>::LD, M = Cut::M, ROWS = WARPS * 16 * M, STEP = Cut::STEP, NT = STEP / 8, DT = D / 8;
  T *qs = (T *)room, *ks = qs + ROWS * LD, *vs = ks + 2 * STEP * LD;
  int *docs = (int *)(vs + 2 * STEP * LD), *own = docs + 2 * STEP;
  int tile = (gridDim.x - 1 - blockIdx.x) * ROWS, h = blockIdx.y, b = blockIdx.z, kv = h / (s.heads / s.kv_heads); // the longest rows first
  lse += ((int64_t)b * s.heads + h) * s.seq;
  bool wide = k.wide(s) && v.wide(s);
  auto fetch_step = [&](int stage, int at) {
    fetch<STEP, D>(ks + stage * STEP * LD, k.head(s, b, kv), wide, at, s);
    fetch<STEP, D>(vs + stage * STEP * LD, v.head(s, b, kv), wide, at, s);
    if (seg) fetch_column<STEP>(docs + stage * STEP, seg + (int64_t)b * s.seq, at, s.seq);
    copies_commit();
  };

  int begin = seg ? first_step<STEP>(seg + (int64_t)b * s.seq, tile) : 0, end = min(tile + ROWS, s.seq);
  fetch<ROWS, D>(qs, q.head(s, b, h), q.wide(s), tile, s);
  if (seg) fetch_column<ROWS>(own, seg + (int64_t)b * s.seq, tile, s.seq);
  copies_commit();
  fetch_step(0, begin);
  copies_wait<1>();
  __syncthreads();
  int mine = warp() * 16 * M, row = tile + mine, last = min(row + 16 * M, s.seq) - 1;
  Left<T, M, D, Cut::HELD> left(qs + mine * LD);

  float acc[M][DT][4], base[M][2], sum[M][2]; // sum: this lane's part
  fill<M, DT>(acc, 0);
#pragma unroll
  for (int i = 0; i < M; i++) base[i][0] = base[i][1] = -INFINITY, sum[i][0] = sum[i][1] = 0;
  for (int at = begin, stage = 0; at < end; at += STEP, stage ^= 1) {
    copies_wait<0>();
    __syncthreads(); // this step has arrived, and nobody reads the one before it
    if (at + STEP < end) fetch_step(stage ^ 1, at + STEP);
    const int *doc = docs + stage * STEP;
    if (at > last || row >= s.seq || (seg && at + STEP <= row && doc[STEP - 1] != own[mine])) continue;
    float p[M][NT][4];
    fill<M, NT>(p, 0);
    product_nt(p, left, ks + stage * STEP * LD);
    if (at + STEP - 1 > row || (seg && doc[0] != own[last - tile]))
      mask<M, NT>(p, seg, own + mine, doc, [&](int r, int c) { return at + c <= row + r; });
    rebase<M, NT, DT>(base, sum, acc, p, scale * LOG2E);
    Weights<T, M, NT> w;
    weigh(w, sum, base, p, scale * LOG2E);
    product_pn<M, NT, D>(acc, w, vs + stage * STEP * LD);
  }
  float factor[M][2];
#pragma unroll
  for (int i = 0; i < M; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float total = quad_sum(sum[i][h]);
      factor[i][h] = 1 / total;
      int r = row + i * 16 + lane() / 4 + h * 8;
      if (lane() % 4 == 0 && r < s.seq) lse[r] = base[i][h] * LN2 + logf(total);
    }
  put<M, D>(o.head(s, b, h), row, s, acc, factor);
}

// delta[b,h,i] = do[i]·o[i], some lanes a query, a power of 2, each 16 bytes of its channels.
template <class T> DEVICE void attention_delta(Shape s, int lanes, float *delta, Heads<const T> grad, Heads<const T> o) {
  const int N = Pack<T>::N;
  int row = blockIdx.x * (THREADS / lanes) + threadIdx.x / lanes, c = threadIdx.x % lanes * N, h = blockIdx.y, b = blockIdx.z;
  Head<const T> x = grad.head(s, b, h), y = o.head(s, b, h);
  const T *gs = x.at + row * x.ld + c, *os = y.at + row * y.ld + c;
  float sum = 0;
  if (row < s.seq && c < s.d) {
    if (grad.wide(s) && o.wide(s)) {
      Pack<T> g = load(gs), v = load(os);
#pragma unroll
      for (int e = 0; e < N; e++) sum += widen(g.v[e]) * widen(v.v[e]);
    } else {
      for (int e = 0; e < N && c + e < s.d; e++) sum += widen(gs[e]) * widen(os[e]);
    }
  }
  for (int other = lanes / 2; other > 0; other /= 2) sum += __shfl_xor_sync(FULL, sum, other);
  if (row < s.seq && c == 0) delta[((int64_t)b * s.heads + h) * s.seq + row] = sum;
}

// dk and dv: a block a tile of keys of one key-value head. It goes through all queries that see them, of
// every head of the group, so that no sum is shared between blocks. Scores are transposed: rows are keys.
template <class T, int D>
DEVICE void attention_grad_kv(Shape s, float scale, Heads<T> dk, Heads<T> dv, Heads<const T> grad, Heads<const T> q, Heads<const T> k, Heads<const T> v, const float *lse, const float *delta, const int *seg) {
  SHARED(room);
  typedef GradKV<T, D> Cut;
  const int LD = Tile<T, D>::LD, M = Cut::M, ROWS = WARPS * 16 * M, STEP = Cut::STEP, SUB = Cut::SUB, NT = SUB / 8, DT = D / 8;
  T *ks = (T *)room, *vs = ks + ROWS * LD, *qs = vs + ROWS * LD, *gs = qs + 2 * STEP * LD;
  float *ls = (float *)(gs + 2 * STEP * LD), *ds = ls + 2 * STEP;
  int *docs = (int *)(ds + 2 * STEP), *own = docs + 2 * STEP;
  int tile = blockIdx.x * ROWS, kv = blockIdx.y, b = blockIdx.z, group = s.heads / s.kv_heads;
  bool wide = q.wide(s) && grad.wide(s);
  auto fetch_step = [&](int stage, int h, int at) {
    int64_t of = ((int64_t)b * s.heads + h) * s.seq;
    fetch<STEP, D>(qs + stage * STEP * LD, q.head(s, b, h), wide, at, s);
    fetch<STEP, D>(gs + stage * STEP * LD, grad.head(s, b, h), wide, at, s);
    fetch_column<STEP>(ls + stage * STEP, lse + of, at, s.seq);
    fetch_column<STEP>(ds + stage * STEP, delta + of, at, s.seq);
    if (seg) fetch_column<STEP>(docs + stage * STEP, seg + (int64_t)b * s.seq, at, s.seq);
    copies_commit();
  };

  int h = kv * group, end_h = h + group, at = tile, end = seg && tile + ROWS < s.seq ? end_step<STEP>(seg + (int64_t)b * s.seq, tile + ROWS, s.seq) : s.seq;
  fetch<ROWS, D>(ks, k.head(s, b, kv), k.wide(s), tile, s);
  fetch<ROWS, D>(vs, v.head(s, b, kv), v.wide(s), tile, s);
  if (seg) fetch_column<ROWS>(own, seg + (int64_t)b * s.seq, tile, s.seq);
  copies_commit();
  fetch_step(0, h, at);
  copies_wait<1>();
  __syncthreads();
  int mine = warp() * 16 * M, row = tile + mine, last = min(row + 16 * M, s.seq) - 1;
  Left<T, M, D, Cut::HELD> left_k(ks + mine * LD);
  Left<T, M, D, false> left_v(vs + mine * LD);

  float acc_k[M][DT][4], acc_v[M][DT][4];
  fill<M, DT>(acc_k, 0);
  fill<M, DT>(acc_v, 0);
  for (int stage = 0; h < end_h; stage ^= 1) {
    int now = at;
    at += STEP;
    if (at >= end) at = tile, h++;
    copies_wait<0>();
    __syncthreads(); // this step has arrived, and nobody reads the one before it
    if (h < end_h) fetch_step(stage ^ 1, h, at);
#pragma unroll 1
    for (int sub = stage * STEP; sub < stage * STEP + STEP; sub += SUB, now += SUB) {
      const int *doc = docs + sub;
      if (now + SUB <= row || now >= s.seq || row >= s.seq || (seg && now > last && doc[0] != own[last - tile])) continue;
      float p[M][NT][4], dp[M][NT][4];
      fill<M, NT>(p, 0);
      fill<M, NT>(dp, 0);
      product_nt(p, left_k, qs + sub * LD);
      product_nt(dp, left_v, gs + sub * LD);
      if (now < row + 16 * M - 1 || (seg && doc[min(SUB, s.seq - now) - 1] != own[mine])) // queries beyond the end are zero: they add nothing
        mask<M, NT>(p, seg, own + mine, doc, [&](int r, int c) { return row + r <= now + c; });
      Weights<T, M, NT> w, dw;
#pragma unroll
      for (int n = 0; n < NT; n++) {
        int c = sub + n * 8 + lane() % 4 * 2;
        float l0 = ls[c] * LOG2E, l1 = ls[c + 1] * LOG2E, d0 = ds[c], d1 = ds[c + 1];
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
          for (int h = 0; h < 2; h++) {
            float p0 = pow2(p[i][n][2 * h] * (scale * LOG2E) - l0), p1 = pow2(p[i][n][2 * h + 1] * (scale * LOG2E) - l1);
            w.set(i, n, h, p0, p1);
            dw.set(i, n, h, p0 * (dp[i][n][2 * h] - d0), p1 * (dp[i][n][2 * h + 1] - d1));
          }
      }
      product_pn<M, NT, D>(acc_v, w, gs + sub * LD);
      product_pn<M, NT, D>(acc_k, dw, qs + sub * LD);
    }
  }
  float scales[M][2], ones[M][2];
#pragma unroll
  for (int i = 0; i < M; i++) scales[i][0] = scales[i][1] = scale, ones[i][0] = ones[i][1] = 1;
  put<M, D>(dk.head(s, b, kv), row, s, acc_k, scales);
  put<M, D>(dv.head(s, b, kv), row, s, acc_v, ones);
}

// dq: a block a tile of queries of one head.
template <class T, int D>
DEVICE void attention_grad_q(Shape s, float scale, Heads<T> dq, Heads<const T> grad, Heads<const T> q, Heads<const T> k, Heads<const T> v, const float *lse, const float *delta, const int *seg) {
  SHARED(room);
  typedef GradQ<T, D> Cut;
  const int LD = Tile<T, D>::LD, M = Cut::M, ROWS = WARPS * 16 * M, STEP = Cut::STEP, SUB = Cut::SUB, NT = SUB / 8, DT = D / 8;
  T *qs = (T *)room, *gs = qs + ROWS * LD, *ks = gs + ROWS * LD, *vs = ks + 2 * STEP * LD;
  int *docs = (int *)(vs + 2 * STEP * LD), *own = docs + 2 * STEP;
  float *ls = (float *)(own + ROWS), *ds = ls + ROWS;
  int tile = (gridDim.x - 1 - blockIdx.x) * ROWS, h = blockIdx.y, b = blockIdx.z, kv = h / (s.heads / s.kv_heads);
  int64_t of = ((int64_t)b * s.heads + h) * s.seq;
  bool wide = k.wide(s) && v.wide(s);
  auto fetch_step = [&](int stage, int at) {
    fetch<STEP, D>(ks + stage * STEP * LD, k.head(s, b, kv), wide, at, s);
    fetch<STEP, D>(vs + stage * STEP * LD, v.head(s, b, kv), wide, at, s);
    if (seg) fetch_column<STEP>(docs + stage * STEP, seg + (int64_t)b * s.seq, at, s.seq);
    copies_commit();
  };

  int begin = seg ? first_step<STEP>(seg + (int64_t)b * s.seq, tile) : 0, end = min(tile + ROWS, s.seq);
  fetch<ROWS, D>(qs, q.head(s, b, h), q.wide(s), tile, s);
  fetch<ROWS, D>(gs, grad.head(s, b, h), grad.wide(s), tile, s);
  fetch_column<ROWS>(ls, lse + of, tile, s.seq);
  fetch_column<ROWS>(ds, delta + of, tile, s.seq);
  if (seg) fetch_column<ROWS>(own, seg + (int64_t)b * s.seq, tile, s.seq);
  copies_commit();
  fetch_step(0, begin);
  copies_wait<1>();
  __syncthreads();
  int mine = warp() * 16 * M, row = tile + mine, last = min(row + 16 * M, s.seq) - 1;
  Left<T, M, D, Cut::HELD> left_q(qs + mine * LD), left_g(gs + mine * LD);

  float acc[M][DT][4];
  fill<M, DT>(acc, 0);
  for (int at = begin, stage = 0; at < end; at += STEP, stage ^= 1) {
    copies_wait<0>();
    __syncthreads(); // this step has arrived, and nobody reads the one before it
    if (at + STEP < end) fetch_step(stage ^ 1, at + STEP);
    int now = at;
#pragma unroll 1
    for (int sub = stage * STEP; sub < stage * STEP + STEP; sub += SUB, now += SUB) {
      const int *doc = docs + sub;
      if (now > last || row >= s.seq || (seg && now + SUB <= row && doc[SUB - 1] != own[mine])) continue;
      float p[M][NT][4], dp[M][NT][4];
      fill<M, NT>(p, 0);
      fill<M, NT>(dp, 0);
      product_nt(p, left_q, ks + sub * LD);
      product_nt(dp, left_g, vs + sub * LD);
      if (now + SUB - 1 > row || (seg && doc[0] != own[last - tile]))
        mask<M, NT>(p, seg, own + mine, doc, [&](int r, int c) { return now + c <= row + r; });
      Weights<T, M, NT> w;
#pragma unroll
      for (int i = 0; i < M; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          int r = mine + i * 16 + lane() / 4 + h * 8;
          float l = ls[r] * LOG2E, d = ds[r];
#pragma unroll
          for (int n = 0; n < NT; n++) {
            float p0 = pow2(p[i][n][2 * h] * (scale * LOG2E) - l), p1 = pow2(p[i][n][2 * h + 1] * (scale * LOG2E) - l);
            w.set(i, n, h, p0 * (dp[i][n][2 * h] - d), p1 * (dp[i][n][2 * h + 1] - d));
          }
        }
      product_pn<M, NT, D>(acc, w, ks + sub * LD);
    }
  }
  float factor[M][2];
#pragma unroll
  for (int i = 0; i < M; i++) factor[i][0] = factor[i][1] = scale;
  put<M, D>(dq.head(s, b, h), row, s, acc, factor);
}

#define ATTENTION(S, T, D) \
  EXPORT_BOUNDED((THREADS, 2), attention_##S##_d##D, (Shape s, float scale, Heads<T> o, float *lse, Heads<const T> q, Heads<const T> k, Heads<const T> v, const int *seg), \
                 attention<T, D>(s, scale, o, lse, q, k, v, seg)) \
  EXPORT_BOUNDED((THREADS, 2), attention_grad_kv_##S##_d##D, (Shape s, float scale, Heads<T> dk, Heads<T> dv, Heads<const T> grad, Heads<const T> q, Heads<const T> k, Heads<const T> v, const float *lse, const float *delta, const int *seg), \
                 attention_grad_kv<T, D>(s, scale, dk, dv, grad, q, k, v, lse, delta, seg)) \
  EXPORT_BOUNDED((THREADS, 2), attention_grad_q_##S##_d##D, (Shape s, float scale, Heads<T> dq, Heads<const T> grad, Heads<const T> q, Heads<const T> k, Heads<const T> v, const float *lse, const float *delta, const int *seg), \
                 attention_grad_q<T, D>(s, scale, dq, grad, q, k, v, lse, delta, seg))
#define EACH_HEAD(S, T) ATTENTION(S, T, 16) ATTENTION(S, T, 32) ATTENTION(S, T, 64) ATTENTION(S, T, 128)
EACH_TYPE(EACH_HEAD)

#define DELTA(S, T) EXPORT_BOUNDED((THREADS), attention_delta_##S, (Shape s, int lanes, float *delta, Heads<const T> grad, Heads<const T> o), attention_delta(s, lanes, delta, grad, o))
EACH_TYPE(DELTA)
