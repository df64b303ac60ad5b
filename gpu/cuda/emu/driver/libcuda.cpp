// A driver library on the emulator: the functions of libcuda and libcublasLt that stepflow-cuda calls, in
// host memory. With it the card's own driver code runs where there is no card, calls, captures and
// column-major products included. Built by build.sh, for tests.
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "../emu_c.h"

#define API extern "C" __attribute__((visibility("default")))

enum {
  OK = 0,
  INVALID = 1,
  OUT_OF_MEMORY = 2,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  LAUNCH_FAILED = 719,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
  CAPTURE_UNJOINED = 904,
  CAPTURE_ISOLATION = 905,
  CAPTURE_IMPLICIT = 906
};

static const size_t total = 4ull << 30;
static std::map<uint64_t, size_t> taken, pinned; // memory of the card, and of the host that copies run from
static size_t held() {
  size_t n = 0;
  for (auto &x : taken) n += x.second;
  return n;
}
static bool inside(const std::map<uint64_t, size_t> &all, uint64_t p, size_t n) {
  auto it = all.upper_bound(p);
  if (it == all.begin()) return false;
  --it;
  return p + n <= it->first + it->second;
}
static bool inside(uint64_t p, size_t n) { return inside(taken, p, n); }

typedef std::vector<std::function<int()>> Graph;
static Graph *capturing; // what is put on the stream goes here while it is set
static bool spoiled;     // something was refused meanwhile: the capture has failed as a whole

// refused is the error of what the CUDA C++ Programming Guide forbids while a stream is captured, and of what is
// known to fail there: allocating, waiting, loading modules and code, setting attributes. It is strict where the
// relaxed mode may be lenient.
static int refused(int code = CAPTURE_UNSUPPORTED) {
  if (!capturing) return OK;
  spoiled = true;
  return code;
}
#define REFUSED_IN_CAPTURE \
  if (int e = refused()) return e

// Streams run what they are given at once. One is captured by itself, others from where they wait for an event of the capture on,
// which must end with a wait for all that they did. The legacy stream would wait for all others, and a capture refuses it.
struct Stream {
  bool joined = false;        // to the capture that is under way
  int done = 0, awaited = 0;  // of the capture: pieces of work, and how many of them the captured stream waits for
};
static std::set<Stream *> streams;
static Stream *captured;
static int other_stream(void *s) {
  if (streams.count((Stream *)s)) return OK;
  if (int e = refused(CAPTURE_IMPLICIT)) return e;
  return INVALID_HANDLE;
}

static int submit(std::function<int()> f, void *stream) {
  if (int e = other_stream(stream)) return e;
  Stream *on = (Stream *)stream;
  if (!capturing || !(on == captured || on->joined)) return f();
  on->done++;
  capturing->push_back(f);
  return OK;
}

// What stands in for NCCL puts its work on the stream by this. Without a function it only tells whether a capture is under way.
API int stand_in_submit(int (*f)(void *), void *data, void *stream, int *captured) {
  *captured = capturing != nullptr;
  return f ? submit([=] { return f(data); }, stream) : OK;
}

API int cuInit(unsigned flags) { return flags ? INVALID : OK; }
API int cuDriverGetVersion(int *v) { return *v = 12010, OK; }
API int cuDeviceGetCount(int *n) { return *n = 1, OK; }
API int cuDeviceGet(int *d, int i) { return *d = i, i ? INVALID : OK; }
API int cuDeviceGetName(char *s, int n, int) { return strncpy(s, "emulated card", n), OK; }
API int cuDeviceTotalMem_v2(size_t *n, int) { return *n = total, OK; }
API int cuDeviceGetAttribute(int *x, int attribute, int) {
  switch (attribute) {
  case 75: return *x = 8, OK;          // compute capability, major
  case 76: return *x = 9, OK;          // and minor
  case 97: return *x = 99 << 10, OK;   // shared memory a block may ask for
  default: return *x = 0, OK;          // no multiprocessors: a stand-in
  }
}
API int cuDevicePrimaryCtxSetFlags_v2(int, unsigned) { return OK; }
API int cuDevicePrimaryCtxRetain(void **c, int) {
  REFUSED_IN_CAPTURE;
  return *c = (void *)1, OK;
}
API int cuDevicePrimaryCtxRelease_v2(int) {
  REFUSED_IN_CAPTURE;
  return taken.empty() ? OK : INVALID;
}
API int cuCtxSetCurrent(void *) { return OK; }
API int cuMemGetInfo_v2(size_t *f, size_t *t) {
  REFUSED_IN_CAPTURE;
  return *f = total - held(), *t = total, OK;
}
API int cuMemAlloc_v2(uint64_t *p, size_t n) {
  REFUSED_IN_CAPTURE;
  if (n == 0 || held() + n > total) return OUT_OF_MEMORY;
  void *m = nullptr;
  if (posix_memalign(&m, 256, n)) return OUT_OF_MEMORY;
  memset(m, 0xa5, n); // a card's memory is not zeroed
  taken[*p = (uint64_t)m] = n;
  return OK;
}
API int cuMemFree_v2(uint64_t p) {
  REFUSED_IN_CAPTURE;
  if (!taken.erase(p)) return INVALID;
  free((void *)p);
  return OK;
}
API int cuMemHostAlloc(void **p, size_t n, unsigned) {
  REFUSED_IN_CAPTURE;
  if (!(*p = malloc(n))) return OUT_OF_MEMORY;
  return pinned[(uint64_t)*p] = n, OK;
}
API int cuMemFreeHost(void *p) {
  REFUSED_IN_CAPTURE;
  if (!pinned.erase((uint64_t)p)) return INVALID;
  return free(p), OK;
}
API int cuMemsetD8Async(uint64_t p, unsigned char c, size_t n, void *stream) {
  if (!inside(p, n)) return INVALID;
  return submit([=] { return memset((void *)p, c, n), OK; }, stream);
}
API int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *stream) {
  if (!inside(to, n)) return INVALID;
  if (!inside(pinned, (uint64_t)from, n)) REFUSED_IN_CAPTURE;
  return submit([=] { return memcpy((void *)to, from, n), OK; }, stream);
}
API int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *stream) {
  if (!inside(from, n)) return INVALID;
  if (!inside(pinned, (uint64_t)to, n)) REFUSED_IN_CAPTURE;
  return submit([=] { return memcpy(to, (void *)from, n), OK; }, stream);
}
API int cuStreamCreate(void **s, unsigned) {
  Stream *made = new Stream;
  return streams.insert(made), *s = made, OK;
}
API int cuStreamDestroy_v2(void *s) {
  REFUSED_IN_CAPTURE;
  return streams.erase((Stream *)s) ? OK : INVALID_HANDLE;
}
API int cuStreamSynchronize(void *stream) {
  REFUSED_IN_CAPTURE;
  return other_stream(stream);
}

// A module's functions are the emulator's, by name; an image must be one.
API int cuModuleLoadData(void **m, const void *image) {
  REFUSED_IN_CAPTURE;
  if (memcmp(image, "\x7f" "ELF", 4) && !strstr((const char *)image, ".version")) return 200;
  return *m = (void *)1, OK;
}
API int cuModuleUnload(void *) {
  REFUSED_IN_CAPTURE;
  return OK;
}
struct Function {
  std::string name;
  unsigned shared;
  bool loaded; // by its first launch, as modules are loaded lazily
};
API int cuModuleGetFunction(void **f, void *, const char *name) {
  REFUSED_IN_CAPTURE;
  const int *sizes;
  if (emu_sizes(name, &sizes) < 0) return NOT_FOUND;
  return *f = new Function{name, 48 << 10, false}, OK;
}
API int cuFuncSetAttribute(void *f, int attribute, int n) {
  REFUSED_IN_CAPTURE;
  if (attribute != 8 || n > 99 << 10) return INVALID;
  return ((Function *)f)->shared = n, OK;
}
API int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                       unsigned shared, void *stream, void **params, void **extra) {
  Function *k = (Function *)f;
  if (!k->loaded) REFUSED_IN_CAPTURE;
  k->loaded = true;
  if (by != 1 || bz != 1 || extra || shared > k->shared || !gx || !gy || !gz || gy > 65535 || gz > 65535) return INVALID;
  const int *sizes;
  int n = emu_sizes(k->name.c_str(), &sizes);
  std::vector<std::vector<unsigned char>> args; // a launch takes its arguments' values when it is made
  for (int i = 0; i < n; i++) args.emplace_back((unsigned char *)params[i], (unsigned char *)params[i] + sizes[i]);
  return submit([=]() mutable {
    std::vector<void *> places;
    for (auto &a : args) places.push_back(a.data());
    unsigned grid[3] = {gx, gy, gz};
    return emu_launch(k->name.c_str(), grid, bx, shared, places.data(), n, sizes, 0) ? LAUNCH_FAILED : OK;
  }, stream);
}

static double now() { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
struct Event {
  double at;
  bool timing;
  Stream *of;    // where it was recorded in a capture
  Graph *during; // which capture; null outside one
  int after;     // pieces of work of its stream
};
API int cuEventCreate(void **e, unsigned flags) { return *e = new Event{0, !(flags & 2), nullptr, nullptr, 0}, OK; }
API int cuEventDestroy_v2(void *e) { return delete (Event *)e, OK; }
API int cuEventRecord(void *event, void *stream) {
  Event *e = (Event *)event;
  Stream *on = (Stream *)stream;
  if (e->timing) REFUSED_IN_CAPTURE;
  if (int code = other_stream(stream)) return code;
  bool in = capturing && (on == captured || on->joined);
  return e->at = now(), e->of = on, e->during = in ? capturing : nullptr, e->after = on->done, OK;
}
API int cuStreamWaitEvent(void *stream, void *event, unsigned) {
  Event *e = (Event *)event;
  Stream *on = (Stream *)stream;
  if (int code = other_stream(stream)) return code;
  if (!capturing) return OK; // all was done at once
  bool in = on == captured || on->joined;
  if (!e->during || e->during != capturing) return in ? refused(CAPTURE_ISOLATION) : OK;
  if (on == captured) e->of->awaited = e->after > e->of->awaited ? e->after : e->of->awaited;
  else on->joined = true;
  return OK;
}
API int cuEventSynchronize(void *) {
  REFUSED_IN_CAPTURE;
  return OK;
}
API int cuEventElapsedTime(float *ms, void *a, void *b) {
  REFUSED_IN_CAPTURE;
  return *ms = (float)(((Event *)b)->at - ((Event *)a)->at), OK;
}

API int cuStreamBeginCapture_v2(void *stream, int mode) {
  if (capturing || mode != 2 || other_stream(stream)) return INVALID;
  for (Stream *s : streams) *s = Stream{};
  return captured = (Stream *)stream, spoiled = false, capturing = new Graph, OK;
}
API int cuStreamEndCapture(void *, void **g) {
  if (!capturing) return INVALID;
  int code = spoiled ? CAPTURE_INVALIDATED : OK;
  for (Stream *s : streams)
    if (s != captured && s->done > s->awaited) code = CAPTURE_UNJOINED;
  *g = code ? nullptr : capturing;
  if (code) delete capturing;
  return capturing = nullptr, captured = nullptr, code;
}
API int cuGraphInstantiateWithFlags(void **exec, void *g, unsigned long long) {
  REFUSED_IN_CAPTURE;
  return *exec = new Graph(*(Graph *)g), OK;
}
API int cuGraphLaunch(void *exec, void *) {
  REFUSED_IN_CAPTURE;
  for (auto &f : *(Graph *)exec)
    if (int e = f()) return e;
  return OK;
}
API int cuGraphExecDestroy(void *g) { return delete (Graph *)g, OK; }
API int cuGraphDestroy(void *g) { return delete (Graph *)g, OK; }
API int cuGetErrorName(int, const char **s) { return *s = "CUDA_ERROR", OK; }
API int cuGetErrorString(int, const char **s) { return *s = "an error of the emulated driver", OK; }

// cuBLASLt: column-major, with the enumerators of its headers.
struct Desc {
  int transA, transB;
};
struct Layout {
  int bf16;
  uint64_t rows, cols;
  int64_t ld;
};
struct Preference {
  uint64_t workspace;
  uint32_t align[4], reduction;
};
API int cublasLtCreate(void **h) {
  REFUSED_IN_CAPTURE;
  return *h = (void *)1, OK;
}
API int cublasLtDestroy(void *) {
  REFUSED_IN_CAPTURE;
  return OK;
}
API const char *cublasLtGetStatusString(int) { return "an error of the emulated cuBLASLt"; }
API int cublasLtMatmulDescCreate(void **d, int compute, int scale) {
  if (compute != 68 || scale != 0) return 7; // CUBLAS_COMPUTE_32F, CUDA_R_32F
  return *d = new Desc{0, 0}, OK;
}
API int cublasLtMatmulDescSetAttribute(void *d, int attribute, const void *p, size_t n) {
  if (n != 4 || (attribute != 3 && attribute != 4)) return 7;
  (attribute == 3 ? ((Desc *)d)->transA : ((Desc *)d)->transB) = *(const int *)p;
  return OK;
}
API int cublasLtMatrixLayoutCreate(void **l, int type, uint64_t rows, uint64_t cols, int64_t ld) {
  if ((type != 0 && type != 14) || ld < (int64_t)rows) return 7; // CUDA_R_32F, CUDA_R_16BF
  return *l = new Layout{type == 14, rows, cols, ld}, OK;
}
API int cublasLtMatmulPreferenceCreate(void **p) { return *p = new Preference{0, {256, 256, 256, 256}, 7}, OK; }
API int cublasLtMatmulPreferenceDestroy(void *p) { return delete (Preference *)p, OK; }
API int cublasLtMatmulPreferenceSetAttribute(void *p, int attribute, const void *v, size_t n) {
  Preference *f = (Preference *)p;
  if (attribute == 1 && n == 8) return f->workspace = *(const uint64_t *)v, OK;
  if (attribute == 3 && n == 4) return f->reduction = *(const uint32_t *)v, OK;
  if (attribute >= 5 && attribute <= 8 && n == 4) return f->align[attribute - 5] = *(const uint32_t *)v, OK;
  return 7;
}
API int cublasLtMatmulAlgoGetHeuristic(void *, void *, void *, void *, void *, void *, void *p, int n, void *results, int *found) {
  if (n != 1) return 7;
  if (((Preference *)p)->reduction != 2) return 7; // or parts of a sum might be added in the type of the result
  if (refused()) return 14; // as cuBLASLt 13.3 answers while a stream is captured
  uint64_t *r = (uint64_t *)results; // a result of 12 words, the algorithm in the first 8: here, what it relies on
  memset(r, 0, 96);
  for (int i = 0; i < 4; i++) r[i] = ((Preference *)p)->align[i];
  r[4] = ((Preference *)p)->workspace;
  static uint64_t chosen;
  r[5] = ++chosen;
  if (getenv("STAND_IN_UNSUPPORTED")) ((int *)results)[18] = 15; // the state of a result that is of no use
  return *found = 1, OK;
}
API int cublasLtMatmul(void *, void *desc, const void *alpha, const void *a, void *la, const void *b, void *lb, const void *beta, const void *c, void *lc, void *d, void *ld, const void *algo,
                       void *workspace, size_t bytes, void *stream) {
  Desc x = *(Desc *)desc;
  Layout A = *(Layout *)la, B = *(Layout *)lb, C = *(Layout *)lc, D = *(Layout *)ld;
  const uint64_t *r = (const uint64_t *)algo;
  uint64_t m = x.transA ? A.cols : A.rows, k = x.transA ? A.rows : A.cols, n = x.transB ? B.rows : B.cols;
  if (k != (x.transB ? B.cols : B.rows) || D.rows != m || D.cols != n || C.rows != m || C.cols != n || A.bf16 != B.bf16 || C.bf16 != D.bf16) return 7;
  if (((uint64_t)a % r[0]) || ((uint64_t)b % r[1]) || ((uint64_t)c % r[2]) || ((uint64_t)d % r[3]) || bytes != r[4] || (bytes && !inside((uint64_t)workspace, bytes))) return 7;
  static std::set<uint64_t> loaded; // algorithms that ran: a first product loads their code
  if (!loaded.count(r[5]) && refused()) return 14;
  loaded.insert(r[5]);
  if (bytes) memset(workspace, 0xff, bytes < 4096 ? bytes : 4096); // it is the product's, and holds nothing of anyone's
  float al = *(const float *)alpha, be = *(const float *)beta;
  if (be != 0 && be != 1) return 7;
  // D, column-major, is the row-major transpose: Dᵀ [n,m] = op(B)ᵀ [n,k] op(A)ᵀ [k,m].
  return submit([=] {
    emu_gemm(n, m, k, al, b, B.bf16, B.ld, x.transB, a, A.bf16, A.ld, x.transA, be ? c : nullptr, C.ld, d, D.bf16, D.ld);
    return OK;
  }, stream);
}
