// The words of CUDA C++ that the kernels use, with their meaning on a CPU. A thread of a block is a
// fiber; the fibers of a block take turns on one thread of the host, in an order that can be chosen, and
// wait for each other at barriers and in exchanges between the lanes of a warp.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

typedef uintptr_t uintptr;
struct uint4 {
  uint32_t x, y, z, w;
};
struct uint2 {
  uint32_t x, y;
};
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return uint4{x, y, z, w}; }
struct float2 {
  float x, y;
};
inline float2 make_float2(float x, float y) { return float2{x, y}; }
struct dim3 {
  unsigned x, y, z;
};

namespace emu {

// A fiber's place: its index, and what the block shares.
struct Thread {
  dim3 index;
  int lane, warp;
};

struct Exchange {
  unsigned char bytes[32];
};

extern thread_local Thread *self;
extern thread_local dim3 block_index, block_size, grid_size;
extern thread_local unsigned char *shared;

void barrier();                              // all threads of the block
int barrier_count(bool x);                   // and for how many of them x is true
const Exchange *exchange(const void *, int); // what every lane of the warp gave

// The asynchronous copies of a thread (PTX ISA 8.1, 9.7.8.22.3): to holds NaN from the start of a copy until
// copies_wait, since a card may write it at any time between.
void copy_async(void *to, const void *from, int size, int valid);
void copies_commit();
void copies_wait(int pending);

struct Kernel {
  const char *name;
  void (*call)(void **args);
  std::vector<int> sizes; // of the arguments, in bytes
};
std::vector<Kernel> &kernels();

template <class... A> struct Caller;
template <> struct Caller<> {
  template <class F, class... B> static void with(F f, void **, B... b) { f(b...); }
  static void sizes(std::vector<int> &) {}
};
template <class H, class... T> struct Caller<H, T...> {
  template <class F, class... B> static void with(F f, void **args, B... b) {
    Caller<T...>::with(f, args + 1, b..., *(H *)args[0]);
  }
  static void sizes(std::vector<int> &s) {
    s.push_back(sizeof(H));
    Caller<T...>::sizes(s);
  }
};

template <class... A> Kernel entry(const char *name, void (*call)(void **), void (*)(A...)) {
  Kernel k{name, call, {}};
  Caller<A...>::sizes(k.sizes);
  return k;
}
template <class... A> void run(void (*f)(A...), void **args) { Caller<A...>::with(f, args); }

struct Register {
  Register(Kernel k) { kernels().push_back(k); }
};

template <class T> T shuffle(T x, int lane) {
  const Exchange *all = exchange(&x, sizeof x);
  memcpy(&x, all[lane & 31].bytes, sizeof x);
  return x;
}

} // namespace emu

#define EXPORT(name, params, ...)                      \
  static void name params { __VA_ARGS__; }             \
  static emu::Register register_##name(emu::entry(#name, [](void **args) { emu::run(name, args); }, name));
#define EXPORT_BOUNDED(bounds, name, params, ...) EXPORT(name, params, __VA_ARGS__)
#define SHARED(name) unsigned char *name = emu::shared

#define threadIdx emu::self->index
#define blockIdx emu::block_index
#define blockDim emu::block_size
#define gridDim emu::grid_size

inline void __syncthreads() { emu::barrier(); }
inline int __syncthreads_or(int x) { return emu::barrier_count(x != 0) != 0; }
inline int __syncthreads_count(int x) { return emu::barrier_count(x != 0); }
template <class T> T __shfl_sync(unsigned, T x, int lane) { return emu::shuffle(x, lane); }
template <class T> T __shfl_xor_sync(unsigned, T x, int mask) { return emu::shuffle(x, emu::self->lane ^ mask); }
inline uint32_t __ballot_sync(unsigned, bool x) {
  int v = x;
  const emu::Exchange *all = emu::exchange(&v, sizeof v);
  uint32_t votes = 0;
  for (int l = 0; l < 32; l++) votes |= (uint32_t)(all[l].bytes[0] != 0) << l;
  return votes;
}
inline bool __any_sync(unsigned mask, bool x) { return __ballot_sync(mask, x) != 0; }
inline int min(int a, int b) { return a < b ? a : b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline int __popc(uint32_t x) { return __builtin_popcount(x); }
inline float __uint_as_float(uint32_t u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}
inline uint32_t __float_as_uint(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}

template <int SIZE> void copy_async(void *to, const void *from, int valid = SIZE) { emu::copy_async(to, from, SIZE, valid); }
inline void copies_commit() { emu::copies_commit(); }
template <int PENDING> void copies_wait() { emu::copies_wait(PENDING); }

// mma.m16n8k16 in the fragments of the PTX manual: every lane gives its part of A and B and computes its four elements.
inline void mma(float *c, const uint32_t *a, const uint32_t *b) {
  uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const emu::Exchange *all = emu::exchange(mine, sizeof mine);
  auto half = [](uint32_t w, int i) { return __uint_as_float(i ? w & 0xffff0000u : w << 16); };
  int g = emu::self->lane / 4, t = emu::self->lane % 4;
  for (int j = 0; j < 4; j++) {
    int col = 2 * t + j % 2;
    float s = 0;
    for (int k = 0; k < 16; k++) {
      uint32_t x[6], y[6];
      memcpy(x, all[g * 4 + k % 8 / 2].bytes, sizeof x);   // holds rows g and g+8, columns k
      memcpy(y, all[col * 4 + k % 8 / 2].bytes, sizeof y); // holds column col, rows k
      s += half(x[j / 2 + k / 8 * 2], k % 2) * half(y[4 + k / 8], k % 2);
    }
    c[j] += s;
  }
}

inline uint32_t shared_address(const void *p) { return (uint32_t)((const unsigned char *)p - emu::shared); }

// ldmatrix.x4: lane l names row l%8 of matrix l/8, and gets two neighbours of row l/4 of each.
inline void ldmatrix(uint32_t *r, uint32_t row) {
  const emu::Exchange *all = emu::exchange(&row, sizeof row);
  for (int i = 0; i < 4; i++) {
    uint32_t from;
    memcpy(&from, all[i * 8 + emu::self->lane / 4].bytes, sizeof from);
    memcpy(&r[i], emu::shared + from + emu::self->lane % 4 * 4, 4);
  }
}

// With .trans it gets two neighbours of column l/4.
inline void ldmatrix_trans(uint32_t *r, uint32_t row) {
  const emu::Exchange *all = emu::exchange(&row, sizeof row);
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < 2; k++) {
      uint32_t from;
      memcpy(&from, all[i * 8 + emu::self->lane % 4 * 2 + k].bytes, sizeof from);
      memcpy((unsigned char *)&r[i] + 2 * k, emu::shared + from + emu::self->lane / 4 * 2, 2);
    }
}
