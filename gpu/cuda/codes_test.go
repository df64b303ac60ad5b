package cuda

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"stepflow/gpu"
)

var update = flag.Bool("update", false, "write the tables of kernels/codes.cu")

const codesHead = `// Blocks of codes, as gpu.Codes describes them. Written by go test ./gpu/cuda -run TestTablesOfCodes -update.
#include "common.cuh"

#ifndef STEPFLOW_EMU
typedef unsigned char uint8_t;
#endif

struct Codes {
  float values[256], zero, bounds[7], slope[8], offset[8], most[8];
};

// code_of is the code nearest to x, a number from -1 to 1. No product and sum may become one operation.
DEVICE uint8_t code_of(const Codes *c, float x) {
  float a = fabsf(x);
  int i = 0;
#pragma unroll
  for (int b = 0; b < 7; b++) i += a >= c->bounds[b];
  float k = fminf(__fadd_rn(__fmul_rn(c->slope[i], a), c->offset[i]), c->most[i]);
  int q = (int)c->zero + (x < 0 ? -(int)k : (int)k);
  return (uint8_t)(q < 0 ? 0 : q);
}

#define LEAST_SCALE %s
`

// TestTablesOfCodes: the kernels have the tables of package gpu.
func TestTablesOfCodes(t *testing.T) {
	var b strings.Builder
	number := func(x float32) string {
		if x == float32(int(x)) {
			return fmt.Sprintf("%d", int(x))
		}
		return fmt.Sprintf("%gf", x)
	}
	fmt.Fprintf(&b, codesHead, number(gpu.LeastScale))
	for _, d := range []gpu.DType{gpu.Dynamic8, gpu.UDynamic8, gpu.Linear8} {
		c := d.Codes()
		fmt.Fprintf(&b, "\nstatic __device__ const float %v[] = {", d)
		for _, list := range [][]float32{c.Values[:], {float32(c.Zero)}, c.Bounds[:], c.Slope[:], c.Offset[:], c.Most[:]} {
			for i, x := range list {
				if i%8 == 0 {
					b.WriteString("\n ")
				}
				fmt.Fprintf(&b, " %s,", number(x))
			}
		}
		b.WriteString("\n};\n")
	}
	const path = "kernels/codes.cu"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not what package gpu has: run the test with -update", path)
	}
}
