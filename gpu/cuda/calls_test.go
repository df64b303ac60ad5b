package cuda

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/program"
)

// model368M is the usual model of 368M parameters: 24 layers of 1,024.
func model368M() arch.Model {
	m := arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 32000, HiddenSize: 1024, IntermediateSize: 2736,
		NumHiddenLayers: 24, NumAttentionHeads: 16, NumKeyValueHeads: 16, MaxPositionEmbeddings: 2048}}
	m.Fill()
	return m
}

// stage368M trains it in bf16 by AdamW, in steps of one micro-batch.
func stage368M(t *testing.T, caps gpu.Caps) *gpu.Program {
	t.Helper()
	return compiled(t, stageOf(model368M()), caps)
}

func stageOf(m arch.Model) *program.Stage {
	s := &program.Stage{Model: m, DType: gpu.BF16, Seq: 1024, Batch: 16, Micro: 16, Chunk: 2048, Mask: true,
		Frozen: map[string]bool{}, Optimizer: optim.AdamW{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1,
			MaxGradNorm: 1}}
	s.Layers = s.NewLayers(s.Model.NumHiddenLayers)
	s.Params = s.Model.Declare(s.LayerIDs())
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func compiled(t *testing.T, s *program.Stage, caps gpu.Caps) *gpu.Program {
	t.Helper()
	p, err := program.CompileStage(s, caps)
	must(t, err)
	return p
}

// What is fused for a card is counted as where it is not: a budget of FLOPs gives the same steps on every device.
func TestFusingKeepsFLOPs(t *testing.T) {
	caps := PlanCaps("H100", 80<<30)
	few := stage368M(t, caps)
	caps.FewLaunches = false
	many := stage368M(t, caps)
	for _, name := range program.StepSegments {
		got, _ := few.FLOPs(name)
		if want, _ := many.FLOPs(name); got != want {
			t.Errorf("%s counts %d FLOPs in few launches and %d in many", name, got, want)
		}
	}
	if len(few.Launches) >= len(many.Launches) {
		t.Errorf("%d launches where each costs time, %d elsewhere", len(few.Launches), len(many.Launches))
	}
}

// What a call takes is at most 4 KiB, as much as every driver passes on (CUDA C++ Programming Guide, function parameters).
func TestArgumentsFit(t *testing.T) {
	const most = 4096
	_, d := device(t)
	l, err := d.load(stage368M(t, PlanCaps("H100", 80<<30)))
	if err != nil {
		t.Fatal(err)
	}
	works := slices.Clone(l.works)
	for _, g := range l.fused {
		works = append(works, g.work)
	}
	for _, w := range works {
		for _, x := range w {
			if c, ok := x.(*Call); ok && len(c.Args) > most {
				t.Fatalf("%s takes %d bytes of arguments, more than %d", c.Kernel, len(c.Args), most)
			}
		}
	}
}

// A launch costs a card microseconds whatever it does, so that a step of many small ones waits for the host or the card's
// front end: all that a step of one micro-batch does outside the layers is few calls and products.
func TestFewCallsOutsideTheLayers(t *testing.T) {
	const most = 60
	p := stage368M(t, PlanCaps("H100", 80<<30))
	_, d := device(t)
	l, err := d.load(p)
	if err != nil {
		t.Fatal(err)
	}
	n, counts := 0, map[string]int{}
	for _, name := range program.StepSegments {
		seg, _ := p.Segment(name)
		for i := seg.Lo; i < seg.Hi; i++ {
			if name == program.SegMicro && p.Launches[i].Layer >= 0 {
				continue
			}
			for _, x := range l.workOf(i, seg.Lo, seg.Hi) {
				kernel := "product"
				if c, ok := x.(*Call); ok {
					kernel = c.Kernel
				}
				counts[name+" "+kernel]++
				n++
			}
		}
	}
	if n > most {
		var list []string
		for _, k := range slices.Sorted(maps.Keys(counts)) {
			list = append(list, fmt.Sprintf("%4d %s", counts[k], k))
		}
		t.Errorf("%d calls and products outside the layers, more than %d:\n%s", n, most, strings.Join(list, "\n"))
	}
}

// Gradients are cleared in one call, and the loss in another, also where packing has moved leaves: biases, and the
// matrices of adapters.
func TestGradientsAreClearedInOneCall(t *testing.T) {
	biased := model368M()
	biased.Arch = arch.Lookup("qwen2")
	adapted := stageOf(model368M())
	adapted.Peft = &peft.Spec{Method: "lora", R: 64, Alpha: 64, TargetModules: []string{"all-linear"}}
	var err error
	adapted.Adapters, err = adapted.Peft.Match(adapted.Params, func(ops.Param) bool { return true })
	must(t, err)
	for _, p := range adapted.Params {
		adapted.Frozen[p.ID] = true
	}
	for name, s := range map[string]*program.Stage{"biases": stageOf(biased), "adapters": adapted} {
		p := compiled(t, s, PlanCaps("H100", 80<<30))
		_, d := device(t)
		l, err := d.load(p)
		must(t, err)
		seg, _ := p.Segment(program.SegZero)
		n := 0
		for i := seg.Lo; i < seg.Hi; i++ {
			n += len(l.workOf(i, seg.Lo, seg.Hi))
		}
		if n != 2 {
			t.Errorf("%s: %d calls clear gradients and the loss", name, n)
		}
	}
}
