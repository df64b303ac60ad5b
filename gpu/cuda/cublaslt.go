package cuda

import "fmt"

// findCuBLASLt opens cuBLASLt where it lies, the newest first. driver is the major version of CUDA that the card's driver is
// for: it runs libraries of that version and of those before.
func findCuBLASLt(driver int, open func(path string) error) error {
	w := wanted{name: "cuBLASLt", variable: "STEPFLOW_CUBLASLT", missing: fmt.Sprintf("no cuBLASLt can be loaded. The driver is "+
		"for CUDA %d: it takes cuBLASLt of CUDA 12 or later, but not later than itself. It comes with the CUDA toolkit, with PyTorch, "+
		"and from PyPI as nvidia-cublas-cu12; name its file in STEPFLOW_CUBLASLT. Tried were", driver)}
	for _, version := range []int{13, 12} {
		if version <= max(driver, 12) {
			w.files = append(w.files, fmt.Sprintf("libcublasLt.so.%d", version))
		}
	}
	return w.find(open)
}
