// The update: global norm, AdamW and SGDW (Loshchilov & Hutter 2019, alg. 2 and 1), moving averages.
#include "common.cuh"

// Scalars of up to 256 places, by value: a launch takes them without a table in memory.
struct Scalars {
  const float *at[256];
};

// norm = sqrt(sum of n scalars and of what earlier launches left in norm[0]), coef = min(1, max/(norm+1e-6)). The
// scalars are read by a thread each and added by the first, in order.
EXPORT(clip, (int n, int first, int last, float max, float *norm, float *coef, Scalars in), {
  SHARED(room);
  float *scalar = (float *)room;
  if ((int)threadIdx.x < n) scalar[threadIdx.x] = *in.at[threadIdx.x];
  __syncthreads();
  if (threadIdx.x > 0) return;
  double s = first ? 0 : *norm;
  for (int i = 0; i < n; i++) s += scalar[i];
  if (!last) {
    *norm = (float)s;
    return;
  }
  float r = (float)sqrt(s);
  *norm = r;
  if (!(r < INFINITY)) *coef = r - r; // NaN: no update changes anything
  else *coef = max > 0 ? fminf(1, max / (r + 1e-6f)) : 1;
})

// Tensors of an update. Each is cut into blocks of 1024 elements; block b of the launch belongs to the
// last tensor whose first is at most b.
struct Tensor {
  void *w;
  const void *g;
  float *master, *m, *v;
  const float *hyper; // learning rate, 1-β1^t, 1-β2^t, seed
  int64_t n, first;
};
struct Tensors {
  Tensor at[32];
};

// Rounds to nearest even, or at random by the update's seed and the element.
template <class T> DEVICE T rounded(float x, const float *, int64_t, T *) { return narrow<T>(x); }
struct Stochastic;
DEVICE bf16 rounded(float x, const float *hyper, int64_t e, Stochastic *) { return narrow_stochastic(x, hyper[3], e); }

// g' = coef g; m = β1 m + (1-β1) g'; v = β2 v + (1-β2) g'²; w -= lr (wd w + (m/bc1)/(sqrt(v/bc2)+eps)), on the
// fp32 master where there is one; w is of type T, g of type G.
template <class T, class G, bool MASTER, class ROUND = T>
DEVICE void adamw(int tensors, const float *coef, float beta1, float beta2, float rest1, float rest2, float eps, float decay, const Tensors &all) {
  float k = *coef;
  if (!(fabsf(k) < INFINITY)) return;
  int i = 0;
  while (i + 1 < tensors && all.at[i + 1].first <= (int64_t)blockIdx.x) i++;
  const Tensor &t = all.at[i];
  float lr = t.hyper[0], bc1 = t.hyper[1], bc2 = t.hyper[2];
  int64_t lo = ((int64_t)blockIdx.x - t.first) * 1024;
  T *w = (T *)t.w;
  const G *g = (const G *)t.g;
  for (int64_t e = lo + threadIdx.x; e < lo + 1024 && e < t.n; e += blockDim.x) {
    float d = k * widen(g[e]), x = MASTER ? t.master[e] : widen(w[e]);
    float m = beta1 * t.m[e] + rest1 * d, v = beta2 * t.v[e] + rest2 * d * d;
    t.m[e] = m;
    t.v[e] = v;
    x = x - lr * decay * x - lr * (m / bc1) / (sqrtf(v / bc2) + eps);
    if (MASTER) t.master[e] = x;
    w[e] = rounded(x, t.hyper, e, (ROUND *)0);
  }
}

#define ADAMW_OF(NAME, ...) \
  EXPORT(NAME, (int tensors, const float *coef, float beta1, float beta2, float rest1, float rest2, float eps, float decay, Tensors all), \
         adamw<__VA_ARGS__>(tensors, coef, beta1, beta2, rest1, rest2, eps, decay, all))
// The types of w and of g end the name.
#define ADAMW(S, T, G) ADAMW_OF(adamw_##S, T, G, false) ADAMW_OF(adamw_master_##S, T, G, true)
ADAMW(f32_f32, float, float)
ADAMW(bf16_bf16, bf16, bf16)
ADAMW(bf16_f32, bf16, float)
ADAMW_OF(adamw_stochastic_bf16_bf16, bf16, bf16, false, Stochastic)
ADAMW_OF(adamw_stochastic_bf16_f32, bf16, float, false, Stochastic)

// y = beta x + rest coef g, with rest = 1 - beta; y = x when coef is not finite.
template <class G>
DEVICE void ema(int64_t n, float *y, const float *x, const G *g, const float *coef, float beta, float rest) {
  float k = *coef;
  bool skip = !(fabsf(k) < INFINITY);
  for (int64_t e = THREAD; e < n; e += STRIDE) y[e] = skip ? x[e] : beta * x[e] + rest * (k * widen(g[e]));
}
#define EMA(S, G) \
  EXPORT(ema_##S, (int64_t n, float *y, const float *x, const G *g, const float *coef, float beta, float rest), \
         ema(n, y, x, g, coef, beta, rest))
EACH_TYPE(EMA)

// w = w - lr decay w - lr alpha u, with hyper = [lr, ...]; w stays when coef is not finite.
EXPORT(sgdw, (int64_t n, float *y, const float *w, const float *u, const float *coef, const float *hyper, float alpha,
              float decay), {
  float k = *coef, lr = hyper[0];
  bool skip = !(fabsf(k) < INFINITY);
  for (int64_t e = THREAD; e < n; e += STRIDE) y[e] = skip ? w[e] : w[e] - lr * decay * w[e] - lr * alpha * u[e];
})
