package kernels

import (
	"os"
	"slices"
	"testing"
)

func TestFor(t *testing.T) {
	for _, x := range []struct {
		major, minor int
		want         []string
	}{
		{8, 0, []string{"sm_80.cubin", "compute_80.ptx"}},
		{8, 6, []string{"sm_80.cubin", "compute_80.ptx"}},
		{8, 9, []string{"sm_89.cubin", "sm_80.cubin", "compute_80.ptx"}},
		{9, 0, []string{"sm_90a.cubin", "compute_80.ptx"}},
		{10, 0, []string{"compute_80.ptx"}},
		{12, 0, []string{"compute_80.ptx"}},
	} {
		got := For(x.major, x.minor)
		if !slices.Equal(got, x.want) {
			t.Errorf("%d.%d: %v, want %v", x.major, x.minor, got, x.want)
		}
		for _, name := range got {
			if _, err := os.Stat("images/" + name + ".gz"); err != nil {
				t.Error(err)
			}
		}
	}
}
