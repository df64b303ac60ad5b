//go:build cudaemu

// The emulator: fibers, blocks, the table of kernels, and plain matrix products in place of cuBLASLt.
#include "emu.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "emu_c.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define SANITIZED 1
#endif

#include "../kernels/attention.cu"
#include "../kernels/cache.cu"
#include "../kernels/codes.cu"
#include "../kernels/collective.cu"
#include "../kernels/channels.cu"
#include "../kernels/elementwise.cu"
#include "../kernels/embedding.cu"
#include "../kernels/loss.cu"
#include "../kernels/lowrank.cu"
#include "../kernels/norm.cu"
#include "../kernels/optim.cu"
#include "../kernels/optim_narrow.cu"
#include "../kernels/reduce.cu"
#include "../kernels/rope.cu"
#include "../kernels/sparse.cu"
#include "../kernels/stored.cu"
#include "probe.h"

#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

// emu_switch saves the callee's registers on the stack, puts the stack pointer into *from, and goes on
// where `to` was saved.
#if defined(__x86_64__)
asm(R"(
.text
.globl emu_switch
.type emu_switch, @function
emu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emu_switch, .-emu_switch
)");
extern "C" void emu_switch(void **from, void *to);
#else
#error "the emulator switches stacks on amd64 only"
#endif

namespace emu {

thread_local Thread *self;
thread_local dim3 block_index, block_size, grid_size;
thread_local unsigned char *shared;

std::vector<Kernel> &kernels() {
  static std::vector<Kernel> all;
  return all;
}

enum State { Ready, AtBarrier, AtExchange, Done };

const size_t STACK = 64 << 10;

// Copy is an asynchronous copy that its thread has not waited for; groups are numbered as they are committed.
struct Copy {
  unsigned char *to;
  const void *from;
  int size, valid, group;
};

struct Fiber {
  Thread thread;
  State state;
  void *sp;
  unsigned char *stack;
  std::vector<Copy> copies;
  int group; // which copies belong to until the next commit
};

struct Warp {
  Exchange given[2][32]; // two, so that a lane may give the next while others read the last
  int arrived, round;
};

// A worker runs one block at a time.
struct Worker {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<std::unique_ptr<unsigned char[]>> stacks;
  Fiber *current;
  void *home;
  void (*call)(void **);
  void **args;
  int count, last_count;
  const char *fault = nullptr;
  const void *home_stack = nullptr;
  size_t home_size = 0;
};
thread_local Worker *worker;

static void leave(State s) {
  Worker *w = worker;
  Fiber *f = w->current;
  f->state = s;
#ifdef SANITIZED
  void *fake = nullptr;
  __sanitizer_start_switch_fiber(s == Done ? nullptr : &fake, w->home_stack, w->home_size);
#endif
  emu_switch(&f->sp, w->home);
#ifdef SANITIZED
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

static void begin() {
#ifdef SANITIZED
  __sanitizer_finish_switch_fiber(nullptr, &worker->home_stack, &worker->home_size);
#endif
  worker->call(worker->args);
  leave(Done);
}

void barrier() { leave(AtBarrier); }

int barrier_count(bool x) {
  worker->count += x;
  leave(AtBarrier);
  return worker->last_count;
}

void copy_async(void *to, const void *from, int size, int valid) {
  if ((uintptr_t)to % size || (uintptr_t)from % size) worker->fault = "an asynchronous copy is not aligned to its size";
  memset(to, 0xff, size);
  Fiber *f = worker->current;
  f->copies.push_back(Copy{(unsigned char *)to, from, size, valid, f->group});
}

void copies_commit() { worker->current->group++; }

void copies_wait(int pending) {
  Fiber *f = worker->current;
  size_t kept = 0;
  for (const Copy &c : f->copies) {
    if (c.group >= f->group - pending) {
      f->copies[kept++] = c;
      continue;
    }
    memcpy(c.to, c.from, c.valid);
    memset(c.to + c.valid, 0, c.size - c.valid);
  }
  f->copies.resize(kept);
}

const Exchange *exchange(const void *x, int n) {
  Warp &w = worker->warps[self->warp];
  int round = w.round;
  memcpy(w.given[round][self->lane].bytes, x, n);
  w.arrived++;
  leave(AtExchange);
  return w.given[round];
}

static void resume(Worker *w, Fiber *f) {
  w->current = f;
  self = &f->thread;
#ifdef SANITIZED
  void *fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, f->stack, STACK);
#endif
  emu_switch(&w->home, f->sp);
#ifdef SANITIZED
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

static uint64_t next(uint64_t &x) {
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return x;
}

// run_block runs the block's fibers until all are done. In order 0, ascending, and 1, descending, a warp runs as far as it
// can before the next has its turn, which shows missing barriers; others shuffle the threads before every round.
static void run_block(Worker *w, int threads, uint64_t order) {
  w->fibers.resize(threads);
  w->warps.assign((threads + 31) / 32, Warp{});
  while ((int)w->stacks.size() < threads) w->stacks.emplace_back(new unsigned char[STACK]);
  std::vector<int> turn(threads);
  for (int i = 0; i < threads; i++) {
    Fiber &f = w->fibers[i];
    f.thread = Thread{{(unsigned)i, 0, 0}, i % 32, i / 32};
    f.state = Ready;
    f.stack = w->stacks[i].get();
    f.copies.clear();
    f.group = 0;
    void **top = (void **)(((uintptr_t)f.stack + STACK) & ~(uintptr_t)15);
    *--top = nullptr; // where begin would return to
    *--top = (void *)begin;
    for (int r = 0; r < 6; r++) *--top = nullptr;
    f.sp = top;
    turn[i] = order == 1 ? threads - 1 - i : i;
  }
  w->count = w->last_count = 0;
  int done = 0;
  while (done < threads) {
    bool moved = false;
    auto run = [&](int from, int to) {
      bool any = false;
      for (int at = from; at < to; at++) {
        Fiber &f = w->fibers[turn[at]];
        if (f.state != Ready) continue;
        any = moved = true;
        resume(w, &f);
        if (f.state == Done) done++;
        Warp &warp = w->warps[f.thread.warp];
        if (f.state == AtExchange && warp.arrived == 32) { // the warp is whole: all may read
          warp.arrived = 0;
          warp.round ^= 1;
          for (int l = 0; l < 32; l++) w->fibers[f.thread.warp * 32 + l].state = Ready;
        }
      }
      return any;
    };
    if (order > 1) {
      for (int i = threads - 1; i > 0; i--) std::swap(turn[i], turn[next(order) % (i + 1)]);
      run(0, threads);
    } else {
      for (int at = 0; at < threads; at += 32)
        while (run(at, at + 32)) {
        }
    }
    int waiting = 0;
    for (Fiber &f : w->fibers) waiting += f.state == AtBarrier;
    if (waiting > 0 && waiting + done == threads) {
      if (done > 0) w->fault = "some threads of a block ended while others wait at a barrier";
      for (Fiber &f : w->fibers)
        if (f.state == AtBarrier) f.state = Ready;
      w->last_count = w->count, w->count = 0;
    } else if (!moved && done < threads) {
      w->fault = "a block's threads wait for each other for ever: a barrier or an exchange that not all of them reach";
      return;
    }
    if (w->fault) return;
  }
}

} // namespace emu

using namespace emu;

static const Kernel *find(const char *name) {
  static const std::map<std::string, const Kernel *> index = [] { // made once, whichever thread comes first
    std::map<std::string, const Kernel *> all;
    for (const Kernel &k : kernels()) all[k.name] = &k;
    return all;
  }();
  auto it = index.find(name);
  return it == index.end() ? nullptr : it->second;
}

extern "C" int emu_sizes(const char *name, const int **sizes) {
  const Kernel *k = find(name);
  if (!k) return -1;
  *sizes = k->sizes.data();
  return (int)k->sizes.size();
}

// on_all runs f(0) .. f(n-1), each on a thread of the host.
template <class F> static void on_all(int n, F f) {
  std::vector<std::thread> others;
  for (int i = 1; i < n; i++) others.emplace_back(f, i);
  f(0);
  for (auto &t : others) t.join();
}

extern "C" const char *emu_launch(const char *name, const unsigned *grid, unsigned threads, unsigned shared_bytes, void **args, int nargs, const int *sizes, unsigned long long order) {
  const Kernel *k = find(name);
  if (!k) return "no such kernel";
  if ((int)k->sizes.size() != nargs) return "wrong number of arguments";
  for (int i = 0; i < nargs; i++)
    if (k->sizes[i] != sizes[i]) return "an argument has another size than the parameter";
  if (threads == 0 || threads > 1024 || threads % 32) return "the number of threads is no multiple of a warp, or over 1024";

  // Blocks are independent: each thread of the host runs some, one at a time.
  uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
  int hosts = std::max(1u, std::min((unsigned)blocks, std::thread::hardware_concurrency()));
  std::vector<const char *> faults(hosts, nullptr);
  auto run = [&](int host) {
    Worker w;
    worker = &w;
    w.call = k->call, w.args = args;
    block_size = dim3{threads, 1, 1};
    grid_size = dim3{grid[0], grid[1], grid[2]};
    for (uint64_t b = host; b < blocks && !w.fault; b += hosts) {
      uint64_t i = order == 1 ? blocks - 1 - b : b;
      block_index = dim3{(unsigned)(i % grid[0]), (unsigned)(i / grid[0] % grid[1]), (unsigned)(i / grid[0] / grid[1])};
      std::unique_ptr<unsigned char[]> room(new unsigned char[shared_bytes]); // aligned to 16 bytes; its end is watched by the sanitizer
      shared = room.get();
      memset(shared, 0xff, shared_bytes); // not a number, to whoever reads what nobody wrote
      run_block(&w, threads, order > 1 ? order + b * 0x9e3779b97f4a7c15ull : order);
    }
    faults[host] = w.fault;
  };
  on_all(hosts, run);
  for (const char *f : faults)
    if (f) return f;
  return nullptr;
}

static std::vector<float> widened(const void *p, int is_bf16, int64_t ld, int rows, int cols, int trans) {
  std::vector<float> x((size_t)rows * cols);
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < cols; c++) {
      int64_t at = trans ? c * ld + r : r * ld + c;
      x[(size_t)r * cols + c] = is_bf16 ? widen(((const bf16 *)p)[at]) : ((const float *)p)[at];
    }
  return x;
}

extern "C" void emu_gemm(int m, int n, int k, float alpha, const void *a, int a_bf16, int64_t lda, int ta, const void *b, int b_bf16, int64_t ldb, int tb,
                         const void *c, int64_t ldc, void *d, int d_bf16, int64_t ldd) {
  std::vector<float> x = widened(a, a_bf16, lda, m, k, ta), y = widened(b, b_bf16, ldb, k, n, tb);
  int hosts = std::max(1u, std::min((unsigned)m, std::thread::hardware_concurrency()));
  on_all(hosts, [&](int host) {
    std::vector<float> row(n), piece(n);
    for (int i = host; i < m; i += hosts) {
      std::fill(row.begin(), row.end(), 0.f);
      for (int l0 = 0; l0 < k; l0 += 128) { // long sums in pieces, as a tile's are
        std::fill(piece.begin(), piece.end(), 0.f);
        for (int l = l0; l < k && l < l0 + 128; l++) {
          float s = x[(size_t)i * k + l];
          const float *from = &y[(size_t)l * n];
          for (int j = 0; j < n; j++) piece[j] += s * from[j];
        }
        for (int j = 0; j < n; j++) row[j] += piece[j];
      }
      for (int j = 0; j < n; j++) {
        float v = alpha * row[j];
        if (c) v += d_bf16 ? widen(((const bf16 *)c)[i * ldc + j]) : ((const float *)c)[i * ldc + j];
        if (d_bf16)
          ((bf16 *)d)[i * ldd + j] = narrow<bf16>(v);
        else
          ((float *)d)[i * ldd + j] = v;
      }
    }
  });
}

extern "C" int emu_sanitized() {
#ifdef SANITIZED
  return 1;
#else
  return 0;
#endif
}

// Memory that a launch must not touch is poisoned, so that the sanitizer ends the process where it is.
extern "C" void emu_poison(void *p, size_t n, int on) {
#ifdef SANITIZED
  if (on)
    __asan_poison_memory_region(p, n);
  else
    __asan_unpoison_memory_region(p, n);
#endif
}
