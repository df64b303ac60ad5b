package program

import (
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/cuda"
)

// TestTryIsCompile: what is given up without making a program is what Compile gives up, and the bytes are the program's, for
// every amount of memory from far too little to plenty.
func TestTryIsCompile(t *testing.T) {
	for _, caps := range []gpu.Caps{cpu.PlanCaps(""), cuda.PlanCaps("card", 1<<40)} {
		free := NewPrograms(caps).On(0)
		for _, c := range []struct {
			checkpointing string
			auto          bool
			dtype         gpu.DType
		}{{"none", false, gpu.F32}, {"block", true, gpu.BF16}, {"auto", true, gpu.F32}, {"auto", true, gpu.BF16}, {"2", true, gpu.BF16}} {
			whole := stageOf(4)
			whole.AutoMicro, whole.DType, whole.Seq = c.auto, c.dtype, 256
			most, err := free.Try(whole, c.checkpointing)
			must(t, err)
			for part := range int64(5) {
				programs := free.On(most.Bytes * (part + 1) / 5)
				s := *whole
				f, err := programs.Try(&s, c.checkpointing)
				must(t, err)
				if s.Micro != whole.Micro || s.Recompute != 0 || s.Program != nil {
					t.Fatal("Try changes the stage")
				}
				must(t, NewPrograms(programs.caps).Compile(&s, c.checkpointing))
				n := s.Program.ArenaBytes
				if want := (Fit{n, n <= programs.caps.Memory, s.Micro, s.Recompute, s.Chunk}); f != want {
					t.Errorf("%s, %v in %d bytes: Try says %+v, Compile %+v", caps.Kind, c, programs.caps.Memory, f, want)
				}
			}
		}
	}
}

// TestTryBetweenSteps: with tasks between steps, Try gives up of the training what Compile does, says of every amount of memory
// whether the stage fits as Compile does, and never that it takes less; what it says does not depend on what was asked before.
func TestTryBetweenSteps(t *testing.T) {
	caps := cuda.PlanCaps("card", 1<<40)
	free := NewPrograms(caps).On(0)
	whole := stageOf(4)
	whole.AutoMicro, whole.DType, whole.Seq = true, gpu.BF16, 256
	whole.Inference = &Inference{Context: 600, Continuation: 8, Texts: 2}
	alone := *whole
	alone.Inference = nil
	train, err := free.Try(&alone, "auto")
	must(t, err)
	most, err := free.Try(whole, "auto")
	must(t, err)
	if most.Bytes <= train.Bytes {
		t.Fatalf("with tasks the stage takes %d bytes, and %d without", most.Bytes, train.Bytes)
	}
	fitting := map[bool]bool{}
	for part := range int64(8) {
		programs := free.On(most.Bytes * (part + 1) / 8)
		f, err := programs.Try(whole, "auto")
		must(t, err)
		s, x := *whole, *whole.Inference
		s.Inference = &x
		must(t, NewPrograms(programs.caps).Compile(&s, "auto"))
		n := s.Program.ArenaBytes
		fits := n <= programs.caps.Memory
		fitting[fits] = true
		if f.Fits != fits || f.Bytes < n || f.Micro != s.Micro || f.Recompute != s.Recompute || f.Chunk != s.Chunk {
			t.Errorf("in %d bytes: Try says %+v, Compile %d bytes, micro-batch %d, %d layers, %d rows", programs.caps.Memory, f, n,
				s.Micro, s.Recompute, s.Chunk)
		}
	}
	if len(fitting) < 2 {
		t.Error("it always fits, or never")
	}
}

// TestManyMicroBatchesMayTakeMore: of many sequences, one at a time takes wider gradients; a micro-batch that has few enough
// parts is found, though smaller ones do not fit.
func TestManyMicroBatchesMayTakeMore(t *testing.T) {
	s := stageOf(4)
	s.DType, s.Batch, s.Micro, s.AutoMicro, s.Seq = gpu.BF16, 256, 256, true, 2
	caps := cuda.PlanCaps("card", 1<<40)
	free := NewPrograms(caps).On(0)
	bytes := map[int]int64{}
	for _, micro := range []int{1, 4} {
		x := *s
		x.Micro, x.AutoMicro = micro, false
		f, err := free.Try(&x, "none")
		must(t, err)
		bytes[micro] = f.Bytes
	}
	if bytes[4] >= bytes[1] {
		t.Fatalf("4 sequences take %d bytes and 1 takes %d: the shape tests nothing", bytes[4], bytes[1])
	}
	f, err := free.On(bytes[1]-1).Try(s, "none")
	must(t, err)
	if !f.Fits || f.Micro < 4 {
		t.Errorf("in %d bytes: %+v", bytes[1]-1, f)
	}
}
