//go:build cudaemu

package optim_test

import (
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
	"stepflow/gpu/cuda/emu"
)

func init() {
	emulated = func(t *testing.T) gpu.Device {
		d, err := cuda.Open(emu.New())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
}
