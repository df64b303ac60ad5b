// What optimizers in a subspace of the gradient are made of, beside products.
#include "common.cuh"

// Adam's direction (Kingma & Ba 2015, alg. 1): m = β1 m + (1-β1) coef g, v = β2 v + (1-β2) (coef g)², y = bias m / (sqrt(v) + eps).
EXPORT(adam, (int64_t n, float *y, float *om, float *ov, const float *g, const float *m, const float *v, const float *coef, const float *hyper,
              float beta1, float beta2, float rest1, float rest2, float eps), {
  float k = *coef;
  float bias = hyper[1];
  bool skip = !(fabsf(k) < INFINITY);
  float *out[] = {y, om, ov};
  const float *in[] = {g, m, v};
  each<float, 3, 3>(n, THREAD, STRIDE, out, in, [=](float *b, const float *a) {
    float d = k * a[0];
    b[1] = skip ? a[1] : beta1 * a[1] + rest1 * d;
    b[2] = skip ? a[2] : beta2 * a[2] + rest2 * d * d;
    b[0] = skip ? 0 : bias * b[1] / (sqrtf(b[2]) + eps);
  });
})

// alpha (popcount(splitmix64(2^40 seed + 2^20 row + column)) - 32) / 4, a block a row; columns from `counted` on are 0.
template <class T> DEVICE void random_row(int cols, int counted, T *y, const float *seed, float alpha) {
  int64_t row = blockIdx.x;
  unsigned long long base = ((unsigned long long)*seed << 40) + ((unsigned long long)row << 20) + 0x9e3779b97f4a7c15ull;
  for (int c = threadIdx.x; c < cols; c += blockDim.x) {
    unsigned long long z = base + c;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    int ones = __popc((uint32_t)z) + __popc((uint32_t)(z >> 32));
    y[row * cols + c] = narrow<T>(c < counted ? alpha * ((ones - 32) * 0.25f) : 0);
  }
}
#define RANDOM_MATRIX(S, T) EXPORT(random_matrix_##S, (int cols, int counted, T *y, const float *seed, float alpha), random_row(cols, counted, y, seed, alpha))
EACH_TYPE(RANDOM_MATRIX)

// y = x or -x, so that its product with p is not negative; y = p when coef is not finite. A block a row.
template <class T> DEVICE void align_row(int cols, T *y, const float *x, const T *p, const float *coef) {
  SHARED(room);
  float s = 0;
  for (int c = threadIdx.x; c < cols; c += blockDim.x) s += x[c] * widen(p[c]);
  s = block_reduce<Sum>(s, (float *)room);
  bool keep = !(fabsf(*coef) < INFINITY);
  for (int c = threadIdx.x; c < cols; c += blockDim.x) y[c] = keep ? p[c] : narrow<T>(0.f + (s < 0 ? -x[c] : x[c])); // padding stays 0, not -0
}
#define ALIGN_ROWS(S, T) EXPORT(align_rows_##S, (int cols, T *y, const float *x, const T *p, const float *coef), \
  int64_t at = (int64_t)blockIdx.x * cols; \
  align_row(cols, y + at, x + at, p + at, coef))
EACH_TYPE(ALIGN_ROWS)

// The product of two rows, by a warp.
DEVICE float row_dot(int n, const float *x, const float *y) {
  float s = 0;
  for (int i = threadIdx.x & 31; i < n; i += 32) s += x[i] * y[i];
  return warp_reduce<Sum>(s);
}
// x = c x - s y, y = s x + c y, by a warp.
DEVICE void turn(int n, float *x, float *y, float c, float s) {
  for (int i = threadIdx.x & 31; i < n; i += 32) {
    float a = x[i], b = y[i];
    x[i] = c * a - s * b;
    y[i] = s * a + c * b;
  }
}

// The rows of w, and of v, which begins as 1, are turned until no two rows of w have a product (Hestenes 1958): the rows of v
// are then eigenvectors. Pairs of a round are those of a round-robin tournament, a warp each. One block.
DEVICE void eigenvectors(int n, float *y, const float *x, float *room, float tolerance, int sweeps) {
  int64_t size = (int64_t)n * n;
  float *w = room, *v = w + size, *values = v + size, *order = values + n;
  int warp = threadIdx.x >> 5, warps = blockDim.x >> 5, lane = threadIdx.x & 31, players = n + n % 2;
  for (int64_t i = threadIdx.x; i < size; i += blockDim.x) {
    int r = (int)(i / n), c = (int)(i - (int64_t)r * n);
    w[i] = (x[i] + x[(int64_t)c * n + r]) * 0.5f;
    v[i] = r == c;
  }
  __syncthreads();
  for (int sweep = 0; sweep < sweeps; sweep++) {
    int turned = 0;
    for (int round = 0; round < players - 1; round++) {
      for (int k = warp; k < players / 2; k += warps) {
        int m = players - 1, a = k ? (round + k) % m : round, b = k ? (round + m - k) % m : m;
        int64_t p = a < b ? a : b, q = a < b ? b : a;
        if (q >= n) continue;
        float *wp = w + p * n, *wq = w + q * n;
        float pp = row_dot(n, wp, wp), qq = row_dot(n, wq, wq), pq = row_dot(n, wp, wq);
        if (!(fabsf(pq) > tolerance * sqrtf(pp) * sqrtf(qq))) continue;
        turned = 1;
        float z = (qq - pp) / (2 * pq), t = 1 / (fabsf(z) + sqrtf(1 + z * z));
        if (fabsf(z) > 1e18f) t = 0.5f / fabsf(z); // z² is not finite
        if (z < 0) t = -t;
        float c = 1 / sqrtf(1 + t * t);
        turn(n, wp, wq, c, c * t);
        turn(n, v + p * n, v + q * n, c, c * t);
      }
      __syncthreads();
    }
    if (!__syncthreads_or(turned)) break;
  }
  for (int i = warp; i < n; i += warps) {
    float s = row_dot(n, v + (int64_t)i * n, w + (int64_t)i * n);
    if (lane == 0) values[i] = s;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    int before = 0;
    for (int j = 0; j < n; j++) before += values[j] > values[i] || (values[j] == values[i] && j < i);
    order[before] = (float)i;
  }
  __syncthreads();
  for (int i = warp; i < n; i += warps) {
    const float *from = v + (int64_t)order[i] * n;
    float most = 0;
    for (int c = lane; c < n; c += 32) most = fmaxf(most, fabsf(from[c]));
    most = warp_reduce<Max>(most);
    int first = n;
    for (int c = lane; c < n && first == n; c += 32)
      if (fabsf(from[c]) == most) first = c;
    for (int o = 16; o > 0; o >>= 1) first = min(first, __shfl_xor_sync(FULL, first, o));
    bool down = first < n && from[first] < 0;
    for (int c = lane; c < n; c += 32) y[(int64_t)i * n + c] = down ? -from[c] : from[c];
  }
}
EXPORT_BOUNDED((1024, 1), eigh, (int n, float *y, const float *x, float *room, float tolerance, int sweeps),
               eigenvectors(n, y, x, room, tolerance, sweeps))
