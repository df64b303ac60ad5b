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
