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

// narrow_stochastic rounds to one of the two neighbours by splitmix64 of a seed, a whole number below 2^24, and the element:
// right in the mean.
DEVICE bf16 narrow_stochastic(float x, float seed, int64_t e) {
  if (x != x) return narrow<bf16>(x);
  unsigned long long z = ((unsigned long long)seed << 40) + (unsigned long long)e + 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  bf16 y;
  y.x = (uint16_t)((__float_as_uint(x) + (uint32_t)(z >> 48)) >> 16);
  return y;
}

// Pack is what one 16-byte access moves: 4 floats or 8 bf16.
template <class T> struct Pack {
  static const int N = 16 / sizeof(T);
  union {
    uint4 u;
    T v[N];
  };
};

template <class T> DEVICE Pack<T> load(const T *p) {
  Pack<T> x;
  x.u = *(const uint4 *)p;
  return x;
}
template <class T> DEVICE void store(T *p, Pack<T> x) { *(uint4 *)p = x.u; }

DEVICE bool aligned(const void *p) { return ((uintptr)p & 15) == 0; }

// The first element of a thread, and the distance to its next, in loops over the grid.
#define THREAD ((int64_t)blockIdx.x * blockDim.x + threadIdx.x)
#define STRIDE ((int64_t)gridDim.x * blockDim.x)

// each runs f(out, in) on elements start, start + stride ... of n, 16 bytes at a time where all operands
// allow it, single elements at the end. An element's inputs are read before its outputs are written, so
// operands may be one buffer. f is given floats; without outputs it keeps what it computes itself.
template <class T, int OUT, int IN, class F>
DEVICE void each(int64_t n, int64_t start, int64_t stride, T *const *out, const T *const *in, F f) {
  const int N = Pack<T>::N;
  bool wide = true;
#pragma unroll
  for (int i = 0; i < OUT; i++) wide = wide && aligned(out[i]);
#pragma unroll
  for (int i = 0; i < IN; i++) wide = wide && aligned(in[i]);
  int64_t packs = wide ? n / N : 0;
  for (int64_t p = start; p < packs; p += stride) {
    Pack<T> x[IN + 1], y[OUT + 1];
#pragma unroll
    for (int i = 0; i < IN; i++) x[i] = load(in[i] + p * N);
#pragma unroll
    for (int j = 0; j < N; j++) {
      float a[IN + 1], b[OUT + 1];
#pragma unroll
      for (int i = 0; i < IN; i++) a[i] = widen(x[i].v[j]);
      f(b, a);
#pragma unroll
      for (int i = 0; i < OUT; i++) y[i].v[j] = narrow<T>(b[i]);
    }
#pragma unroll
    for (int i = 0; i < OUT; i++) store(out[i] + p * N, y[i]);
  }
  for (int64_t e = packs * N + start; e < n; e += stride) {
    float a[IN + 1], b[OUT + 1];
#pragma unroll
    for (int i = 0; i < IN; i++) a[i] = widen(in[i][e]);
    f(b, a);
#pragma unroll
    for (int i = 0; i < OUT; i++) out[i][e] = narrow<T>(b[i]);
  }
}

// Every kernel is made for both types, its name ending in the type's.
#define EACH_TYPE(K) K(f32, float) K(bf16, bf16)

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

// pow2 is 2 to the x, in one instruction; to within 2 units in the last place, and 0 where exp2f is subnormal.
DEVICE float pow2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

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
