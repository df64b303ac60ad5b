package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"stepflow/ops"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
)

// TestParityReLoRA holds losses, gradient norms, adapters and merged weights over three resets to those of the authors'
// code (tools/parity/relora_fixture.py). Adapters begin with the values that PyTorch drew.
func TestParityReLoRA(t *testing.T) {
	cfg, e, dir := readExpected(t, "untied_gqa")
	var want struct {
		Reset, Pruned expected
		AuthorsRates  []float64 `json:"authors_rates"`
	}
	b, err := os.ReadFile(filepath.Join(dir, "relora.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &want))
	f, err := checkpoint.Open(filepath.Join(dir, "relora.safetensors"))
	must(t, err)
	defer f.Close()
	for mode, run := range map[string]expected{"reset": want.Reset, "pruned": want.Pruned} {
		t.Run(mode, func(t *testing.T) {
			spec := peft.Spec{Method: "relora", R: 3, Alpha: 5, TargetModules: []string{"q_proj", "v_proj", "down_proj"}, ResetEvery: 5,
				RestartWarmup: 2}
			if mode == "pruned" {
				spec.MagnitudePruning = 0.8
			}
			tr := parityTrainer(t, cfg, e, dir, 2, func(s *program.Stage) {
				s.Horizon = 20 * float64(s.StepTokens())
				s.Schedule = optim.Schedule{Kind: "cosine", WarmupRatio: 0.1, MinLRRatio: 0.1}
				o := s.Optimizer.(optim.AdamW)
				o.LearningRate = 3e-2
				s.Optimizer = o
				as, err := spec.Match(s.Params, func(ops.Param) bool { return true })
				must(t, err)
				s.Peft, s.Adapters = &spec, as
				for _, a := range as {
					s.Frozen[a.Target.ID] = true
				}
			})
			s := tr.stage
			given := func(what string) func(ops.Param) []float32 {
				return func(p ops.Param) []float32 {
					v, err := f.Float32(mode + "." + what + "." + p.Name)
					must(t, err)
					return v
				}
			}
			begin := func(cycle int) { // with what PyTorch drew, and the moments as they are
				for _, a := range s.Adapters {
					must(t, tr.set(a.A.ID, given(strconv.Itoa(cycle))(a.A)))
				}
			}
			begin(0)
			for i := range run.Losses {
				step := i + 1
				tr.gradients(t, e, i)
				must(t, tr.hyper(step))
				must(t, tr.run(program.SegUpdate))
				for _, p := range s.Trainable() {
					tr.state.OptimizerSteps[p.ID]++
				}
				loss, err := tr.get(program.BufLoss)
				must(t, err)
				norm, err := tr.get(program.BufNorm)
				must(t, err)
				relative(t, "loss", float64(loss[0]), run.Losses[i], 1e-4)
				relative(t, "gradient norm", float64(norm[0]), run.GradNorms[i], 2e-3)
				if !s.RestartAfter(step) {
					continue
				}
				_, err = tr.restart()
				must(t, err)
				begin(tr.state.Restarts)
				for _, a := range s.Adapters {
					if strings.Contains(a.Target.Name, "layers.1.") {
						v, err := tr.get(a.Target.ID)
						must(t, err)
						near(t, "merged "+a.Target.Name, v, given(strconv.Itoa(tr.state.Restarts))(a.Target), 2e-4)
					}
				}
			}
			if tr.state.Restarts != 3 {
				t.Errorf("%d restarts, want 3", tr.state.Restarts)
			}
			for _, a := range s.Adapters {
				for _, p := range []ops.Param{a.A, a.B} {
					if strings.Contains(p.Name, "layers.1.") {
						v, err := tr.get(p.ID)
						must(t, err)
						near(t, p.Name, v, given("end")(p), 2e-3)
					}
				}
			}
		})
	}
	s := program.Stage{Batch: 1, Seq: 1, Steps: 20, Horizon: 20, Schedule: optim.Schedule{Kind: "cosine", WarmupRatio: 0.1, MinLRRatio: 0.1},
		Peft: &peft.Spec{Method: "relora", ResetEvery: 5, RestartWarmup: 2}, Adapters: make([]peft.Adapter, 1)}
	for step, theirs := range want.AuthorsRates[1:] {
		step++
		got := s.Scheduled(1, step)
		switch since := step % 5; {
		case step >= 5 && since == 0: // theirs is 0; ours ends a cycle, so the next has begun where theirs begins to rise
		case step > 5 && since < 2: // theirs rises to the rate at the end of the rise, ours is a share of its own rate
			theirs *= s.Schedule.Factor(float64(step), 20) / s.Schedule.Factor(float64(step-since+2), 20)
			fallthrough
		default:
			if math.Abs(got-theirs) < 1e-12 {
				continue
			}
			t.Errorf("the rate of step %d is %g, the authors' %g", step, got, theirs)
		}
	}
}
