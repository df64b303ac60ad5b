// RMSNorm and its input gradient (Zhang & Sennrich 2019, eq. 4), a row by a warp or, where it is long, by a block. The
// gain's gradient is a sum over rows: reduce.cu. Means are over n columns; those after them are padding and hold zeros.
#include "common.cuh"

// Row is the part of a row of cols elements that a thread works on: packs `group` threads apart. Where accesses are wide
// the first HELD of them stay in registers, so that a row of up to HELD packs a thread is read once.
template <bool WIDE, class T> struct Row {
  static const int N = Pack<T>::N, HELD = WIDE ? 4 : 0;
  int lane, group, cols;
  __device__ Pack<T> load(const T *p, int e) const { return some<WIDE>(p + e, cols - e); }
  __device__ void store(T *p, int e, const Pack<T> &x) const { store_some<WIDE>(p + e, x, cols - e); }
  // each calls held(i, e) for the packs that are held, which begin at element e, and rest(e) for the others.
  template <class F, class G> __device__ void each(F held, G rest) const {
#pragma unroll
    for (int i = 0; i < HELD; i++) held(i, (i * group + lane) * N);
    for (int e = (HELD * group + lane) * N; e < cols; e += group * N) rest(e);
  }
  __device__ float sum(float x) const {
    SHARED(room);
    return group == 32 ? warp_reduce<Sum>(x) : block_reduce<Sum>(x, (float *)room);
  }
};

// The row of a thread where each has `group` threads, which are a warp or the block.
DEVICE int row_index(int group) { return blockIdx.x * (blockDim.x / group) + threadIdx.x / group; }

// rstd = 1/sqrt(mean x² + eps), y = x rstd w.
template <bool WIDE, class T> DEVICE void norm(int cols, int n, int group, T *y, float *rstd, const T *x, const T *w, float eps) {
  typedef Row<WIDE, T> R;
  R r{(int)threadIdx.x % group, group, cols};
  Pack<T> held[R::HELD + 1];
  r.each([&](int i, int e) { held[i] = r.load(x, e); }, [](int) {});
  float ss = 0;
  auto add = [&](const Pack<T> &p) {
#pragma unroll
    for (int j = 0; j < R::N; j++) ss += widen(p.v[j]) * widen(p.v[j]);
  };
  r.each([&](int i, int) { add(held[i]); }, [&](int e) { add(r.load(x, e)); });
  float s = 1 / sqrtf(r.sum(ss) / n + eps);
  if (r.lane == 0) *rstd = s;
  auto scale = [&](const Pack<T> &p, int e) {
    Pack<T> gain = r.load(w, e);
    float v[R::N];
#pragma unroll
    for (int j = 0; j < R::N; j++) v[j] = widen(p.v[j]) * s * widen(gain.v[j]);
    r.store(y, e, packed<T>(v));
  };
  r.each([&](int i, int e) { scale(held[i], e); }, [&](int e) { scale(r.load(x, e), e); });
}

template <class T> DEVICE void norm_rows(int rows, int cols, int n, int group, T *y, float *rstd, const T *x, const T *w, float eps) {
  int row = row_index(group);
  if (row >= rows) return; // a whole warp
  int64_t at = (int64_t)row * cols;
  if (cols % Pack<T>::N == 0 && aligned(x) && aligned(y) && aligned(w)) norm<true>(cols, n, group, y + at, rstd + row, x + at, w, eps);
  else norm<false>(cols, n, group, y + at, rstd + row, x + at, w, eps);
}

// dx = rstd (dy w - x rstd² mean(dy w x)) + a, where there may be no a.
template <bool WIDE, class T>
DEVICE void norm_grad_x(int cols, int n, int group, T *dx, const T *dy, const T *x, const T *w, float s, const T *a, bool more) {
  typedef Row<WIDE, T> R;
  R r{(int)threadIdx.x % group, group, cols};
  Pack<T> held[R::HELD + 1], grad[R::HELD + 1];
  r.each([&](int i, int e) { held[i] = r.load(x, e), grad[i] = r.load(dy, e); }, [](int) {});
  float dot = 0;
  auto add = [&](const Pack<T> &p, const Pack<T> &d, int e) {
    Pack<T> gain = r.load(w, e);
#pragma unroll
    for (int j = 0; j < R::N; j++) dot += widen(d.v[j]) * widen(gain.v[j]) * widen(p.v[j]);
  };
  r.each([&](int i, int e) { add(held[i], grad[i], e); }, [&](int e) { add(r.load(x, e), r.load(dy, e), e); });
  float k = s * s * r.sum(dot) / n;
  auto put = [&](const Pack<T> &p, const Pack<T> &d, int e) {
    Pack<T> gain = r.load(w, e), rest;
    rest.u = make_uint4(0, 0, 0, 0);
    if (more) rest = r.load(a, e);
    float v[R::N];
#pragma unroll
    for (int j = 0; j < R::N; j++) v[j] = s * (widen(d.v[j]) * widen(gain.v[j]) - widen(p.v[j]) * k) + widen(rest.v[j]);
    r.store(dx, e, packed<T>(v));
  };
  r.each([&](int i, int e) { put(held[i], grad[i], e); }, [&](int e) { put(r.load(x, e), r.load(dy, e), e); });
}

template <class T>
DEVICE void norm_grad_rows(int rows, int cols, int n, int group, T *dx, const T *dy, const T *x, const T *w, const float *rstd, const T *a) {
  int row = row_index(group);
  if (row >= rows) return;
  int64_t at = (int64_t)row * cols;
  bool wide = cols % Pack<T>::N == 0 && aligned(dx) && aligned(dy) && aligned(x) && aligned(w) && aligned(a);
  if (wide) norm_grad_x<true>(cols, n, group, dx + at, dy + at, x + at, w, rstd[row], a + at, a != 0);
  else norm_grad_x<false>(cols, n, group, dx + at, dy + at, x + at, w, rstd[row], a + at, a != 0);
}

// A block has at most 256 threads, and a processor room for the registers of two.
#define NORM(S, T) EXPORT_BOUNDED((256, 2), rmsnorm_##S, (int rows, int cols, int n, int group, T *y, float *rstd, const T *x, const T *w, float eps), \
  norm_rows(rows, cols, n, group, y, rstd, x, w, eps))
EACH_TYPE(NORM)
#define NORM_GRAD_X(S, T) EXPORT_BOUNDED((256, 2), rmsnorm_grad_x_##S, (int rows, int cols, int n, int group, T *dx, const T *dy, const T *x, const T *w, const float *rstd, const T *a), \
  norm_grad_rows(rows, cols, n, group, dx, dy, x, w, rstd, a))
EACH_TYPE(NORM_GRAD_X)
