//go:build !linux

package mpi

import (
	"errors"

	"stepflow/gpu"
)

// Open says that there is no MPI here.
func Open() (gpu.Communicator, error) {
	return nil, errors.New("several ranks need MPI, which stepflow uses on Linux only")
}
