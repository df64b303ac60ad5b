package kernels

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
