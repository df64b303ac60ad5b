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
func searchOf(caps gpu.Caps, layers int, options ...option) *search {
	m := arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 512, HiddenSize: 64, IntermediateSize: 192,
		NumHiddenLayers: layers, NumAttentionHeads: 2, NumKeyValueHeads: 2, HeadDim: 32, MaxPositionEmbeddings: 256, RopeTheta: 1e4,
		RMSNormEps: 1e-5, InitializerRange: 0.02}}
	q := &search{programs: program.NewPrograms(caps).On(0), model: m, dtype: gpu.BF16, seq: 128, batch: 4, options: options,
		spec: &peft.Spec{Method: "lora", R: 4, Alpha: 4, TargetModules: []string{"all-linear"}, MergeRounding: "stochastic"},
		rule: optim.AdamW{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, MaxGradNorm: 1}, method: "interpolation", position: "upper",
		room: growth.Gaps, common: newCommon()}
	q.begin()
	return q
}

// Ways to make stages: updates alone, and everything at once.
var (
	inherited = []string{"inherited"}
	bothWays  = []option{{inherited, "", false}, {inherited, "", true}}
	allWays   = append(slices.Clone(bothWays), option{inherited, "nf4", false}, option{inherited, "nf4", true},
		option{[]string{"inherited", "embeddings"}, "", false}, option{[]string{"inherited", "embeddings"}, "int8", true})
)

// splits lists every split of the layers into stages, on old ones.
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

// all is the size of a stage with each option, none of them guessed.
func (q *search) all(t *testing.T, at shape) (least int64) {
	t.Helper()
	least = math.MaxInt64
	for _, i := range q.choices(at.old) {
		s, err := q.alone(at, i)
		must(t, err)
		n, err := q.programs.Least(s, 0)
		must(t, err)
		least = min(least, n)
	}
	return least
}

// each calls f with every stage of a split.
func each(split []int, f func(at shape)) {
	old := 0
	for _, fresh := range split {
		f(shape{fresh, old})
		old += fresh
	}
}

// TestSearchIsExhaustive compares what is found with every split there is: the fewest stages, of these the largest early
// ones; and the smallest limit. No split is found by a guess that is wrong.
func TestSearchIsExhaustive(t *testing.T) {
	for _, caps := range []gpu.Caps{cuda.PlanCaps("card", 1<<40), cpu.PlanCaps("")} {
		truth := searchOf(caps, 7, allWays...)
		all := truth.splits(0)
		peaks := make([]int64, len(all))
		var limits []int64
		sizes := map[shape]int64{}
		for i, s := range all {
			each(s, func(at shape) {
				if sizes[at] == 0 {
					sizes[at] = truth.all(t, at)
				}
				peaks[i] = max(peaks[i], sizes[at])
			})
			limits = append(limits, peaks[i]-1, peaks[i])
		}
		slices.Sort(limits)
		q := searchOf(caps, 7, allWays...)
		q.programs = truth.programs // which knows the sizes, and q none of them
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
				got, _, err := q.largest(limit, stages, 0)
				must(t, err)
				if !slices.Equal(got, best) {
					t.Fatalf("%s, %d bytes in %d stages: %v, and %v would do", caps.Kind, limit, stages, got, best)
				}
				if best == nil {
					continue
				}
				small, peak, err := q.smallest(got)
				must(t, err)
				if p, err := q.peak(small); err != nil || peak != smallest || p != peak {
					t.Fatalf("%s, %d stages: the smallest split is %v of %d bytes, and %d are enough", caps.Kind, len(best), small,
						peak, smallest)
				}
			}
		}
		for stages := range 5 {
			least := int64(math.MaxInt64)
			for i, s := range all {
				if stages == 0 || len(s) == stages {
					least = min(least, peaks[i])
				}
			}
			if split, peak, err := q.nearest(stages); err != nil || peak != least {
				t.Errorf("%s, %d stages: the nearest is %v of %d bytes, and %d are enough: %v", caps.Kind, stages, split, peak, least, err)
			}
		}
	}
}

// TestQuickestIsQuickest settles every split and option, and compares with the fewest operations.
func TestQuickestIsQuickest(t *testing.T) {
	caps := cuda.PlanCaps("card", 1<<40)
	for name, q := range map[string]*search{"adapters": searchOf(caps, 6, allWays[:4]...),
		"no adapters, the table frozen": searchOf(caps, 6, option{inherited, "", false}, option{[]string{"inherited", "embeddings"}, "", false})} {
		if name != "adapters" {
			q.spec, q.position = nil, "even"
		}
		most, err := q.bytes(shape{6, 0})
		must(t, err)
		least, err := q.peak([]int{2, 1, 1, 1, 1})
		must(t, err)
		for part := range int64(3) {
			limit := least + (most-least)*(part+1)/4
			settled := map[shape]float64{}
			largest, _, err := q.largest(limit, 0, 0)
			must(t, err)
			got, least, bound, err := q.quickest(limit, largest, math.Inf(1), mostTimed)
			must(t, err)
			gap := least - bound
			operations, err := q.work(got, limit)
			must(t, err)
			want, split := math.Inf(1), []int(nil)
			for _, s := range q.splits(0) {
				if len(s) != len(largest) {
					continue
				}
				sum := 0.0
				each(s, func(at shape) {
					best, ok := settled[at]
					if ok {
						sum += best
						return
					}
					best = math.Inf(1)
					for _, i := range q.choices(at.old) {
						c, err := q.try(at, i, limit, "auto")
						must(t, err)
						if c != nil {
							best = min(best, c.operations)
						}
					}
					settled[at] = best
					sum += best
				})
				if sum < want {
					want, split = sum, s
				}
			}
			if gap != 0 || math.Abs(operations/want-1) > 1e-12 {
				t.Errorf("%s, %d bytes: %v takes %.6g operations, gap %g, and %v takes %.6g", name, limit, got, operations, gap, split, want)
			}
		}
	}
}

// TestChosenFits: the program of each chosen stage takes and computes what the plan says, within the limit, and no stage gives
// up more than it has to.
func TestChosenFits(t *testing.T) {
	caps := cuda.PlanCaps("card", 1<<40)
	seen := map[string]bool{}
	for _, batch := range []int{1, 4} {
		q := searchOf(caps, 6, allWays...)
		q.batch = batch
		most, err := q.bytes(shape{6, 0})
		must(t, err)
		least, err := q.peak([]int{2, 1, 1, 1, 1})
		must(t, err)
		for part := range int64(5) {
			limit := least + (most-least)*part/4
			split, _, err := q.largest(limit, 0, 0)
			must(t, err)
			list, err := q.settle(split, limit, false)
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
				f := program.FiguresOf(&c, 0)
				if n := float64(f.StepFLOPs+f.RecomputeFLOPs) / float64(c.StepTokens()); n != s.operations {
					t.Errorf("stage %d of %v computes %v operations a token, the plan says %v", i, split, n, s.operations)
				}
				seen[fmt.Sprint(s.Fit.Recompute > 0, s.Fit.Micro < s.Batch, s.Fused, s.freeze, s.frozen)] = true
				for j := range q.choices(s.oldLayers()) { // all that is preferred is too large
					if o := q.options[j]; slices.Equal(o.freeze, s.freeze) && o.frozen == s.frozen || s.oldLayers() == 0 {
						break
					}
					n, err := q.size(shape{len(s.Layers) - s.oldLayers(), s.oldLayers()}, j)
					if must(t, err); n <= limit {
						t.Errorf("stage %d of %v has option %v %s, and %v would do", i, split, s.freeze, s.frozen, q.options[j])
					}
				}
				if s.oldLayers() == 0 && (s.freeze != nil || s.frozen != "") {
					t.Errorf("the first stage freezes %v in %q", s.freeze, s.frozen)
				}
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
	if len(seen) < 5 {
		t.Errorf("too few kinds of stages: %v", seen)
	}
}

func (c chosen) oldLayers() int {
	if c.From == nil {
		return 0
	}
	return len(c.From.Layers)
}

// TestSearchIsBounded: what would take too long is an error.
func TestSearchIsBounded(t *testing.T) {
	q := searchOf(cuda.PlanCaps("card", 1<<40), 7, bothWays...)
	q.common.spent = mostSpent
	if _, _, err := q.largest(1<<20, 0, 0); err == nil {
		t.Error("the search goes on")
	}
}

// TestLoss compares with values of the law that were computed apart: 70e9 parameters on 1.4e12 tokens.
func TestLoss(t *testing.T) {
	if got := loss(70e9, 1.4e12); math.Abs(got-1.9739) > 5e-4 {
		t.Errorf("loss %.4f", got)
	}
	// Hoffmann et al., table A3 of the constants: Chinchilla at 1.936.
	if got := published.loss(70e9, 1.4e12); math.Abs(got-1.9364) > 5e-4 {
		t.Errorf("published %.4f", got)
	}
}

// TestForecast: three runs 0.1, 0.2 and 0.3 above the law give 0.2 more, and an interval of 4.303 · 0.1 · √(4/3) around it.
func TestForecast(t *testing.T) {
	list := []Run{{Loss: 3.1, Law: 3}, {Loss: 4.2, Law: 4}, {Loss: 2.3, Law: 2}}
	f := forecast([2]float64{1e9, 5e8}, 2e9, 1e11, 32000, list)
	if math.Abs(f.Loss-f.Law-0.2) > 1e-9 || math.Abs(f.Between[1]-f.Loss-4.303*0.1*math.Sqrt(4./3)) > 1e-6 ||
		math.Abs(f.Between[0]+f.Between[1]-2*f.Loss) > 1e-9 {
		t.Errorf("%+v", f)
	}
	if f = forecast([2]float64{1e9, 5e8}, 2e9, 1e11, 32000, list[:1]); f.Between != [2]float64{} || math.Abs(f.Loss-f.Law-0.1) > 1e-9 {
		t.Errorf("one run: %+v", f)
	}
	if f = forecast([2]float64{1e9, 5e8}, 2e9, 1e11, 32000, nil); f.Loss != f.Law || f.Law >= f.Trained || f.Whole >= f.Law {
		t.Errorf("no run: %+v", f)
	}
}
