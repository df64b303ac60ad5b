package train

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
)

// narrowStage is a stage of two layers whose projections are large enough for codes, and of no size that cards are fond
// of.
func narrowStage(dtype gpu.DType, o optim.Optimizer) *program.Stage {
	s := tinyStage()
	s.DType, s.Optimizer = dtype, o
	s.Model = arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 137, HiddenSize: 70, IntermediateSize: 85,
		NumHiddenLayers: 2, NumAttentionHeads: 5, NumKeyValueHeads: 5, HeadDim: 14, MaxPositionEmbeddings: 32,
		RopeTheta: 1e4, RMSNormEps: 1e-5, InitializerRange: 0.1}}
	s.Layers = s.NewLayers(2)
	s.Params = s.Model.Declare(s.LayerIDs())
	return s
}

// narrowAdamW and narrowMuon keep their states in a word of the language.
func narrowAdamW(word string, stochastic bool) optim.AdamW {
	return optim.AdamW{LearningRate: 3e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, MaxGradNorm: 1,
		BF16StochasticRound: stochastic, StateDType: word}
}

func narrowMuon(word string, stochastic bool) optim.Optimizer {
	o := muon(stochastic).(optim.Groups).Main.(optim.Muon)
	o.StateDType = word
	return o.With(narrowAdamW(word, stochastic))
}

// narrowLow are the optimizers of low memory, with states in a word of the language, of a rank whose moments may be codes.
func narrowLow(word string, stochastic bool) map[string]optim.Optimizer {
	rest := narrowAdamW(word, stochastic)
	galore := optim.GaLore{LearningRate: 1e-2, Rank: 60, UpdateProjGap: 50, Factor: 1, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, MaxGradNorm: 1,
		BF16StochasticRound: stochastic, StateDType: word}
	apollo := optim.Apollo{LearningRate: 1e-2, Rank: 60, UpdateProjGap: 3, Factor: 1, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, MaxGradNorm: 1,
		BF16StochasticRound: stochastic, StateDType: word}
	return map[string]optim.Optimizer{
		"galore": galore.With(rest), "apollo": apollo.With(rest),
		"scale": optim.Scale{LearningRate: 1e-2, Momentum: 0.9, Eps: 1e-8, MaxGradNorm: 1, BF16StochasticRound: stochastic,
			StateDType: word}.With(rest),
		"adafactor": optim.Adafactor{LearningRate: 1e-2, DecayRate: -0.8, ClipThreshold: 1, Eps: 1e-30, Beta1: 0.9, WeightDecay: 0.1,
			MaxGradNorm: 1, BF16StochasticRound: stochastic, StateDType: word},
	}
}

// projection is a parameter of the model whose states are codes where any are.
func projection(s *program.Stage) ops.Param {
	return s.Params[slices.IndexFunc(s.Params, func(p ops.Param) bool { return strings.HasSuffix(p.Name, "q_proj.weight") })]
}

// TestNarrowStatesResume: in every form of narrow states the loss falls, a run that goes on from a checkpoint makes the
// bits of one that was not interrupted, and a device that pads makes nearly the same losses.
func TestNarrowStatesResume(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, word := range optim.StateDTypes {
		list := map[string]optim.Optimizer{
			"adamw": narrowAdamW(word, false), "adamw, stochastic": narrowAdamW(word, true),
			"muon": narrowMuon(word, false), "muon, stochastic": narrowMuon(word, true),
		}
		if word != "fp32" {
			for name, o := range narrowLow(word, true) {
				list[name+", stochastic"] = o
			}
		}
		for name, o := range list {
			for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
				if dtype == gpu.F32 && strings.HasSuffix(name, "stochastic") {
					continue
				}
				what := fmt.Sprintf("%s, states %s, weights %v", name, word, dtype)
				const half = 2
				dir, losses := resumes(t, d, what, half, 0, func() *program.Stage { return narrowStage(dtype, o) })
				if word == "fp32" {
					continue
				}
				padded := begun(t, wide{d}, narrowStage(dtype, o), "")
				must(t, padded.restore(t.Context(), stored{dir: dir}))
				near(t, what+": losses where rows are padded", padded.losses(t, half), losses[half:], 2e-2)
				if padded.padding(t, what) == 0 {
					t.Error("nothing is padded")
				}
			}
		}
	}
}

// TestNarrowBytes: what a projection of 4,900 elements keeps, in bytes.
func TestNarrowBytes(t *testing.T) {
	const n, scales = 4900, 4 * 20
	for _, c := range []struct {
		o     optim.Optimizer
		dtype gpu.DType
		want  int64
	}{
		{narrowAdamW("fp32", true), gpu.BF16, 8 * n}, {narrowAdamW("bf16", true), gpu.BF16, 4 * n},
		{narrowAdamW("int8", true), gpu.BF16, 2 * (n + scales)},
		{narrowAdamW("int8", false), gpu.BF16, 2*(n+scales) + 4*n},
		{narrowAdamW("int8", false), gpu.F32, 2 * (n + scales)},
		{narrowMuon("int8", true), gpu.BF16, n + scales}, {narrowMuon("bf16", true), gpu.BF16, 2 * n},
		// Of rank 60: a projection in bf16, and moments of 60 rows in 17 blocks of codes.
		{narrowLow("int8", true)["galore"], gpu.BF16, 2*60*70 + 2*(60*70+4*17)},
		{narrowLow("bf16", true)["galore"], gpu.BF16, 2*60*70 + 2*2*60*70},
		{narrowLow("int8", true)["apollo"], gpu.BF16, 2*(60*70+4*17) + 4}, {narrowLow("int8", true)["scale"], gpu.BF16, 0},
		{narrowLow("int8", true)["adafactor"], gpu.BF16, 4*(70+70) + n + scales},
	} {
		s := narrowStage(c.dtype, c.o)
		if got := optim.StateBytes(c.o, projection(s), c.dtype); got != c.want {
			t.Errorf("%s in %v keeps %d bytes, not %d", c.o.Key(), c.dtype, got, c.want)
		}
		for _, p := range s.Params { // which have no codes
			if p.Kind == ops.KindEmbedding || p.Elems() < 4096 {
				for _, x := range s.States(p) {
					if x.Type.DType.Quantized() {
						t.Errorf("%s keeps %s as %v", p.Name, x.Name, x.Type)
					}
				}
			}
		}
	}
}

// TestNarrowStatesGrow: a layer that stays keeps its codes and scales bit for bit, and its numbers where the stage above
// keeps them in another type; new layers begin with the code of zero.
func TestNarrowStatesGrow(t *testing.T) {
	d := cpuDevice(t, 2)
	grow := growth.Spec{Method: "interpolation", Layers: 1, Position: "upper", Mix: 0.5}
	nothing := func(*program.Stage, ops.Param) bool { return false }
	adamw := func(word string) optim.Optimizer { return narrowAdamW(word, false) }
	low := func(name string) func(word string) optim.Optimizer {
		return func(word string) optim.Optimizer { return narrowLow(word, false)[name] }
	}
	for _, c := range []struct {
		of    func(word string) optim.Optimizer
		words [2]string
	}{
		{adamw, [2]string{"int8", "int8"}}, {adamw, [2]string{"fp32", "int8"}}, {adamw, [2]string{"int8", "fp32"}},
		{adamw, [2]string{"bf16", "bf16"}}, {adamw, [2]string{"int8", "bf16"}},
		{low("galore"), [2]string{"int8", "int8"}}, {low("apollo"), [2]string{"fp32", "int8"}}, {low("apollo"), [2]string{"int8", "fp32"}},
	} {
		words := c.words
		one := narrowStage(gpu.F32, c.of(words[0]))
		first := begun(t, d, one, "")
		first.losses(t, 2)
		dir := filepath.Join(t.TempDir(), "result")
		_, err := first.save(dir, nil, true)
		must(t, err)
		two := grown(t, one, grow, peft.Spec{}, nothing)
		two.Optimizer = c.of(words[1])
		second := begun(t, d, two, dir)
		old := first.values(t)
		if second.begun != 0 {
			t.Errorf("%v: the states of %d parameters begin again", words, second.begun)
		}
		for _, p := range two.Params {
			stays := p.Layer < 0 || two.Layers[p.Layer].Old >= 0
			for _, s := range two.States(p) {
				name := s.Buffer(p.ID)
				got, err := second.get(name)
				must(t, err)
				want := make([]float32, s.Type.Shape.Elems())
				if stays {
					want = old[name]
				}
				if words[0] != words[1] {
					want = s.Type.Decode(s.Type.Encode(want))
				}
				if !slices.Equal(got, want) {
					t.Errorf("%v: %s of %s, which stays %t, is not what it was", words, s.Name, p.Name, stays)
				}
			}
		}
		second.losses(t, 1)
	}
}

// TestNarrowStatesOfOthers: a checkpoint that keeps states in another type is refused, and one with scales that no block
// has.
func TestNarrowStatesOfOthers(t *testing.T) {
	d := cpuDevice(t, 2)
	coded := narrowStage(gpu.F32, narrowAdamW("int8", false))
	tr := begun(t, d, coded, "")
	tr.losses(t, 1)
	dir := filepath.Join(t.TempDir(), "checkpoint")
	_, err := tr.save(dir, nil, false)
	must(t, err)
	for _, word := range []string{"fp32", "bf16"} {
		other := begun(t, d, narrowStage(gpu.F32, narrowAdamW(word, false)), "")
		if err := other.restore(t.Context(), stored{dir: dir}); err == nil || !strings.Contains(err.Error(), "of another optimizer") {
			t.Errorf("states in int8 are read into %s: %v", word, err)
		}
	}
	s := coded.States(projection(coded))[0]
	f, err := checkpoint.Open(filepath.Join(dir, checkpoint.OptimizerFile))
	must(t, err)
	scales, _, err := f.Raw(s.Scale(projection(coded).ID))
	must(t, err)
	if dtype := f.DType(s.Buffer(projection(coded).ID)); dtype != "U8" {
		t.Errorf("codes are stored as %s", dtype)
	}
	must(t, f.Close())
	all, err := os.ReadFile(filepath.Join(dir, checkpoint.OptimizerFile))
	must(t, err)
	at := strings.Index(string(all), string(scales))
	binary.LittleEndian.PutUint32(all[at+8:], 0x7fc00000)
	must(t, os.WriteFile(filepath.Join(dir, checkpoint.OptimizerFile), all, 0o644))
	err = begun(t, d, coded, "").restore(t.Context(), stored{dir: dir})
	if err == nil || !strings.Contains(err.Error(), "the scale of elements 512 to 767 is NaN") {
		t.Errorf("a scale that is NaN: %v", err)
	}
}

// TestNarrowStatesSkip: an update whose gradients are not finite changes nothing.
func TestNarrowStatesSkip(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, o := range []optim.Optimizer{narrowAdamW("int8", false), narrowAdamW("bf16", false), narrowMuon("int8", false),
		narrowLow("int8", false)["galore"], narrowLow("int8", false)["apollo"], narrowLow("int8", false)["adafactor"]} {
		tr := begun(t, d, narrowStage(gpu.F32, o), "")
		tr.losses(t, 1)
		before := tr.values(t)
		p := projection(tr.stage)
		must(t, tr.run(program.SegZero))
		grad := program.BufGrad(p.ID)
		g, err := tr.get(grad)
		must(t, err)
		g[7] = float32(nan())
		must(t, tr.set(grad, g))
		must(t, tr.hyper(2))
		must(t, tr.run(program.SegUpdate))
		for name, v := range tr.values(t) {
			if !slices.Equal(v, before[name]) {
				t.Errorf("%s: %s changed", o.Key(), name)
			}
		}
	}
}

func nan() float64 { var zero float64; return zero / zero }
