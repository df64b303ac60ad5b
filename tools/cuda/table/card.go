package main

// The H100 SXM that predictions are for (NVIDIA H100 Tensor Core GPU Architecture, 2022; CUDA C++ Programming Guide,
// table of technical specifications by compute capability, 9.0).
const (
	processors = 132
	clock      = 1.755e9 // Hz
	bandwidth  = 3.35e12 // bytes/s
	copyRate   = 0.85    // of it, that a good copy reaches: an assumption
	issueRate  = 4       // instructions a clock and processor, of 32 threads each
	tensorRate = 989e12  // FLOP/s of bf16 products with fp32 sums, at 1.83 GHz: what MFU is a share of
	library    = 0.70    // of it, that cuBLASLt reaches at these shapes: an assumption
	launchTime = 2e-6    // s, from the end of one launch of a graph to the start of the next: an assumption

	registersPer   = 64 << 10 // a processor
	registersGrain = 256      // a warp takes a multiple of so many
	threadsPer     = 2048
	blocksPer      = 32
	sharedPer      = 228 << 10
	sharedReserved = 1 << 10 // a block
)

// occupancy is how many threads of a kernel a processor holds at once, of those it could.
func occupancy(registers, threads, shared int) float64 {
	warps := (threads + 31) / 32
	perWarp := (registers*32 + registersGrain - 1) / registersGrain * registersGrain
	blocks := min(blocksPer, threadsPer/(warps*32), registersPer/(max(perWarp, 1)*warps),
		sharedPer/(shared+sharedReserved))
	return float64(blocks*warps*32) / threadsPer
}
