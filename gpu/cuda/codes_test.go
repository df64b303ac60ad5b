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

// TestTablesOfCodes: the kernels have the tables of package gpu. They end kernels/codes.cu, from the least scale on.
func TestTablesOfCodes(t *testing.T) {
	const path, first = "kernels/codes.cu", "#define LEAST_SCALE "
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	code, _, ok := strings.Cut(string(got), first)
	if !ok {
		t.Fatalf("%s has no line %q", path, first)
	}
	var b strings.Builder
	number := func(x float32) string {
		if x == float32(int(x)) {
			return fmt.Sprintf("%d", int(x))
		}
		return fmt.Sprintf("%gf", x)
	}
	fmt.Fprintf(&b, "%s%s%s\n", code, first, number(gpu.LeastScale))
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
	if string(got) == b.String() {
		return
	}
	if !*update {
		t.Fatalf("%s is not what package gpu has: run the test with -update", path)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
