//go:build cudaemu && !cuda

package main

import (
	"stepflow/gpu"
	"stepflow/gpu/cuda"
	"stepflow/gpu/cuda/emu"
)

// With the tag cudaemu, -device cuda is the emulator: for tests of what lies above a device.
func openCUDA(*app, int) (gpu.Device, error) { return cuda.Open(emu.New()) }
