package program

import (
	"math"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/ref"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/graph"
	"stepflow/ops/peft"
)

// cardCaps are those of the reference, and that launches should be few.
func cardCaps() gpu.Caps {
	c := (&ref.Device{}).Caps()
	c.FewLaunches = true
	return c
}

// unpacked compiles a stage for a device of few launches, but for the pass that packs products.
func unpacked(t *testing.T, s *Stage, caps gpu.Caps) *gpu.Program {
	t.Helper()
	all := graph.Passes
	defer func() { graph.Passes = all }()
	graph.Passes = slices.DeleteFunc(slices.Clone(all), func(p graph.Pass) bool { return p.Name == "pack" })
	p, err := CompileStage(s, caps)
	must(t, err)
	return p
}

// adapted gives a stage adapters, and freezes what they are added to.
func adapted(s *Stage, targets ...string) {
	s.Peft = &peft.Spec{Method: "lora", R: 4, Alpha: 8, TargetModules: targets}
	as, err := s.Peft.Match(s.Params, func(ops.Param) bool { return true })
	if err != nil {
		panic(err)
	}
	s.Adapters = as
	for _, p := range s.Params {
		s.Frozen[p.ID] = true
	}
}

// ofArch makes a stage's model another architecture's.
func ofArch(s *Stage, name string) {
	c := s.Model.Config
	s.Model = arch.Model{Arch: arch.Lookup(name), Config: c}
	s.Model.Fill()
	s.Params = s.Model.Declare(s.LayerIDs())
}

// packings lists stages of two layers, and how many products their micro segments have where they are packed: of a
// layer with nothing that hinders it 4 forward (qkv, o, gate|up, down) and 8 backward.
var packings = []struct {
	name     string
	set      func(*Stage)
	products int
}{
	{"llama", func(*Stage) {}, 2 * (4 + 8)},
	{"grouped queries", func(s *Stage) {
		s.Model.NumKeyValueHeads = 1
		s.Params = s.Model.Declare(s.LayerIDs())
	}, 2 * (4 + 8)},
	{"biases", func(s *Stage) { ofArch(s, "qwen2") }, 2 * (4 + 8)},
	{"norms of q and k", func(s *Stage) { ofArch(s, "qwen3") }, 2 * (6 + 12)},
	{"norms of whole rows", func(s *Stage) { ofArch(s, "olmo2") }, 2 * (6 + 12)},
	{"layers without positions", func(s *Stage) { ofArch(s, "smollm3") }, 2 * (4 + 8)},
	{"frozen", func(s *Stage) {
		for _, p := range s.Params {
			s.Frozen[p.ID] = p.Kind == ops.KindLinear && p.Layer == 1
		}
	}, 2*4 + 8 + 4},
	{"k frozen", func(s *Stage) {
		for _, p := range s.Params {
			s.Frozen[p.ID] = strings.HasSuffix(p.Name, "k_proj.weight")
		}
	}, 2 * (4 + 9)}, // the gradients of q and v are not neighbours
	{"q frozen", func(s *Stage) {
		for _, p := range s.Params {
			s.Frozen[p.ID] = strings.HasSuffix(p.Name, "q_proj.weight")
		}
	}, 2 * (4 + 8)},
	// Forward, an adapter's products with A and B; backward, with B twice and with A twice. The lowest layer's input needs
	// no gradient, which saves those with q, k, v and with A.
	{"adapters of q and v", func(s *Stage) { adapted(s, "q_proj", "v_proj") }, 2*(4+1+2+4+2+2+2) - 2},
	{"adapters everywhere", func(s *Stage) { adapted(s, "all-linear") }, 2*(4+4+7+4+7+7+4+4) - 2},
	{"recomputed", func(s *Stage) { s.Recompute = 1 }, 2*(4+8) + 3},
	{"gradients of two types", func(s *Stage) { s.DType, s.Accumulate = gpu.BF16, gpu.F32 }, 2 * (4 + 8)},
}

// TestPacked compares the loss and the gradients of programs whose products are packed with those that have each
// product by itself: they are the same in float64 but for the order of sums. It counts the products, and holds the
// packed program to the other's memory.
func TestPacked(t *testing.T) {
	for _, c := range packings {
		t.Run(c.name, func(t *testing.T) {
			s := stageOf(2)
			s.Seq, s.Batch, s.Micro, s.Chunk = 8, 2, 2, 16
			c.set(s)
			plain := unpacked(t, s, cardCaps())
			packed, err := CompileStage(s, cardCaps())
			must(t, err)
			if got := products(packed); got != c.products {
				t.Errorf("%d products, not %d", got, c.products)
			}
			if packed.TransientBytes > plain.TransientBytes+plain.TransientBytes/100 {
				t.Errorf("activations take %d bytes, not %d", packed.TransientBytes, plain.TransientBytes)
			}
			for i, seg := range plain.Segments {
				got, want := packed.Segments[i].Hi-packed.Segments[i].Lo, seg.Hi-seg.Lo
				if forward := seg.Name == SegMicro || seg.Name == SegProbe; got != want && !forward || got > want {
					t.Errorf("%s has %d launches, not %d", seg.Name, got, want)
				}
			}
			a, _ := packed.FLOPs(SegMicro)
			if b, _ := plain.FLOPs(SegMicro); a != b {
				t.Errorf("%d FLOPs, not %d", a, b)
			}
			sameBuffers(t, packed, plain)
			compareRuns(t, s, packed, plain)
		})
	}
}

// products counts the products of the micro segment.
func products(p *gpu.Program) (n int) {
	s, _ := p.Segment(SegMicro)
	for _, l := range p.Launches[s.Lo:s.Hi] {
		if strings.HasPrefix(l.Kernel, "matmul") {
			n++
		}
	}
	return n
}

// sameBuffers checks that two programs have the same buffers, wherever they lie.
func sameBuffers(t *testing.T, a, b *gpu.Program) {
	t.Helper()
	if !slices.EqualFunc(a.Buffers, b.Buffers, func(x, y gpu.Buffer) bool {
		return x.Name == y.Name && x.Role == y.Role && x.Operand.Type.Equal(y.Operand.Type) &&
			x.Operand.Stride == y.Operand.Stride
	}) {
		t.Error("the buffers are not the same")
	}
	if a.ResidentBytes != b.ResidentBytes {
		t.Errorf("the buffers take %d bytes, not %d", a.ResidentBytes, b.ResidentBytes)
	}
}

// compareRuns runs two programs of a stage on the reference and compares all their buffers after each segment.
func compareRuns(t *testing.T, s *Stage, a, b *gpu.Program) {
	t.Helper()
	runs := []*ref.Loaded{}
	for _, p := range []*gpu.Program{a, b} {
		l, err := ref.Open(p)
		must(t, err)
		for _, x := range p.Buffers {
			l.Set(x.Operand, filled(s, x))
		}
		runs = append(runs, l)
	}
	tol := 1e-9
	if s.DType == gpu.BF16 { // the sum of a gradient's parts is rounded once instead of three times
		tol = 0.05
	}
	for _, seg := range []string{SegZero, SegMicro, SegMicro, SegProbe} {
		for i, p := range []*gpu.Program{a, b} {
			x, _ := p.Segment(seg)
			must(t, runs[i].Run(x.Lo, x.Hi, false))
		}
		for _, x := range a.Buffers {
			y, _ := b.Buffer(x.Name)
			got, want := runs[0].Get(x.Operand), runs[1].Get(y.Operand)
			most := 0.0
			for _, v := range want {
				most = math.Max(most, math.Abs(v))
			}
			for j := range want {
				if !(math.Abs(got[j]-want[j]) <= tol*most) {
					t.Fatalf("after %s, %s[%d] is %g, not %g", seg, x.Name, j, got[j], want[j])
				}
			}
		}
	}
}

// filled gives a buffer values that its name decides.
func filled(s *Stage, b gpu.Buffer) []float64 {
	r := ops.Rand(7, b.Name)
	v := make([]float64, b.Operand.Type.Shape.Elems())
	for i := range v {
		switch {
		case b.Name == BufSegments:
			v[i] = float64(i % s.Seq / 5)
		case b.Operand.Type.DType == gpu.I32:
			v[i] = float64(r.IntN(s.Model.VocabSize))
		case b.Role == gpu.RoleWeight || b.Role == gpu.RoleAdapter:
			v[i] = 0.2 * r.NormFloat64()
		default:
			v[i] = r.Float64()
		}
	}
	return v
}

// TestPackedTakesNoMoreMemory: the activations of a model of 368 million parameters take no more memory for being
// packed.
func TestPackedTakesNoMoreMemory(t *testing.T) {
	for name, set := range map[string]func(*Stage){
		"all":        func(*Stage) {},
		"biases":     func(s *Stage) { ofArch(s, "qwen2") },
		"adapters":   func(s *Stage) { adapted(s, "all-linear") },
		"recomputed": func(s *Stage) { s.Recompute = 24 },
		"adapters, recomputed": func(s *Stage) {
			adapted(s, "q_proj", "k_proj", "v_proj")
			s.Recompute = 24
		},
	} {
		s := stageOf(24)
		s.Model.Config = arch.Config{VocabSize: 32000, HiddenSize: 1024, IntermediateSize: 2736, NumHiddenLayers: 24,
			NumAttentionHeads: 16}
		s.Model.Fill()
		s.Params = s.Model.Declare(s.LayerIDs())
		s.DType, s.Seq, s.Micro, s.Batch, s.Chunk = gpu.BF16, 1024, 8, 8, 2048
		set(s)
		caps := cardCaps()
		caps.Alignment = 256
		plain := unpacked(t, s, caps)
		packed, err := CompileStage(s, caps)
		must(t, err)
		if packed.TransientBytes > plain.TransientBytes {
			t.Errorf("%s: activations take %d bytes, not %d", name, packed.TransientBytes, plain.TransientBytes)
		}
		sameBuffers(t, packed, plain)
		micro, _ := packed.Segment(SegMicro)
		if most := slices.Max(packed.AliveBytes(micro)); most > packed.ResidentBytes+packed.LowerBound {
			t.Errorf("%s: %d bytes are alive, and planned are %d", name, most, packed.ResidentBytes+packed.LowerBound)
		}
	}
}
