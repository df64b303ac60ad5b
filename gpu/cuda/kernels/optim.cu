// The update: global norm, AdamW and SGDW (Loshchilov & Hutter 2019, alg. 2 and 1), moving averages.
#include "common.cuh"

// Vectors by value: a launch takes them without a table in memory.
struct Vector {
  const float *x;
  int64_t n;
};
struct Vectors {
  Vector at[240];
};

// norm = sqrt(sum of the elements of n vectors and of what earlier launches left in norm[0]), coef = min(1,
// max/(norm+1e-6)). Element e of vector i is read by thread i + e, modulo their number: long and many both go to all.
EXPORT(clip, (int n, int first, int last, float max, float *norm, float *coef, CONSTANT Vectors in), {
  SHARED(room);
  double *sums = (double *)room; // of the warps
  double s = 0;
  for (int i = 0; i < n; i++)
    for (int64_t e = (threadIdx.x - i) & (blockDim.x - 1); e < in.at[i].n; e += blockDim.x) s += in.at[i].x[e];
  for (int o = 16; o > 0; o >>= 1) s += __shfl_xor_sync(FULL, s, o);
  if ((threadIdx.x & 31) == 0) sums[threadIdx.x >> 5] = s;
  __syncthreads();
  if (threadIdx.x > 0) return;
  s = first ? 0 : *norm;
  for (int i = 0; i < (int)blockDim.x >> 5; i++) s += sums[i];
  if (!last) {
    *norm = (float)s;
    return;
  }
  float r = (float)sqrt(s);
  *norm = r;
  if (!(r < INFINITY)) *coef = r - r; // NaN: no update changes anything
  else *coef = max > 0 ? fminf(1, max / (r + 1e-6f)) : 1;
})

// Tensors of an update, each cut into blocks of UPDATE_BLOCK elements: a block of threads each, from `first` on.
#define UPDATE_BLOCK 4096
struct Tensor {
  void *w;
  const void *g;
  float *master, *m, *v;
  const float *hyper; // learning rate, 1-β1^t, 1-β2^t, seed
  int64_t n;
  int first;
  float decay;
};
struct Tensors {
  Tensor at[63];
};

struct Betas {
  float beta1, beta2, rest1, rest2, eps; // rest is 1 - beta
};

// What the elements of a tensor have in common.
struct Step {
  float coef, lr, decay, scale1, scale2, seed; // scale is 1/(1-beta^t)
};

// How many of four elements from e on the tensor has.
DEVICE int left(const Tensor &t, int64_t e) { return t.n - e < 4 ? (int)(t.n - e) : 4; }

// Rounds to nearest even, or at random by the update's seed and the element.
template <class T> DEVICE T rounded(float x, float, int64_t, T *) { return narrow<T>(x); }
struct Stochastic;
DEVICE bf16 rounded(float x, float seed, int64_t e, Stochastic *) { return narrow_stochastic(x, seed, e); }

// g' = coef g; m = β1 m + (1-β1) g'; v = β2 v + (1-β2) g'²; w -= lr (wd w + (m/bc1)/(sqrt(v/bc2)+eps)), on the
// fp32 master where there is one, of four elements from e on and four a step further. w is of type T, g of type G. What is
// read is read before the first use of any.
template <bool WIDE, class T, class G, bool MASTER, class ROUND>
DEVICE void adamw_packs(const Tensor &t, const Betas &b, const Step &u, int64_t e, int step) {
  const int N = 4, U = 2;
  Pack<G, N> g[U];
  Pack<T, N> w[U];
  Pack<float> master[U], m[U], v[U];
#pragma unroll
  for (int i = 0; i < U; i++) {
    int64_t at = e + i * step;
    int n = left(t, at);
    g[i] = some<WIDE, N>((const G *)t.g + at, n);
    if (MASTER) master[i] = some<WIDE>(t.master + at, n);
    else w[i] = some<WIDE, N>((const T *)t.w + at, n);
    m[i] = some<WIDE>(t.m + at, n);
    v[i] = some<WIDE>(t.v + at, n);
  }
  if (!(fabsf(u.coef) < INFINITY)) return;
#pragma unroll
  for (int i = 0; i < U; i++) {
    int64_t at = e + i * step;
    int n = left(t, at);
#pragma unroll
    for (int j = 0; j < N; j++) {
      float d = u.coef * widen(g[i].v[j]), x = MASTER ? master[i].v[j] : widen(w[i].v[j]);
      m[i].v[j] = b.beta1 * m[i].v[j] + b.rest1 * d;
      v[i].v[j] = b.beta2 * v[i].v[j] + b.rest2 * d * d;
      x = x - u.lr * u.decay * x - u.lr * (m[i].v[j] * u.scale1) / (sqrtf(v[i].v[j] * u.scale2) + b.eps);
      master[i].v[j] = x;
      w[i].v[j] = rounded(x, u.seed, at + j, (ROUND *)0);
    }
    put_some<WIDE>(t.m + at, m[i], n);
    put_some<WIDE>(t.v + at, v[i], n);
    if (MASTER) put_some<WIDE>(t.master + at, master[i], n);
    put_some<WIDE>((T *)t.w + at, w[i], n);
  }
}

template <class T, class G, bool MASTER, class ROUND = T>
DEVICE void adamw(int tensors, const float *coef, const Betas &b, const Tensors &all) {
  const Tensor &t = owner(all.at, tensors);
  Step u{*coef, t.hyper[0], t.decay, 1 / t.hyper[1], 1 / t.hyper[2], t.hyper[3]};
  bool wide = aligned(t.w) && aligned(t.g) && aligned(t.master) && aligned(t.m) && aligned(t.v);
  int64_t lo = (int64_t)(blockIdx.x - t.first) * UPDATE_BLOCK;
  int step = blockDim.x * 4;
  for (int64_t e = lo + threadIdx.x * 4; e < lo + UPDATE_BLOCK && e < t.n; e += 2 * step)
    if (wide && e + step + 4 <= t.n) adamw_packs<true, T, G, MASTER, ROUND>(t, b, u, e, step);
    else adamw_packs<false, T, G, MASTER, ROUND>(t, b, u, e, step);
}

#define ADAMW_OF(NAME, ...) \
  EXPORT(NAME, (int tensors, const float *coef, Betas b, CONSTANT Tensors all), adamw<__VA_ARGS__>(tensors, coef, b, all))
// The types of w and of g end the name.
#define ADAMW(S, T, G) ADAMW_OF(adamw_##S, T, G, false) ADAMW_OF(adamw_master_##S, T, G, true)
ADAMW(f32_f32, float, float)
ADAMW(bf16_bf16, bf16, bf16)
ADAMW(bf16_f32, bf16, float)
ADAMW_OF(adamw_stochastic_bf16_bf16, bf16, bf16, false, Stochastic)
ADAMW_OF(adamw_stochastic_bf16_f32, bf16, float, false, Stochastic)

// y = beta x + rest coef g, with rest = 1 - beta; y = x when coef is not finite. Of n elements, four at most.
template <bool WIDE, class G>
DEVICE void ema_pack(int n, float *y, const float *x, const G *g, float coef, float beta, float rest) {
  Pack<float> a = some<WIDE>(x, n);
  Pack<G, 4> d = some<WIDE, 4>(g, n);
#pragma unroll
  for (int j = 0; j < 4; j++) a.v[j] = fabsf(coef) < INFINITY ? beta * a.v[j] + rest * (coef * widen(d.v[j])) : a.v[j];
  put_some<WIDE>(y, a, n);
}
template <class G>
DEVICE void ema(int64_t n, float *y, const float *x, const G *g, const float *coef, float beta, float rest) {
  float k = *coef;
  bool wide = aligned(y) && aligned(x) && aligned(g);
  for (int64_t e = THREAD * 4; e < n; e += STRIDE * 4)
    if (wide && e + 4 <= n) ema_pack<true>(4, y + e, x + e, g + e, k, beta, rest);
    else ema_pack<false>((int)(n - e < 4 ? n - e : 4), y + e, x + e, g + e, k, beta, rest);
}
#define EMA(S, G) \
  EXPORT(ema_##S, (int64_t n, float *y, const float *x, const G *g, const float *coef, float beta, float rest), \
         ema(n, y, x, g, coef, beta, rest))
EACH_TYPE(EMA)

// w = w - lr decay w - lr alpha u, with hyper = [lr, ...]; w stays when coef is not finite.
EXPORT(sgdw, (int64_t n, float *y, const float *w, const float *u, const float *coef, const float *hyper, float alpha,
              float decay), {
  float lr = hyper[0];
  bool skip = !(fabsf(*coef) < INFINITY);
  const float *in[] = {w, u};
  each<float, 1, 2>(n, THREAD, STRIDE, &y, in, [=](float *b, const float *a) {
    *b = skip ? a[0] : a[0] - lr * decay * a[0] - lr * alpha * a[1];
  });
})
