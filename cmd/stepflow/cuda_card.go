//go:build cuda

package main

import (
	"stepflow/gpu"
	"stepflow/gpu/cuda"
)

func openCUDA(_ *app, card int) (gpu.Device, error) {
	d, err := cuda.OpenCard(card)
	if err != nil {
		return nil, err
	}
	return cuda.Open(d)
}
