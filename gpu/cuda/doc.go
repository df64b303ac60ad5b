// Package cuda runs programs on an NVIDIA card: it turns each launch of the kernel table into calls of
// the kernels in kernels/ and of a matrix product, and hands them to a [Driver].
//
// There are two drivers. The card's, behind the build tag cuda, goes through gorgonia.org/cu and
// cuBLASLt; package emu, behind the tag cudaemu, runs the same kernels on the host, for tests. All that
// is here is pure Go and knows neither, so the launcher code that is tested is the code that runs.
//
// Results depend on the card, never on the run: sums are cut by shape, and no kernel uses atomics.
package cuda
