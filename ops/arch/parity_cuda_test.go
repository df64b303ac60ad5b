//go:build cudaemu

package arch_test

import (
	"testing"

	"stepflow/gpu/cuda"
	"stepflow/gpu/cuda/emu"
)

func init() {
	machines["cuda"] = func(t *testing.T) machine {
		d, err := cuda.Open(emu.New())
		must(t, err)
		t.Cleanup(func() { d.Close() })
		return machine{d.Caps(), d.Load}
	}
}
