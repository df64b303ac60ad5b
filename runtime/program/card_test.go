package program

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
	"stepflow/gpu/ref"
	"stepflow/ops"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
)

// cardStage is a random stage of odd sizes: of any architecture, adapters, frozen parameters and optimizer.
func cardStage(r *rand.Rand) *Stage {
	pick := func(list ...int) int { return list[r.IntN(len(list))] }
	s := stageOf(1 + r.IntN(3))
	c := &s.Model.Config
	c.VocabSize, c.HiddenSize, c.IntermediateSize = pick(1, 37, 64, 130), pick(8, 30, 32, 68), pick(8, 21, 85, 128)
	c.HeadDim, c.NumKeyValueHeads = pick(4, 6, 8, 16), pick(1, 2)
	c.NumAttentionHeads = c.NumKeyValueHeads * pick(1, 2, 3)
	c.TieWordEmbeddings = r.IntN(3) == 0
	ofArch(s, []string{"llama", "qwen2", "qwen3", "olmo2", "smollm3", "mistral"}[r.IntN(6)])
	s.Seq, s.Micro, s.Mask, s.Chunk = pick(1, 7, 12), pick(1, 2, 3), r.IntN(2) == 0, pick(1, 5, 16)
	s.Batch, s.Recompute = 2*s.Micro, r.IntN(len(s.Layers)+1)
	if r.IntN(3) == 0 {
		s.Optimizer = muon(false)
	}
	if r.IntN(3) == 0 {
		for _, p := range s.Params {
			s.Frozen[p.ID] = r.IntN(3) == 0
		}
	}
	if r.IntN(2) == 0 {
		targets := [][]string{{"all-linear"}, {"q_proj", "v_proj"}, {"*.mlp.*"}, {"k_proj", "up_proj", "lm_head"}}
		spec := peft.Spec{Method: []string{"lora", "relora"}[r.IntN(2)], R: pick(1, 3, 5, 8), Alpha: 3,
			TargetModules: targets[r.IntN(4)], ResetEvery: 2, MergeRounding: peft.RoundRemainder}
		every := 1 + r.IntN(2)
		as, err := spec.Match(s.Params, func(ops.Param) bool { return r.IntN(every) == 0 })
		if err != nil {
			return s
		}
		s.Peft, s.Adapters = &spec, as
		for _, a := range as {
			s.Frozen[a.Target.ID] = true
		}
	}
	if s.DType == gpu.F32 && r.IntN(2) == 0 {
		s.FrozenDType = []gpu.DType{gpu.NF4, gpu.RowInt8, gpu.BF16}[r.IntN(3)]
	}
	return s
}

// TestCardPrograms compares programs for a card, with all that sets them apart, with those for no device in particular:
// loss, gradients, states and weights after two steps, a merge and a forward pass. Launches of the former run in the
// order of the program and in a random one that their dependencies allow.
func TestCardPrograms(t *testing.T) {
	seen := 0
	for seed := uint64(0); seed < 60; seed++ {
		r := rand.New(rand.NewPCG(seed, 17))
		s := cardStage(r)
		if len(s.Trainable()) == 0 {
			continue
		}
		seen++
		plain, err := CompileStage(s, (&ref.Device{}).Caps())
		must(t, err)
		card, err := CompileStage(s, cuda.PlanCaps("card", 0))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		want := runStage(t, s, plain, nil)
		got := runStage(t, s, card, nil)
		mixed := runStage(t, s, card, r)
		tol := 1e-7
		if _, ok := s.Optimizer.(optim.AdamW); !ok {
			tol = 1e-5
		}
		for name, w := range want {
			most := 0.0
			for _, x := range w {
				most = math.Max(most, math.Abs(x))
			}
			for j := range w {
				if !(math.Abs(got[name][j]-w[j]) <= tol*most+1e-12) {
					t.Errorf("seed %d, %s: %s[%d] is %g, not %g", seed, s.Model.Key(), name, j, got[name][j], w[j])
					break
				}
			}
			if !slices.Equal(got[name], mixed[name]) {
				t.Errorf("seed %d: %s depends on the order of launches", seed, name)
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	if seen < 40 {
		t.Errorf("%d stages were compared: too few", seen)
	}
}

// TestLayersCostTheSame: each layer adds as many launches for a card as another. A thousand are compiled in about a
// second, since no pass goes through the whole graph once a layer; it took minutes.
func TestLayersCostTheSame(t *testing.T) {
	launches := func(layers int) int {
		s := stageOf(layers)
		s.Chunk = 64
		p, err := CompileStage(s, cuda.PlanCaps("card", 0))
		must(t, err)
		return len(p.Launches)
	}
	few, more := launches(10), launches(11)
	if got, want := launches(1000), few+990*(more-few); got != want {
		t.Errorf("1,000 layers take %d launches, not %d", got, want)
	}
}

// runStage runs two steps, a merge and a forward pass, and returns the tensors of all buffers.
func runStage(t *testing.T, s *Stage, p *gpu.Program, r *rand.Rand) map[string][]float64 {
	t.Helper()
	l, err := ref.Open(p)
	must(t, err)
	for _, b := range p.Buffers {
		tensor := b
		tensor.Operand.Type = b.Tensor()
		v := filled(s, tensor)
		wide := make([]float64, b.Operand.Type.Shape.Elems())
		cols, ld := max(1, b.Tensor().Shape.Cols()), b.Operand.Type.Shape.Cols()
		for i, x := range v {
			wide[i/cols*ld+i%cols] = x
		}
		l.Set(b.Operand, wide)
	}
	list := []string{SegZero, SegMicro, SegMicro, SegUpdate, SegZero, SegMicro, SegUpdate}
	if _, ok := p.Segment(SegMerge); ok {
		list = append(list, SegMerge)
	}
	for _, name := range append(list, SegProbe) {
		x, _ := p.Segment(name)
		if r == nil {
			must(t, l.Run(x.Lo, x.Hi, false))
			continue
		}
		for _, i := range anyOrder(r, p.Launches[x.Lo:x.Hi]) {
			must(t, l.Run(x.Lo+i, x.Lo+i+1, false))
		}
	}
	all := map[string][]float64{}
	for _, b := range p.Buffers {
		v := l.Get(b.Operand)
		cols, ld := max(1, b.Tensor().Shape.Cols()), max(1, b.Operand.Type.Shape.Cols())
		for i, x := range v {
			if i/ld < b.Tensor().Shape.Rows() && i%ld < cols {
				all[b.Name] = append(all[b.Name], x)
			} else if x != 0 {
				t.Fatalf("the padding of %s holds %g", b.Name, x)
			}
		}
	}
	return all
}

// anyOrder is a random order of launches in which each comes after those that it waits for.
func anyOrder(r *rand.Rand, launches []gpu.Launch) (order []int) {
	done := make([]bool, len(launches))
	waiting := make([]int, len(launches))
	for i := range waiting {
		waiting[i] = i
	}
	for len(waiting) > 0 {
		var ready []int
		for at, i := range waiting {
			if !slices.ContainsFunc(launches[i].Deps, func(d int32) bool { return !done[d] }) {
				ready = append(ready, at)
			}
		}
		at := ready[r.IntN(len(ready))]
		order = append(order, waiting[at])
		done[waiting[at]] = true
		waiting = slices.Delete(waiting, at, at+1)
	}
	return order
}
