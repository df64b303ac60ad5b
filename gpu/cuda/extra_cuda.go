//go:build cuda

package cuda

// What gorgonia.org/cu lacks, by dlopen and without headers: pinned memory, stream capture and graph
// launch, function attributes, launches whose arguments are not all 8 bytes, and cuBLASLt.

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

// The driver's functions, as declared in cuda.h.
static struct {
	int (*memHostAlloc)(void **, size_t, unsigned);
	int (*memFreeHost)(void *);
	int (*beginCapture)(void *, int);
	int (*endCapture)(void *, void **);
	int (*instantiate)(void **, void *, unsigned long long);
	int (*graphLaunch)(void *, void *);
	int (*execDestroy)(void *);
	int (*graphDestroy)(void *);
	int (*setAttribute)(void *, int, int);
	int (*launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
	int (*errorName)(int, const char **);
	int (*errorString)(int, const char **);
} drv;

// cuBLASLt's functions, as declared in cublasLt.h.
static struct {
	int (*create)(void **);
	int (*destroy)(void *);
	int (*descCreate)(void **, int, int);
	int (*descSet)(void *, int, const void *, size_t);
	int (*layoutCreate)(void **, int, uint64_t, uint64_t, int64_t);
	int (*prefCreate)(void **);
	int (*prefDestroy)(void *);
	int (*prefSet)(void *, int, const void *, size_t);
	int (*heuristic)(void *, void *, void *, void *, void *, void *, void *, int, void *, int *);
	int (*matmul)(void *, void *, const void *, const void *, void *, const void *, void *, const void *, const void *, void *, void *, void *, const void *, void *, size_t, void *);
	const char *(*status)(int);
} lt;

static const char *missing;

static void *symbol(void *lib, const char *name) {
	void *p = dlsym(lib, name);
	if (!p) missing = name;
	return p;
}

// load_driver and load_cublaslt give NULL, or what is missing.
static const char *load_driver(void) {
	void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
	if (!lib) return dlerror();
	missing = NULL;
	drv.memHostAlloc = symbol(lib, "cuMemHostAlloc");
	drv.memFreeHost = symbol(lib, "cuMemFreeHost");
	drv.beginCapture = symbol(lib, "cuStreamBeginCapture_v2");
	drv.endCapture = symbol(lib, "cuStreamEndCapture");
	drv.instantiate = symbol(lib, "cuGraphInstantiateWithFlags");
	drv.graphLaunch = symbol(lib, "cuGraphLaunch");
	drv.execDestroy = symbol(lib, "cuGraphExecDestroy");
	drv.graphDestroy = symbol(lib, "cuGraphDestroy");
	drv.setAttribute = symbol(lib, "cuFuncSetAttribute");
	drv.launch = symbol(lib, "cuLaunchKernel");
	drv.errorName = symbol(lib, "cuGetErrorName");
	drv.errorString = symbol(lib, "cuGetErrorString");
	return missing;
}

static const char *load_cublaslt(const char *name) {
	void *lib = dlopen(name, RTLD_NOW | RTLD_GLOBAL);
	if (!lib) return dlerror();
	missing = NULL;
	lt.create = symbol(lib, "cublasLtCreate");
	lt.destroy = symbol(lib, "cublasLtDestroy");
	lt.descCreate = symbol(lib, "cublasLtMatmulDescCreate");
	lt.descSet = symbol(lib, "cublasLtMatmulDescSetAttribute");
	lt.layoutCreate = symbol(lib, "cublasLtMatrixLayoutCreate");
	lt.prefCreate = symbol(lib, "cublasLtMatmulPreferenceCreate");
	lt.prefDestroy = symbol(lib, "cublasLtMatmulPreferenceDestroy");
	lt.prefSet = symbol(lib, "cublasLtMatmulPreferenceSetAttribute");
	lt.heuristic = symbol(lib, "cublasLtMatmulAlgoGetHeuristic");
	lt.matmul = symbol(lib, "cublasLtMatmul");
	lt.status = symbol(lib, "cublasLtGetStatusString");
	return missing;
}

static int pinned(void **p, size_t n) { return drv.memHostAlloc(p, n, 0); }
static int unpinned(void *p) { return drv.memFreeHost(p); }
static int begin_capture(void *stream) { return drv.beginCapture(stream, 2); } // CU_STREAM_CAPTURE_MODE_RELAXED
static int end_capture(void *stream, void **exec) {
	void *graph = NULL;
	int e = drv.endCapture(stream, &graph);
	if (e || !exec) {
		if (graph) drv.graphDestroy(graph);
		return e;
	}
	e = drv.instantiate(exec, graph, 0);
	drv.graphDestroy(graph);
	return e;
}
static int graph_launch(void *exec, void *stream) { return drv.graphLaunch(exec, stream); }
static int graph_destroy(void *exec) { return drv.execDestroy(exec); }
static int shared_bytes(void *f, int n) { return drv.setAttribute(f, 8, n); } // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES

// launch passes args, each at a multiple of 8 bytes; offsets gives where.
static int launch(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned threads, unsigned shared, void *stream, unsigned char *args, const int *offsets, int n) {
	void *places[32];
	for (int i = 0; i < n; i++) places[i] = args + offsets[i];
	return drv.launch(f, gx, gy, gz, threads, 1, 1, shared, stream, places, NULL);
}
static const char *error_text(int code) {
	const char *s = NULL;
	return drv.errorString && !drv.errorString(code, &s) && s ? s : "unknown error";
}
static const char *error_name(int code) {
	const char *s = NULL;
	return drv.errorName && !drv.errorName(code, &s) && s ? s : "CUDA_ERROR";
}

// A product prepared once: descriptors and the algorithm that cuBLASLt prefers.
typedef struct {
	void *desc, *a, *b, *c, *d;
	struct { // cublasLtMatmulHeuristicResult_t
		uint64_t algo[8];
		size_t workspace;
		int state;
		float waves;
		int reserved[4];
	} found;
} product;

static int lt_create(void **h) { return lt.create(h); }
static int lt_destroy(void *h) { return lt.destroy(h); }
static const char *lt_status(int s) { return lt.status ? lt.status(s) : "error"; }

// Enumerators of cublasLt.h and library_types.h.
enum { COMPUTE_32F = 68, R_32F = 0, R_16BF = 14, DESC_TRANSA = 3, DESC_TRANSB = 4 };
enum { PREF_WORKSPACE = 1, PREF_REDUCTION = 3, PREF_ALIGN_A = 5 };

// Where a sum over k is split, its parts are added in fp32 and in the workspace: neither in the type of the result,
// CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE, nor in it, CUBLASLT_REDUCTION_SCHEME_INPLACE.
static const uint32_t REDUCTION_COMPUTE_TYPE = 2;

static uint32_t alignment(uint64_t p) {
	uint32_t n = 256;
	while (n > 2 && p % n) n /= 2;
	return n;
}

// prepare takes column-major operands: d [m,n] = op(a) [m,k] op(b) [k,n] + c.
static int prepare(void *h, product *p, int m, int n, int k, int ta, int64_t lda, int tb, int64_t ldb, int64_t ldc, int64_t ldd, int in_bf16, int out_bf16, uint64_t workspace,
                   uint64_t pa, uint64_t pb, uint64_t pc, uint64_t pd) {
	int in = in_bf16 ? R_16BF : R_32F, out = out_bf16 ? R_16BF : R_32F, e, found = 0;
	void *pref = NULL;
	if ((e = lt.descCreate(&p->desc, COMPUTE_32F, R_32F))) return e;
	int32_t opA = ta, opB = tb;
	if ((e = lt.descSet(p->desc, DESC_TRANSA, &opA, sizeof opA))) return e;
	if ((e = lt.descSet(p->desc, DESC_TRANSB, &opB, sizeof opB))) return e;
	if ((e = lt.layoutCreate(&p->a, in, ta ? k : m, ta ? m : k, lda))) return e;
	if ((e = lt.layoutCreate(&p->b, in, tb ? n : k, tb ? k : n, ldb))) return e;
	if ((e = lt.layoutCreate(&p->c, out, m, n, ldc))) return e;
	if ((e = lt.layoutCreate(&p->d, out, m, n, ldd))) return e;
	if ((e = lt.prefCreate(&pref))) return e;
	if ((e = lt.prefSet(pref, PREF_WORKSPACE, &workspace, sizeof workspace))) return e;
	if ((e = lt.prefSet(pref, PREF_REDUCTION, &REDUCTION_COMPUTE_TYPE, sizeof REDUCTION_COMPUTE_TYPE))) return e;
	uint64_t at[4] = {pa, pb, pc, pd};
	for (int i = 0; i < 4; i++) {
		uint32_t n = alignment(at[i]);
		if ((e = lt.prefSet(pref, PREF_ALIGN_A + i, &n, sizeof n))) return e;
	}
	e = lt.heuristic(h, p->desc, p->a, p->b, p->c, p->d, pref, 1, &p->found, &found);
	lt.prefDestroy(pref);
	if (e) return e;
	return found < 1 ? 15 : p->found.state; // CUBLAS_STATUS_NOT_SUPPORTED
}

static int multiply(void *h, product *p, float alpha, float beta, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t workspace, uint64_t bytes, void *stream) {
	return lt.matmul(h, p->desc, &alpha, (void *)a, p->a, (void *)b, p->b, &beta, (void *)c, p->c, (void *)d, p->d,
	                 p->found.algo, (void *)workspace, bytes, stream);
}
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"stepflow/gpu"
)

// loadExtra finds the functions. version is that of CUDA which the driver is for, its major number.
func loadExtra(version int) error {
	if s := C.load_driver(); s != nil {
		return fmt.Errorf("the driver lacks %s: stepflow needs one for CUDA 12 or later", C.GoString(s))
	}
	return findCuBLASLt(version, func(path string) error {
		c := C.CString(path)
		defer C.free(unsafe.Pointer(c))
		if s := C.load_cublaslt(c); s != nil {
			return errors.New(C.GoString(s))
		}
		return nil
	})
}

// driverError is a code of the driver.
type driverError int

func (e driverError) Error() string {
	return fmt.Sprintf("%s (%s, error %d)", C.GoString(C.error_text(C.int(e))), C.GoString(C.error_name(C.int(e))),
		int(e))
}

func check(code C.int) error {
	if code == 0 {
		return nil
	}
	return driverError(code)
}

// raw reads the one pointer that a handle of package cu holds.
func raw[T any](x T) unsafe.Pointer {
	if unsafe.Sizeof(x) != unsafe.Sizeof(uintptr(0)) {
		panic("cuda: a handle of gorgonia.org/cu is not one pointer")
	}
	return *(*unsafe.Pointer)(unsafe.Pointer(&x))
}

// pinnedBytes allocates host memory that copies run from without waiting.
func pinnedBytes(n int) ([]byte, error) {
	var p unsafe.Pointer
	if err := check(C.pinned(&p, C.size_t(n))); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), n), nil
}

func freePinned(b []byte) error { return check(C.unpinned(unsafe.Pointer(&b[0]))) }

func allowShared(f unsafe.Pointer, bytes int) error { return check(C.shared_bytes(f, C.int(bytes))) }

func launchKernel(f, stream unsafe.Pointer, c *Call) error {
	if len(c.Sizes) > 32 {
		return errors.New("more than 32 arguments")
	}
	var offsets [32]C.int
	for i, at := range c.Offsets() {
		offsets[i] = C.int(at)
	}
	return check(C.launch(f, C.uint(c.Grid[0]), C.uint(c.Grid[1]), C.uint(c.Grid[2]), C.uint(c.Threads),
		C.uint(c.Shared), stream,
		(*C.uchar)(unsafe.Pointer(&c.Args[0])), &offsets[0], C.int(len(c.Sizes))))
}

func beginCapture(stream unsafe.Pointer) error { return check(C.begin_capture(stream)) }

// endCapture gives an executable graph; keep false throws it away.
func endCapture(stream unsafe.Pointer, keep bool) (unsafe.Pointer, error) {
	if !keep {
		return nil, check(C.end_capture(stream, nil))
	}
	var exec unsafe.Pointer
	err := check(C.end_capture(stream, &exec))
	return exec, err
}

func launchGraph(exec, stream unsafe.Pointer) error { return check(C.graph_launch(exec, stream)) }

func destroyGraph(exec unsafe.Pointer) error { return check(C.graph_destroy(exec)) }

// blas is cuBLASLt, and the products it has prepared.
type blas struct {
	handle   unsafe.Pointer
	prepared map[ProductKey]*C.product
}

func newBLAS() (*blas, error) {
	b := &blas{prepared: map[ProductKey]*C.product{}}
	return b, ltError(C.lt_create(&b.handle))
}

func ltError(status C.int) error {
	if status == 0 {
		return nil
	}
	return fmt.Errorf("cuBLASLt: %s (status %d)", C.GoString(C.lt_status(status)), int(status))
}

// prepare asks cuBLASLt for an algorithm. A row-major matrix is the transpose of a column-major one, so
// cuBLASLt, which is column-major, is asked for Dᵀ = Bᵀ Aᵀ + Cᵀ.
func (b *blas) prepare(p *Product) error {
	key := p.Key()
	if b.prepared[key] != nil {
		return nil
	}
	c, _ := addend(p)
	x := (*C.product)(C.calloc(1, C.sizeof_product))
	half := func(m Matrix) C.int { return asInt(m.Type == gpu.BF16) }
	status := C.prepare(b.handle, x, C.int(p.N), C.int(p.M), C.int(p.K),
		asInt(p.B.Trans), C.int64_t(p.B.LD), asInt(p.A.Trans), C.int64_t(p.A.LD), C.int64_t(c.LD), C.int64_t(p.D.LD),
		half(p.A), half(p.D), C.uint64_t(p.Workspace.Bytes),
		C.uint64_t(p.B.At), C.uint64_t(p.A.At), C.uint64_t(c.At), C.uint64_t(p.D.At))
	if err := ltError(status); err != nil {
		C.free(unsafe.Pointer(x))
		return fmt.Errorf("[%d,%d] x [%d,%d]: %w", p.M, p.K, p.K, p.N, err)
	}
	b.prepared[key] = x
	return nil
}

// addend is what cuBLASLt is given as C, and the factor that it is added with.
func addend(p *Product) (c Matrix, beta C.float) {
	if p.C.At == 0 {
		return p.D, 0
	}
	return p.C, 1
}

// multiply puts a prepared product on the stream.
func (b *blas) multiply(stream unsafe.Pointer, p *Product) error {
	x := b.prepared[p.Key()]
	if x == nil {
		return fmt.Errorf("[%d,%d] x [%d,%d] was not prepared", p.M, p.K, p.K, p.N)
	}
	c, beta := addend(p)
	return ltError(C.multiply(b.handle, x, C.float(p.Alpha), beta, C.uint64_t(p.B.At), C.uint64_t(p.A.At), C.uint64_t(c.At), C.uint64_t(p.D.At),
		C.uint64_t(p.Workspace.At), C.uint64_t(p.Workspace.Bytes), stream))
}

func asInt(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func (b *blas) close() error {
	for _, p := range b.prepared {
		C.free(unsafe.Pointer(p))
	}
	return ltError(C.lt_destroy(b.handle))
}
