// Updates whose moments are narrow: in bf16, rounded stochastically, or in blocks of codes (codes.cu) of 256 elements.
#include "common.cuh"

// The operands of an update. Moments have the elements of the tensor, n in rows of cols; all else has rows that begin stride
// elements apart, and zeros beside the tensor, which stay. scales are of codes; master may be null.
struct Narrow {
  void *w;
  const void *g;
  float *master;
  void *m, *v;
  float *m_scales, *v_scales;
  const float *coef, *hyper; // hyper: learning rate, 1-β1^t, 1-β2^t, seed
  int64_t n, cols, stride;
  float decay, none;
  __device__ int64_t place(int64_t e) const { return cols == stride ? e : e / cols * stride + e % cols; }
  // May neighbours be accessed in packs of four, and do packs not cross rows?
  __device__ bool packed() const { return n % 4 == 0 && (cols == stride || (cols | stride) % 4 == 0); }
};

#define CODE_BLOCK 256 // elements that share a scale: a warp's, eight a lane
#define DRAWS_OF_M (1ll << 38) // elements of moments among those that are drawn for
#define DRAWS_OF_V (2ll << 38)

// How many of four elements from e on are among n.
DEVICE int there(int64_t e, int64_t n) { return e >= n ? 0 : n - e < 4 ? (int)(n - e) : 4; }

// Four neighbours from element e on, and 0 for those that are not there.
template <bool WIDE, class T> DEVICE void four(float *to, const T *p, const Narrow &t, int64_t e) {
  int n = there(e, t.n);
  if (WIDE) {
    Pack<T, 4> x = some<true, 4>(p + t.place(e), n);
#pragma unroll
    for (int j = 0; j < 4; j++) to[j] = widen(x.v[j]);
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; j++) to[j] = j < n ? widen(p[t.place(e + j)]) : 0;
}

template <bool WIDE, class T> DEVICE void put_four(T *p, const T *from, const Narrow &t, int64_t e) {
  int n = there(e, t.n);
  if (WIDE) {
    Pack<T, 4> x;
#pragma unroll
    for (int j = 0; j < 4; j++) x.v[j] = from[j];
    put_some<true>(p + t.place(e), x, n);
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; j++)
    if (j < n) p[t.place(e + j)] = from[j];
}

// Four neighbours of a moment: they lie one after the other.
template <bool WIDE> DEVICE void moment(float *to, const bf16 *p, const float *, const Codes *, int64_t e, int64_t n) {
  Pack<bf16, 4> x = some<WIDE, 4>(p + e, there(e, n));
#pragma unroll
  for (int j = 0; j < 4; j++) to[j] = widen(x.v[j]);
}
template <bool WIDE> DEVICE void moment(float *to, const uint8_t *p, const float *scales, const Codes *c, int64_t e, int64_t n) {
  int have = there(e, n);
  Pack<uint8_t, 4> x = some<WIDE, 4>(p + e, have);
  float scale = have > 0 ? scales[e / CODE_BLOCK] : 0;
#pragma unroll
  for (int j = 0; j < 4; j++) to[j] = j < have ? c->values[x.v[j]] * scale : 0;
}

// keep stores a lane's eight elements of a block: from e on, and from e + 128 on.
template <bool WIDE> DEVICE void keep(bf16 *p, float *, const Codes *, const float *x, float seed, int64_t first, int64_t e, int64_t n) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int64_t at = e + 128 * i;
    Pack<bf16, 4> y;
#pragma unroll
    for (int j = 0; j < 4; j++) y.v[j] = narrow_stochastic(x[4 * i + j], seed, first + at + j);
    put_some<WIDE>(p + at, y, there(at, n));
  }
}
template <bool WIDE> DEVICE void keep(uint8_t *p, float *scales, const Codes *c, const float *x, float, int64_t, int64_t e, int64_t n) {
  float scale = 0;
#pragma unroll
  for (int j = 0; j < 8; j++) scale = fmaxf(scale, fabsf(x[j])); // those that are not there are 0
  scale = warp_reduce<Max>(scale);
  bool none = scale < LEAST_SCALE;
  float inverse = none ? 0 : 1 / scale;
  if ((threadIdx.x & 31) == 0) scales[e / CODE_BLOCK] = none ? 0 : scale;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int64_t at = e + 128 * i;
    Pack<uint8_t, 4> y;
#pragma unroll
    for (int j = 0; j < 4; j++) y.v[j] = code_of(c, x[4 * i + j] * inverse);
    store_some<WIDE>(p + at, y, there(at, n));
  }
}

// The map of a moment's codes.
struct OfM;
struct OfV;
DEVICE const float *map_of(bf16 *, OfM *) { return nullptr; }
DEVICE const float *map_of(bf16 *, OfV *) { return nullptr; }
DEVICE const float *map_of(uint8_t *, OfM *) { return dynamic8; }
DEVICE const float *map_of(uint8_t *, OfV *) { return udynamic8; }

// bring copies the table of a map to shared memory.
DEVICE void bring(Codes *to, const float *from) {
  for (int i = threadIdx.x; from && i < (int)(sizeof(Codes) / 4); i += blockDim.x) ((float *)to)[i] = from[i];
}

// The new weight: in fp32, its master rounded to nearest, or itself rounded stochastically.
template <bool WIDE, bool MASTER> DEVICE void put_weight(float *w, float *, const float *x, float, const Narrow &t, int64_t e) {
  put_four<WIDE>(w, x, t, e);
}
template <bool WIDE, bool MASTER> DEVICE void put_weight(bf16 *w, float *master, const float *x, float seed, const Narrow &t, int64_t e) {
  bf16 y[4];
#pragma unroll
  for (int j = 0; j < 4; j++) y[j] = MASTER ? narrow<bf16>(x[j]) : narrow_stochastic(x[j], seed, e + j);
  if (MASTER) put_four<WIDE>(master, x, t, e);
  put_four<WIDE>(w, y, t, e);
}

// A warp updates the block that begins at element lo by AdamW (optim.cu).
template <bool WIDE, class S, class T, class G, bool MASTER>
DEVICE void adamw_narrow_block(const Narrow &t, const Betas &b, const Step &u, const Codes *codes, int64_t lo) {
  int64_t e = lo + (threadIdx.x & 31) * 4;
  float g[8], x[8], m[8], v[8];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int64_t at = e + 128 * i;
    four<WIDE>(g + 4 * i, (const G *)t.g, t, at);
    if (MASTER) four<WIDE>(x + 4 * i, t.master, t, at);
    else four<WIDE>(x + 4 * i, (const T *)t.w, t, at);
    moment<WIDE>(m + 4 * i, (const S *)t.m, t.m_scales, codes, at, t.n);
    moment<WIDE>(v + 4 * i, (const S *)t.v, t.v_scales, codes + 1, at, t.n);
  }
#pragma unroll
  for (int j = 0; j < 8; j++) {
    float d = u.coef * g[j];
    m[j] = b.beta1 * m[j] + b.rest1 * d;
    v[j] = b.beta2 * v[j] + b.rest2 * d * d;
    x[j] = x[j] - u.lr * u.decay * x[j] - u.lr * (m[j] * u.scale1) / (sqrtf(v[j] * u.scale2) + b.eps);
  }
#pragma unroll
  for (int i = 0; i < 2; i++) put_weight<WIDE, MASTER>((T *)t.w, t.master, x + 4 * i, u.seed, t, e + 128 * i);
  keep<WIDE>((S *)t.m, t.m_scales, codes, m, u.seed, DRAWS_OF_M, e, t.n);
  keep<WIDE>((S *)t.v, t.v_scales, codes + 1, v, u.seed, DRAWS_OF_V, e, t.n);
}

template <class S, class T, class G, bool MASTER> DEVICE void adamw_narrow(const Narrow &t, const Betas &b) {
  SHARED(room);
  Codes *codes = (Codes *)room;
  bring(codes, map_of((S *)0, (OfM *)0));
  bring(codes + 1, map_of((S *)0, (OfV *)0));
  __syncthreads();
  Step u{*t.coef, t.hyper[0], t.decay, 1 / t.hyper[1], 1 / t.hyper[2], t.hyper[3]};
  if (!(fabsf(u.coef) < INFINITY)) return;
  bool wide = t.packed() && aligned(t.w) && aligned(t.g) && aligned(t.master) && aligned(t.m) && aligned(t.v);
  int warps = blockDim.x >> 5;
  for (int64_t lo = ((int64_t)blockIdx.x * warps + (threadIdx.x >> 5)) * CODE_BLOCK; lo < t.n; lo += (int64_t)gridDim.x * warps * CODE_BLOCK)
    if (wide) adamw_narrow_block<true, S, T, G, MASTER>(t, b, u, codes, lo);
    else adamw_narrow_block<false, S, T, G, MASTER>(t, b, u, codes, lo);
}

#define ADAMW_NARROW(NAME, ...) EXPORT(NAME, (CONSTANT Narrow t, Betas b), adamw_narrow<__VA_ARGS__>(t, b))
// The types of the moments, of w and of g end the name.
#define ADAMW_NARROW_OF(K, S) \
  ADAMW_NARROW(adamw_narrow_##K##_f32_f32, S, float, float, false) \
  ADAMW_NARROW(adamw_narrow_##K##_bf16_bf16, S, bf16, bf16, false) \
  ADAMW_NARROW(adamw_narrow_##K##_bf16_f32, S, bf16, float, false) \
  ADAMW_NARROW(adamw_narrow_master_##K##_bf16_bf16, S, bf16, bf16, true) \
  ADAMW_NARROW(adamw_narrow_master_##K##_bf16_f32, S, bf16, float, true)
ADAMW_NARROW_OF(codes, uint8_t)
ADAMW_NARROW_OF(bf16, bf16)

// m = beta1 x + rest1 coef g, kept rounded; u = beta2 m + rest2 coef g. u lies at w, and x is t.m; both are x when coef is
// not finite.
template <bool WIDE, class S, class G> DEVICE void ema_narrow_block(const Narrow &t, const Betas &b, float coef, const Codes *codes, int64_t lo) {
  int64_t e = lo + (threadIdx.x & 31) * 4;
  float g[8], m[8], u[8];
  bool skip = !(fabsf(coef) < INFINITY);
#pragma unroll
  for (int i = 0; i < 2; i++) {
    four<WIDE>(g + 4 * i, (const G *)t.g, t, e + 128 * i);
    moment<WIDE>(m + 4 * i, (const S *)t.m, t.m_scales, codes, e + 128 * i, t.n);
  }
#pragma unroll
  for (int j = 0; j < 8; j++) {
    float d = coef * g[j];
    m[j] = skip ? m[j] : b.beta1 * m[j] + b.rest1 * d;
    u[j] = skip ? m[j] : b.beta2 * m[j] + b.rest2 * d;
  }
#pragma unroll
  for (int i = 0; i < 2; i++) put_four<WIDE>((float *)t.w, u + 4 * i, t, e + 128 * i);
  if (!skip) keep<WIDE>((S *)t.m, t.m_scales, codes, m, t.hyper[3], DRAWS_OF_M, e, t.n);
}

template <class S, class G> DEVICE void ema_narrow(const Narrow &t, const Betas &b, const float *map) {
  SHARED(room);
  Codes *codes = (Codes *)room;
  bring(codes, map);
  __syncthreads();
  bool wide = t.packed() && aligned(t.w) && aligned(t.g) && aligned(t.m);
  int warps = blockDim.x >> 5;
  for (int64_t lo = ((int64_t)blockIdx.x * warps + (threadIdx.x >> 5)) * CODE_BLOCK; lo < t.n; lo += (int64_t)gridDim.x * warps * CODE_BLOCK)
    if (wide) ema_narrow_block<true, S, G>(t, b, *t.coef, codes, lo);
    else ema_narrow_block<false, S, G>(t, b, *t.coef, codes, lo);
}

#define EMA_NARROW(NAME, S, G, MAP) EXPORT(NAME, (CONSTANT Narrow t, Betas b), ema_narrow<S, G>(t, b, MAP))
#define EMA_NARROW_OF(S, G) \
  EMA_NARROW(ema_narrow_codes_##S, uint8_t, G, linear8) \
  EMA_NARROW(ema_narrow_dynamic_##S, uint8_t, G, dynamic8) \
  EMA_NARROW(ema_narrow_bf16_##S, bf16, G, nullptr)
EACH_TYPE(EMA_NARROW_OF)

// Adam's direction (lowrank.cu), which lies at w; 0, and the moments as they were, when coef is not finite.
template <bool WIDE, class S> DEVICE void adam_narrow_block(const Narrow &t, const Betas &b, float coef, float bias, const Codes *codes, int64_t lo) {
  int64_t e = lo + (threadIdx.x & 31) * 4;
  float g[8], y[8], m[8], v[8];
  bool skip = !(fabsf(coef) < INFINITY);
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int64_t at = e + 128 * i;
    four<WIDE>(g + 4 * i, (const float *)t.g, t, at);
    moment<WIDE>(m + 4 * i, (const S *)t.m, t.m_scales, codes, at, t.n);
    moment<WIDE>(v + 4 * i, (const S *)t.v, t.v_scales, codes + 1, at, t.n);
  }
#pragma unroll
  for (int j = 0; j < 8; j++) {
    float d = coef * g[j];
    m[j] = b.beta1 * m[j] + b.rest1 * d;
    v[j] = b.beta2 * v[j] + b.rest2 * d * d;
    y[j] = skip ? 0 : bias * m[j] / (sqrtf(v[j]) + b.eps);
  }
#pragma unroll
  for (int i = 0; i < 2; i++) put_four<WIDE>((float *)t.w, y + 4 * i, t, e + 128 * i);
  if (skip) return;
  keep<WIDE>((S *)t.m, t.m_scales, codes, m, t.hyper[3], DRAWS_OF_M, e, t.n);
  keep<WIDE>((S *)t.v, t.v_scales, codes + 1, v, t.hyper[3], DRAWS_OF_V, e, t.n);
}

template <class S> DEVICE void adam_narrow(const Narrow &t, const Betas &b) {
  SHARED(room);
  Codes *codes = (Codes *)room;
  bring(codes, map_of((S *)0, (OfM *)0));
  bring(codes + 1, map_of((S *)0, (OfV *)0));
  __syncthreads();
  bool wide = t.packed() && aligned(t.w) && aligned(t.g) && aligned(t.m) && aligned(t.v);
  int warps = blockDim.x >> 5;
  for (int64_t lo = ((int64_t)blockIdx.x * warps + (threadIdx.x >> 5)) * CODE_BLOCK; lo < t.n; lo += (int64_t)gridDim.x * warps * CODE_BLOCK)
    if (wide) adam_narrow_block<true, S>(t, b, *t.coef, t.hyper[1], codes, lo);
    else adam_narrow_block<false, S>(t, b, *t.coef, t.hyper[1], codes, lo);
}
EXPORT(adam_narrow_codes, (CONSTANT Narrow t, Betas b), adam_narrow<uint8_t>(t, b))
EXPORT(adam_narrow_bf16, (CONSTANT Narrow t, Betas b), adam_narrow<bf16>(t, b))
