//go:build amd64 && !noasm

package cpu

//go:noescape
func drawAVX512(n int, to *uint16, from *float32, z uint64)

//go:noescape
func drawAVX2(n int, to *uint16, from *float32, z uint64)

//go:noescape
func randomAVX512(n int, to *float32, z uint64, factor float32)

// drawWith runs whole vectors through the assembly, the rest in Go.
func drawWith(lanes int, f func(n int, to *uint16, from *float32, z uint64)) func([]uint16, []float32, uint32, int64) {
	return func(to []uint16, from []float32, seed uint32, first int64) {
		n := len(from) / lanes * lanes
		z := splitmixState(seed, first)
		if !sameUpper(z, n) { // rare: all of them in Go
			n = 0
		}
		if n > 0 {
			_ = to[n-1]
			f(n, &to[0], &from[0], z)
		}
		drawLoop(to[n:], from[n:], seed, first+int64(n))
	}
}

// randomBits is randomLoop on processors that count bits in vectors (VPOPCNTQ).
func randomBits(to []float32, seed uint32, row, col int, alpha float32) {
	n := len(to) / 16 * 16
	z := splitmixState(seed, int64(row)<<20+int64(col))
	if !sameUpper(z, n) {
		n = 0
	}
	if n > 0 {
		randomAVX512(n, &to[0], z, alpha/4)
	}
	randomLoop(to[n:], seed, row, col+n, alpha)
}
