// What Go calls of the emulator.
#pragma once
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
int emu_sizes(const char *name, const int **sizes); // the number of a kernel's arguments, -1 if there is none
const char *emu_launch(const char *name, const unsigned *grid, unsigned threads, unsigned shared_bytes, void **args, int nargs, const int *sizes, unsigned long long order);
void emu_gemm(int m, int n, int k, float alpha, const void *a, int a_bf16, int64_t lda, int ta, const void *b, int b_bf16, int64_t ldb, int tb,
              const void *c, int64_t ldc, void *d, int d_bf16, int64_t ldd);
int emu_sanitized(void);
void emu_poison(void *p, size_t n, int on);
#ifdef __cplusplus
}
#endif
