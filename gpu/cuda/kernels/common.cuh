// What every kernel file uses: element types, 16-byte accesses, reductions, tensor-core instructions.
//
// A file is compiled twice: by NVRTC for the card, and as host C++ against emu.h, which gives the same
// words their meaning on a CPU. Shared memory is always dynamic, its size chosen by the launcher.
#pragma once

#ifdef STEPFLOW_EMU
#include "../emu/emu.h"
#else
#define EXPORT(name, params, ...) extern "C" __global__ void name params { __VA_ARGS__; }
#define EXPORT_BOUNDED(bounds, name, params, ...) extern "C" __global__ void __launch_bounds__ bounds name params { __VA_ARGS__; }
#define SHARED(name) extern __shared__ __align__(256) unsigned char name[]
#define INFINITY __int_as_float(0x7f800000)
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uintptr;
#endif

#define DEVICE static __device__ __forceinline__
// A struct among a kernel's parameters that is read by an index where it lies.
#ifdef STEPFLOW_EMU
#define CONSTANT const
#else
#define CONSTANT const __grid_constant__
#endif
#define FULL 0xffffffffu

// bf16 is the upper half of a float.
struct bf16 {
  uint16_t x;
};

DEVICE float widen(float x) { return x; }
DEVICE float widen(bf16 x) { return __uint_as_float((uint32_t)x.x << 16); }

// upper_half rounds to nearest even, and pair two floats, the first into the lower half; a NaN stays one.
#ifdef STEPFLOW_EMU
DEVICE uint16_t upper_half(float x) {
  uint32_t u = __float_as_uint(x);
  return x != x ? (uint16_t)(u >> 16 | 0x40) : (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
DEVICE uint32_t pair(float lo, float hi) { return (uint32_t)upper_half(lo) | (uint32_t)upper_half(hi) << 16; }
#else
DEVICE uint16_t upper_half(float x) {
  uint16_t y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
}
DEVICE uint32_t pair(float lo, float hi) {
  uint32_t y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(hi), "f"(lo));
  return y;
}
#endif
DEVICE void set(float &y, float x) { y = x; }
DEVICE void set(bf16 &y, float x) { y.x = upper_half(x); }

// narrow rounds to T.
template <class T> DEVICE T narrow(float x) {
  T y;
  set(y, x);
  return y;
}

// store_pair stores two neighbours, rounded to T, at once; they are aligned to it.
DEVICE void store_pair(float *y, float lo, float hi) { *(float2 *)y = make_float2(lo, hi); }
DEVICE void store_pair(bf16 *y, float lo, float hi) { *(uint32_t *)y = pair(lo, hi); }

// splitmix is splitmix64 of a seed, a whole number below 2^24, and an element.
DEVICE unsigned long long splitmix(float seed, int64_t e) {
  unsigned long long z = ((unsigned long long)seed << 40) + (unsigned long long)e + 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// narrow_stochastic rounds to one of the two neighbours, right in the mean.
DEVICE bf16 narrow_stochastic(float x, float seed, int64_t e) {
  if (x != x) return narrow<bf16>(x);
  bf16 y;
  y.x = (uint16_t)((__float_as_uint(x) + (uint32_t)(splitmix(seed, e) >> 48)) >> 16);
  return y;
}

// ex2 is 2^x and rcp is 1/x, to 2 and 1 units in the last place; what is below 2^-126 is 0.
#ifdef STEPFLOW_EMU
DEVICE float ex2(float x) { return exp2f(x); }
DEVICE float rcp(float x) { return 1 / x; }
#else
DEVICE float ex2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
DEVICE float rcp(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#endif

// Pack is neighbouring elements that one access moves: 16 bytes unless fewer are asked for.
template <int BYTES> struct Word;
template <> struct Word<16> { typedef uint4 type; };
template <> struct Word<8> { typedef uint2 type; };
template <> struct Word<4> { typedef uint32_t type; };
template <> struct Word<2> { typedef uint16_t type; };
template <class T, int M = 16 / sizeof(T)> struct Pack {
  static const int N = M;
  typedef typename Word<M * sizeof(T)>::type word;
  union {
    word u;
    T v[M];
  };
  // two bf16 from i on as a word: made of elements, since a union that is written by elements and read whole goes through
  // memory.
  uint32_t __device__ two(int i) const { return (uint32_t)v[i].x | (uint32_t)v[i + 1].x << 16; }
};

template <int N, class T> DEVICE Pack<T, N> load(const T *p) {
  Pack<T, N> x;
  x.u = *(const typename Pack<T, N>::word *)p;
  return x;
}
template <class T> DEVICE Pack<T> load(const T *p) { return load<Pack<T>::N>(p); }
template <class T, int N> DEVICE void store(T *p, Pack<T, N> x) { *(typename Pack<T, N>::word *)p = x.u; }

// put stores to device memory, in one access, where a plain store may become one for every 4 bytes.
template <class T, int N> DEVICE void put(T *p, Pack<T, N> x) { store(p, x); }
#ifndef STEPFLOW_EMU
DEVICE void put(float *p, Pack<float, 4> x) {
  asm volatile("st.global.v4.f32 [%0], {%1,%2,%3,%4};" : : "l"(p), "f"(x.v[0]), "f"(x.v[1]), "f"(x.v[2]), "f"(x.v[3]) : "memory");
}
DEVICE void put(bf16 *p, Pack<bf16, 8> x) {
  asm volatile("st.global.v4.u32 [%0], {%1,%2,%3,%4};" : : "l"(p), "r"(x.two(0)), "r"(x.two(2)), "r"(x.two(4)), "r"(x.two(6)) : "memory");
}
DEVICE void put(bf16 *p, Pack<bf16, 4> x) {
  asm volatile("st.global.v2.u32 [%0], {%1,%2};" : : "l"(p), "r"(x.two(0)), "r"(x.two(2)) : "memory");
}
#endif

DEVICE bool aligned(const void *p) { return ((uintptr)p & 15) == 0; }

// The first element of a thread, and the distance to its next, in loops over the grid.
#define THREAD ((int64_t)blockIdx.x * blockDim.x + threadIdx.x)
#define STRIDE ((int64_t)gridDim.x * blockDim.x)

// Rows are an operand in device memory whose rows begin ld elements apart.
template <class T> struct Rows {
  T *at;
  int64_t ld;
  __device__ T *of(int64_t row, int64_t col) const { return at + row * ld + col; }
  // May its rows be accessed in packs of n?
  __device__ bool packed(int n) const { return (((uintptr)at | (uintptr)(ld * sizeof(T))) & (n * sizeof(T) - 1)) == 0; }
};

// Chosen are rows by their ids.
template <class T> struct Chosen : Rows<T> {
  const int *ids;
  __device__ Chosen(T *at, int64_t ld, const int *ids) : Rows<T>{at, ld}, ids(ids) {}
  __device__ T *of(int64_t row, int64_t col) const { return Rows<T>::of(ids[row], col); }
};

// A shape says how a thread goes through n elements: along one line, or along rows of cols elements.
struct Line {
  int64_t n;
  static __device__ bool packed(int) { return true; }
  struct Walk { // from element e on in steps
    int64_t col, step;
    int row = 0;
    __device__ Walk(Line, int64_t e, int64_t step) : col(e), step(step) {}
    __device__ int64_t element() const { return col; }
    __device__ void next() { col += step; }
  };
};
struct Table {
  int64_t n, cols;
  __device__ bool packed(int m) const { return cols >= n || cols % m == 0; }
  struct Walk {
    int64_t e, step, cols, row, col, rows, rest; // a step is rows and the rest of one
    __device__ Walk(Table t, int64_t e, int64_t step) : e(e), step(step), cols(t.cols), row(e / cols), col(e - row * cols), rows(step / cols), rest(step - rows * cols) {}
    __device__ int64_t element() const { return e; }
    __device__ void next() {
      e += step, row += rows, col += rest;
      bool over = col >= cols;
      col -= over ? cols : 0, row += over;
    }
  };
};

// packs runs g(e, out, in) on packs of N elements along a walk, while U of them are before n. Outputs hold what lies there
// before if READ is set. The U accesses of a thread to an operand are under way at once: what is in flight keeps the
// memory busy.
template <int N, int U, class Y, class X, int OUT, int IN, bool READ, class W, class R, class G>
DEVICE void packs(W &from, int64_t n, const Rows<Y> *out, const R *in, G g) {
  while (from.element() + (U - 1) * from.step < n) {
    Pack<X, N> x[U][IN + 1];
    Pack<Y, N> y[U][OUT + 1];
    W to = from;
#pragma unroll
    for (int u = 0; u < U; u++, from.next()) {
#pragma unroll
      for (int i = 0; i < IN; i++) x[u][i] = load<N>(in[i].of(from.row, from.col));
#pragma unroll
      for (int i = 0; READ && i < OUT; i++) y[u][i] = load<N>((const Y *)out[i].of(from.row, from.col));
    }
#pragma unroll
    for (int u = 0; u < U; u++, to.next()) {
      g(to.element(), y[u], x[u]);
#pragma unroll
      for (int i = 0; i < OUT; i++) put(out[i].of(to.row, to.col), y[u][i]);
    }
  }
}

// each_pack runs g on elements in packs of 16 bytes of the wider type where all rows allow it, else one by one: on those
// that begin at start, start + stride ... packs. What g reads is read before it writes, so operands may be one buffer.
template <class Y, class X, int OUT, int IN, bool READ = false, class S, class R, class G>
DEVICE void each_pack(S shape, int64_t start, int64_t stride, const Rows<Y> *out, const R *in, G g) {
  const int N = 16 / (sizeof(X) > sizeof(Y) ? sizeof(X) : sizeof(Y)), U = IN < 2 ? 4 : 2;
  bool wide = shape.packed(N);
#pragma unroll
  for (int i = 0; i < OUT; i++) wide = wide && out[i].packed(N);
#pragma unroll
  for (int i = 0; i < IN; i++) wide = wide && in[i].packed(N);
  int64_t whole = wide ? shape.n / N * N : 0;
  typename S::Walk p(shape, start * N, stride * N), e(shape, whole + start, stride);
  packs<N, U, Y, X, OUT, IN, READ>(p, whole, out, in, g);
  packs<N, 1, Y, X, OUT, IN, READ>(p, whole, out, in, g);
  packs<1, U, Y, X, OUT, IN, READ>(e, shape.n, out, in, g);
  packs<1, 1, Y, X, OUT, IN, READ>(e, shape.n, out, in, g);
}

// each_of does so with f(out, in), which is given floats. It adds to outputs if ADD is set; without outputs f keeps what
// it computes itself.
template <class Y, class X, int OUT, int IN, bool ADD = false, class S, class F>
DEVICE void each_of(S shape, int64_t start, int64_t stride, const Rows<Y> *out, const Rows<const X> *in, F f) {
  each_pack<Y, X, OUT, IN, ADD>(shape, start, stride, out, in, [&](int64_t, auto *y, auto *x) {
    const int N = sizeof(x->v) / sizeof(X);
#pragma unroll
    for (int j = 0; j < N; j++) {
      float a[IN + 1], b[OUT + 1];
#pragma unroll
      for (int i = 0; i < IN; i++) a[i] = widen(x[i].v[j]);
      f(b, a);
#pragma unroll
      for (int i = 0; i < OUT; i++) y[i].v[j] = narrow<Y>(ADD ? widen(y[i].v[j]) + b[i] : b[i]);
    }
  });
}

// each does so on n elements that lie one after the other in every operand.
template <class T, int OUT, int IN, class F>
DEVICE void each(int64_t n, int64_t start, int64_t stride, T *const *out, const T *const *in, F f) {
  Rows<T> y[OUT + 1];
  Rows<const T> x[IN + 1];
#pragma unroll
  for (int i = 0; i < OUT; i++) y[i] = Rows<T>{out[i], 0};
#pragma unroll
  for (int i = 0; i < IN; i++) x[i] = Rows<const T>{in[i], 0};
  each_of<T, T, OUT, IN>(Line{n}, start, stride, y, x, f);
}

// Every kernel is made for both types, its name ending in the type's.
#define EACH_TYPE(K) K(f32, float) K(bf16, bf16)

// packed rounds the elements of a pack.
template <class T, int N> DEVICE void set(Pack<T, N> &y, const float *x) {
#pragma unroll
  for (int j = 0; j < N; j++) y.v[j] = narrow<T>(x[j]);
}
DEVICE void set(Pack<bf16> &y, const float *x) {
  y.u = make_uint4(pair(x[0], x[1]), pair(x[2], x[3]), pair(x[4], x[5]), pair(x[6], x[7]));
}
template <class T, int N = Pack<T>::N> DEVICE Pack<T, N> packed(const float *x) {
  Pack<T, N> y;
  set(y, x);
  return y;
}

// some reads the first n of N elements at p, and zeros for the rest. Where accesses are wide, p is aligned to all, and all
// of them are there or, where n is not above 0, none.
template <bool WIDE, int N, class T> DEVICE Pack<T, N> some(const T *p, int n) {
  Pack<T, N> x;
  x.u = {};
  if (WIDE) {
    if (n > 0) x = load<N>(p);
    return x;
  }
#pragma unroll
  for (int j = 0; j < N; j++)
    if (j < n) x.v[j] = p[j];
  return x;
}
template <bool WIDE, class T> DEVICE Pack<T> some(const T *p, int n) { return some<WIDE, Pack<T>::N>(p, n); }

// store_some writes what some reads, and put_some puts it.
template <bool WIDE, class T, int N> DEVICE void store_some(T *p, const Pack<T, N> &x, int n) {
  if (WIDE) {
    if (n > 0) store(p, x);
    return;
  }
#pragma unroll
  for (int j = 0; j < N; j++)
    if (j < n) p[j] = x.v[j];
}
template <bool WIDE, class T, int N> DEVICE void put_some(T *p, const Pack<T, N> &x, int n) {
  if (!WIDE) store_some<false>(p, x, n);
  else if (n > 0) put(p, x);
}

// owner finds the tensor that a block of threads works for, among tensors in the order of their first blocks.
template <class T> DEVICE const T &owner(const T *at, int tensors) {
  int lo = 0, hi = tensors; // it is one of [lo, hi)
  while (hi - lo > 1) {
    int mid = (lo + hi) / 2;
    if (at[mid].first <= (int)blockIdx.x) lo = mid;
    else hi = mid;
  }
  return at[lo];
}

// Reductions run over a warp, then over the block's warps, always in the same order.
struct Sum {
  static __device__ float of(float a, float b) { return a + b; }
  static __device__ float none() { return 0; }
};
struct Max {
  static __device__ float of(float a, float b) { return fmaxf(a, b); }
  static __device__ float none() { return -INFINITY; }
};

template <class Op> DEVICE float warp_reduce(float x) {
  for (int o = 16; o > 0; o >>= 1) x = Op::of(x, __shfl_xor_sync(FULL, x, o));
  return x;
}

// block_reduce gives every thread the result; room holds 32 floats and may be used again after it.
template <class Op> DEVICE float block_reduce(float x, float *room) {
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  x = warp_reduce<Op>(x);
  __syncthreads();
  if (lane == 0) room[warp] = x;
  __syncthreads();
  x = lane < warps ? room[lane] : Op::none();
  return warp_reduce<Op>(x);
}

#ifndef STEPFLOW_EMU
// copy_async starts a copy of SIZE bytes, 4 or 16, to shared memory: valid of them, zeros after those. Both ends are aligned to
// SIZE. A thread's copies up to a commit are a group; copies_wait waits until all but the last PENDING groups have
// arrived. Other threads see them after a barrier (PTX ISA 8.1, 9.7.8.22.3: cp.async).
template <int SIZE> DEVICE void copy_async(void *to, const void *from, int valid = SIZE) {
  uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
  if (SIZE == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(valid) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(at), "l"(from), "n"(SIZE), "r"(valid) : "memory");
}
DEVICE void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING> DEVICE void copies_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory"); }

// c += a b for a 16x16 tile of A, row-major, and a 16x8 tile of B, in the fragments of PTX ISA 8.1, section
// 9.7.13.4.8 (mma.m16n8k16): lane l has rows l/4 and l/4+8, columns 2(l%4) and the next.
DEVICE void mma(float *c, const uint32_t *a, const uint32_t *b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// shared_address is where p lies in shared memory, in bytes; SHARED begins at a multiple of 256.
DEVICE uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

// Four 8x8 matrices of 16-bit elements; lane l names row l%8 of matrix l/8, by its shared_address.
DEVICE void ldmatrix(uint32_t *r, uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}

DEVICE void ldmatrix_trans(uint32_t *r, uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}
#endif
