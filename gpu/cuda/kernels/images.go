//go:build cuda

package kernels

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"
)

//go:generate make -C ../../.. cuda-kernels

//go:embed images/*.gz
var images embed.FS

// For lists the images that a card of a compute capability can load, the best first.
func For(major, minor int) []string {
	var list []string
	switch {
	case major == 9 && minor == 0:
		list = []string{"sm_90a.cubin"}
	case major == 8 && minor == 9:
		list = []string{"sm_89.cubin", "sm_80.cubin"}
	case major == 8:
		list = []string{"sm_80.cubin"}
	}
	return append(list, "compute_80.ptx")
}

// Image gives an image as the driver takes it; text ends in a zero byte already.
func Image(name string) ([]byte, error) {
	b, err := images.ReadFile("images/" + name + ".gz")
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("kernels: %s: %w", name, err)
	}
	return io.ReadAll(z)
}
