//go:build !cuda && !cudaemu

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
)

// openCUDA goes on as stepflow-cuda, the same program with a card's driver linked in: this one starts
// where there is no driver. It returns only if that can't be.
func openCUDA(a *app, card int) (gpu.Device, error) {
	cards, err := cuda.Find()
	if err != nil {
		return nil, fmt.Errorf("-device cuda: %w", err)
	}
	if card >= len(cards) {
		return nil, fmt.Errorf("-device cuda:%d: the driver shows %d cards", card, len(cards))
	}
	path, err := cudaBinary()
	if err != nil {
		return nil, fmt.Errorf("-device cuda: there is %s, but no stepflow-cuda, the program with its driver linked "+
			"in, beside this one or on PATH: make cuda builds it", cards[card].Name)
	}
	err = syscall.Exec(path, append([]string{path}, os.Args[1:]...), a.env)
	return nil, fmt.Errorf("-device cuda: running %s: %w", path, err)
}

// cudaBinary finds stepflow-cuda beside this program or on PATH.
func cudaBinary() (string, error) {
	if self, err := os.Executable(); err == nil {
		if beside, err := exec.LookPath(filepath.Join(filepath.Dir(self), "stepflow-cuda")); err == nil {
			return beside, nil
		}
	}
	return exec.LookPath("stepflow-cuda")
}
