package memoryplan

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/cuda"
	"stepflow/ops/arch"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/program"
)

// searchOf is a search over a small model, with sizes of which activations, states and logits each are a good part.
func searchOf(caps gpu.Caps, layers int, fused ...bool) *search {
	m := arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 512, HiddenSize: 64, IntermediateSize: 192,
		NumHiddenLayers: layers, NumAttentionHeads: 2, NumKeyValueHeads: 2, HeadDim: 32, MaxPositionEmbeddings: 256, RopeTheta: 1e4,
		RMSNormEps: 1e-5, InitializerRange: 0.02}}
	return &search{programs: program.NewPrograms(caps).On(0), model: m, dtype: gpu.BF16, seq: 128, batch: 4, fused: fused,
		spec: &peft.Spec{Method: "lora", R: 4, Alpha: 4, TargetModules: []string{"all-linear"}, MergeRounding: "stochastic"},
		rule: optim.AdamW{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, MaxGradNorm: 1}, method: "interpolation", position: "upper",
		room: growth.Gaps, least: map[[2]int]int64{}}
}

// splits lists every split of n layers into stages, on old ones.
func (q *search) splits(old int) (list [][]int) {
	if old == q.model.NumHiddenLayers {
		return [][]int{nil}
	}
	for n := 1; n <= q.space(old); n++ {
		for _, rest := range q.splits(old + n) {
			list = append(list, append([]int{n}, rest...))
		}
	}
	return list
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSearchIsExhaustive compares what is found with every split there is: the fewest stages, of these the largest early
// ones; the smallest limit; and no operations more than either.
func TestSearchIsExhaustive(t *testing.T) {
	for _, caps := range []gpu.Caps{cuda.PlanCaps("card", 1<<40), cpu.PlanCaps("")} {
		q := searchOf(caps, 7, false, true)
		all := q.splits(0)
		peaks := make([]int64, len(all))
		var limits []int64
		for i, s := range all {
			var err error
			peaks[i], err = q.peak(s)
			must(t, err)
			limits = append(limits, peaks[i]-1, peaks[i])
		}
		slices.Sort(limits)
		for _, limit := range slices.Compact(limits) {
			for stages := range 5 {
				var best []int
				smallest := int64(math.MaxInt64)
				for i, s := range all {
					if peaks[i] > limit || stages > 0 && len(s) != stages {
						continue
					}
					if best == nil || len(s) < len(best) || len(s) == len(best) && slices.Compare(s, best) > 0 {
						best = s
					}
				}
				for i, s := range all {
					if len(s) == len(best) {
						smallest = min(smallest, peaks[i])
					}
				}
				got, _, err := q.largest(limit, stages)
				must(t, err)
				if !slices.Equal(got, best) {
					t.Fatalf("%s, %d bytes in %d stages: %v, and %v would do", caps.Kind, limit, stages, got, best)
				}
				if best == nil {
					continue
				}
				small, peak, err := q.smallest(limit, got)
				must(t, err)
				if p, err := q.peak(small); err != nil || peak != smallest || p != peak {
					t.Fatalf("%s, %d stages: the smallest split is %v of %d bytes, and %d are enough", caps.Kind, len(best), small,
						peak, smallest)
				}
				late, err := q.latest(limit, got)
				must(t, err)
				if p, err := q.peak(late); err != nil || p > limit || len(late) != len(got) || !sums(late, 7) {
					t.Fatalf("%s, %d bytes: the latest split of %v is %v of %d bytes, %v", caps.Kind, limit, got, late, p, err)
				}
			}
		}
	}
}

func sums(split []int, n int) bool {
	for _, x := range split {
		n -= x
	}
	return n == 0 && slices.Min(split) > 0
}

// TestChosenFits: the program of each chosen stage takes what the plan says, within the limit, and no stage gives up more
// than it has to.
func TestChosenFits(t *testing.T) {
	caps := cuda.PlanCaps("card", 1<<40)
	seen := map[string]bool{}
	for _, batch := range []int{1, 4} {
		q := searchOf(caps, 6, false, true)
		q.batch = batch
		most, err := q.bytes(6, 0)
		must(t, err)
		least, err := q.peak([]int{2, 1, 1, 1, 1})
		must(t, err)
		for part := range int64(5) {
			limit := least + (most-least)*part/4
			split, _, err := q.largest(limit, 0)
			must(t, err)
			list, err := q.settle(split, limit)
			must(t, err)
			if list == nil {
				t.Fatalf("%v does not fit in %d bytes", split, limit)
			}
			for i, s := range list {
				c := *s.Stage
				programs := program.NewPrograms(caps)
				must(t, programs.On(limit).Compile(&c, s.checkpointing))
				if n := c.Program.ArenaBytes; n != s.Fit.Bytes || n > limit {
					t.Errorf("stage %d of %v takes %d bytes, the plan says %d within %d", i, split, n, s.Fit.Bytes, limit)
				}
				seen[fmt.Sprint(s.Fit.Recompute > 0, s.Fit.Micro < s.Batch, s.Fused)] = true
				if s.Fit.Recompute == 0 {
					continue
				}
				c.AutoMicro = !c.Fused
				if f, err := programs.On(limit).Try(&c, fmt.Sprint(s.Fit.Recompute-1)); s.Fit.Recompute > 1 && (err != nil || f.Fits) {
					t.Errorf("stage %d of %v computes %d layers again, and one less would do: %v", i, split, s.Fit.Recompute, err)
				}
			}
		}
	}
	if len(seen) < 3 {
		t.Errorf("too few kinds of stages: %v", seen)
	}
}

// TestLoss compares with values of the law that were computed apart: 70e9 parameters on 1.4e12 tokens.
func TestLoss(t *testing.T) {
	if got := loss(70e9, 1.4e12); math.Abs(got-1.9739) > 5e-4 {
		t.Errorf("loss %.4f", got)
	}
}
