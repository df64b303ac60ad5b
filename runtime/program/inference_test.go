package program_test

import (
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/ops/arch"
	"stepflow/runtime/program"
)

// inferred is a program of inference of a small model.
func inferred(t *testing.T, memory int64, x program.Inference) (*gpu.Program, program.Inference) {
	t.Helper()
	m := arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 64, HiddenSize: 32, IntermediateSize: 48,
		NumHiddenLayers: 3, NumAttentionHeads: 2, NumKeyValueHeads: 1, MaxPositionEmbeddings: 512}}
	m.Fill()
	x.Model, x.Params, x.DType = m, m.Declare(make([]string, 3)), gpu.F32
	for i := range x.Params {
		x.Params[i].ID = x.Params[i].Name
	}
	caps := cpu.PlanCaps("")
	caps.Memory = memory
	p, err := program.NewPrograms(caps).Inference(&x)
	if err != nil {
		t.Fatal(err)
	}
	return p, x
}

// TestInferenceFits gives a program less memory: as much is run at once as fits, and the cache is what the plan says.
func TestInferenceFits(t *testing.T) {
	asked := program.Inference{Context: 200, Continuation: 40, Texts: 2}
	large, x := inferred(t, 1<<40, asked)
	kinds := program.BytesByKind(large)
	if want := int64(x.Slots * 200 * 16 * 2 * 3 * 4); kinds["cache"] != want {
		t.Errorf("the cache of %d slots takes %d bytes, want %d", x.Slots, kinds["cache"], want)
	}
	sum := int64(0)
	for _, k := range program.ByteKinds {
		sum += kinds[k]
	}
	if sum != large.ArenaBytes {
		t.Errorf("the kinds add up to %d bytes of %d", sum, large.ArenaBytes)
	}
	fits, y := inferred(t, large.ArenaBytes/2, asked)
	if fits.ArenaBytes > large.ArenaBytes/2 || y.Tokens >= x.Tokens || y.Slots < 2 {
		t.Errorf("%d bytes of %d, with %d tokens in %d slots", fits.ArenaBytes, large.ArenaBytes/2, y.Tokens, y.Slots)
	}
	least, z := inferred(t, 1, asked) // the caller sees that it does not fit
	if least.ArenaBytes > fits.ArenaBytes || z.Slots < 2 {
		t.Errorf("%d bytes, %d slots", least.ArenaBytes, z.Slots)
	}
}

// TestInferenceWritesInPlace wants no copies: a cache is written where it lies.
func TestInferenceWritesInPlace(t *testing.T) {
	p, x := inferred(t, 1<<40, program.Inference{Context: 30, Continuation: 10, Texts: 3})
	writes := map[string]int{}
	for _, s := range p.Segments {
		for _, l := range p.Launches[s.Lo:s.Hi] {
			if l.Kernel == "copy" {
				t.Errorf("%s copies %s", s.Name, l.Name)
			}
			if l.Kernel == "cache_write" {
				writes[s.Name]++
			}
		}
	}
	for _, n := range x.ContextLengths() {
		if writes[program.SegContext(n)] != 6 {
			t.Errorf("context %d writes %d caches", n, writes[program.SegContext(n)])
		}
	}
	if writes[program.SegDecode] != 6 || writes[program.SegScore(8)] != 0 {
		t.Error(writes)
	}
	// The last layer of a context is not computed beyond what is kept of it.
	s, _ := p.Segment(program.SegContext(8))
	last := p.Launches[s.Hi-1]
	if last.Kernel != "cache_write" {
		t.Errorf("a context ends with %s at %s", last.Kernel, last.Name)
	}
}

func TestLengths(t *testing.T) {
	_, x := inferred(t, 1<<40, program.Inference{Context: 300, Continuation: 50})
	if got := x.ScoreLengths(); !slices.Equal(got, []int{1, 2, 4, 8, 16, 24, 32, 40, 48, 56}) {
		t.Error(got)
	}
	all := x.ContextLengths()
	for n := 1; n < 300; n++ {
		fit := program.Fitting(all, n)
		if fit < n || n > 64 && float64(fit) > 1.25*float64(n) {
			t.Errorf("%d tokens take a row of %d", n, fit)
		}
		if rows := x.ContextRows(fit); rows < 1 || rows > x.Slots || rows*fit > max(x.Tokens, fit) {
			t.Errorf("%d rows of %d tokens", rows, fit)
		}
	}
}

// TestGenerationKeepsItsTexts wants a slot for each text that is continued, and no more.
func TestGenerationKeepsItsTexts(t *testing.T) {
	p, x := inferred(t, 1<<40, program.Inference{Context: 60, Texts: 2})
	if got := program.BytesByKind(p)["cache"]; x.Slots != 2 || got != 2*60*16*2*3*4 {
		t.Errorf("%d slots, %d bytes", x.Slots, got)
	}
}
