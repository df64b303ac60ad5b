//go:build cudaemu

package emu

import (
	"fmt"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
	"stepflow/gpu/gputest"
)

func open(t *testing.T, order uint64) *cuda.Device {
	d := New()
	d.Order = order
	dev, err := cuda.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

// Every kernel of the table, in fp32 and bf16, with the threads in three orders.
func TestConformance(t *testing.T) {
	for _, order := range []uint64{Ascending, Descending, 12345} {
		t.Run(fmt.Sprint("order", order), func(t *testing.T) {
			gputest.Run(t, func() gpu.Device { return open(t, order) })
		})
	}
}
