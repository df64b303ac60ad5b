//go:build !linux

package cuda

import "errors"

// Find tells that cards are looked for on Linux only.
func Find() ([]Card, error) { return nil, errors.New("CUDA is supported on Linux only") }
