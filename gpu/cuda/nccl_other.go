//go:build !linux || !(amd64 || arm64)

package cuda

import "errors"

// openNCCL tells that there is no NCCL here.
func openNCCL(string) (*ncclLibrary, error) {
	return nil, errors.New("NCCL is there for Linux on amd64 and arm64")
}
