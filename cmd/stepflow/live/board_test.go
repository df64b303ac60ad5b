package live

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
)

var update = flag.Bool("update", false, "rewrite the golden frames")

// staged is the board of a run of these blocks, and its clock.
func staged(t *testing.T, rows map[string]*row, names ...string) (*Board, *time.Time) {
	t.Helper()
	b := NewBoard("quickstart", nil, false, func(_ Style, s string) string { return s })
	b.plan = &plan.Plan{State: &state.State{}}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b.now, b.began = func() time.Time { return now }, now
	for _, n := range names {
		r := b.row(named(t, n))
		if x := rows[n]; x != nil {
			r.steps, r.from, r.takes, r.alone, r.same, r.deferred = x.steps, x.from, x.takes, x.alone, x.same, x.deferred
		}
	}
	return b, &now
}

func named(t *testing.T, name string) addr.Addr {
	t.Helper()
	a, err := addr.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// work is a forecast of so many operations, by a rate of a name.
func work(flops float64, rate string, least float64) *blocks.Forecast {
	f := &blocks.Forecast{FLOPs: flops}
	f.PredictBy(nil, rate)
	if least > 0 {
		f.Rate, f.Least, f.Seconds = flops/least, true, least
	}
	return f
}

// quickstart is a run in three stages.
func quickstart(t *testing.T) (*Board, *time.Time) {
	return staged(t, map[string]*row{
		"stage.seed":                  {steps: 293, takes: work(293e9, "train", 9)},
		"stage.middle":                {steps: 293, takes: work(2*293e9, "train", 18)},
		"stage.final":                 {steps: 391, takes: work(3*391e9, "train", 27)},
		"evaluate.perplexity.step":    {takes: work(100e9, "measure", 2)},
		"evaluate.generation.samples": {takes: work(1e9, "generate", 0.1)},
		"export.huggingface.model":    {},
	}, "tokenizer.bpe.docs", "stage.seed", "stage.middle", "stage.final", "evaluate.perplexity.step",
		"evaluate.generation.samples", "export.huggingface.model")
}

// train takes a stage from a step to another, at a tenth of a second for each.
func train(b *Board, now *time.Time, a addr.Addr, from, to, of int) {
	for step := from + 1; step <= to; step++ {
		*now = now.Add(100 * time.Millisecond)
		b.Event(observe.Event{Kind: observe.StepDone, Addr: a, Steps: of, Memory: 36 << 20, Peak: 2e11,
			Step: &metrics.Step{Step: step, Tokens: 1024 * int64(step), Loss: 7 - float64(step)/200, Seconds: 0.1, MFU: 0.35,
				LearningRate: 1e-3}})
	}
}

func ends(b *Board, now *time.Time, a addr.Addr, seconds float64, values map[string]any) {
	*now = now.Add(time.Duration(seconds * float64(time.Second)))
	b.Event(observe.Event{Kind: observe.BlockDone, Addr: a, Seconds: seconds, Values: values})
}

func begins(b *Board, a addr.Addr) { b.Event(observe.Event{Kind: observe.BlockStart, Addr: a}) }

// scenes are moments of runs.
var scenes = []struct {
	name  string
	rows  int
	board func(t *testing.T) *Board
}{
	{"before the first block", 24, func(t *testing.T) *Board {
		b, _ := quickstart(t)
		return b
	}},
	{"a stage trains", 24, func(t *testing.T) *Board {
		b, now := quickstart(t)
		begins(b, named(t, "tokenizer.bpe.docs"))
		ends(b, now, named(t, "tokenizer.bpe.docs"), 2.1, map[string]any{"vocab_size": 2048.0})
		begins(b, named(t, "stage.seed"))
		train(b, now, named(t, "stage.seed"), 0, 293, 293)
		ends(b, now, named(t, "stage.seed"), 30, map[string]any{"loss": 5.68505})
		begins(b, named(t, "stage.middle"))
		train(b, now, named(t, "stage.middle"), 0, 132, 293)
		return b
	}},
	{"a stage is measured between its steps", 24, func(t *testing.T) *Board {
		b, now := quickstart(t)
		a := named(t, "stage.seed")
		begins(b, a)
		train(b, now, a, 0, 100, 293)
		for i, name := range []string{"validation", "code", "validation"} {
			b.Event(observe.Event{Kind: observe.Evaluated, Addr: a, Steps: 293, Evaluation: &metrics.Evaluation{Name: name,
				Step: 50 * (i + 1), Values: map[string]float64{"loss": 6 - float64(i)}}})
		}
		return b
	}},
	{"an evaluation runs, and another failed", 24, func(t *testing.T) *Board {
		b, now := quickstart(t)
		for _, n := range []string{"tokenizer.bpe.docs", "stage.seed", "stage.middle"} {
			begins(b, named(t, n))
			ends(b, now, named(t, n), 3, nil)
		}
		begins(b, named(t, "stage.final"))
		train(b, now, named(t, "stage.final"), 0, 391, 391)
		ends(b, now, named(t, "stage.final"), 40, map[string]any{"loss": 5.0413})
		begins(b, named(t, "evaluate.generation.samples"))
		b.Event(observe.Event{Kind: observe.BlockFailed, Addr: named(t, "evaluate.generation.samples"),
			Message: "prompt 3 has 300 tokens, and the model takes at most 256\nand more"})
		begins(b, named(t, "evaluate.perplexity.step"))
		*now = now.Add(time.Second)
		return b
	}},
	{"a stage of a long sequence of hours goes on, and the run ends", 24, func(t *testing.T) *Board {
		b, now := staged(t, nil, `stage.long["损失函数-损失函数-损失函数-lr=0.001"]`, "evaluate.perplexity.e")
		a := named(t, `stage.long["损失函数-损失函数-损失函数-lr=0.001"]`)
		b.Event(observe.Event{Kind: observe.BlockStart, Addr: a, FromStep: 123000, Saves: true})
		b.Event(observe.Event{Kind: observe.StepDone, Addr: a, Steps: 1_000_000, Memory: 70 << 30, Peak: 4e14,
			Step: &metrics.Step{Step: 123456, Tokens: 5e10, Loss: 2.34567, Seconds: 1.7, MFU: 0.41, LearningRate: 3e-4}})
		*now = now.Add(40*time.Hour + 3*time.Second)
		b.Stopping()
		return b
	}},
	{"blocks beside each other, one as another, one deferred", 24, func(t *testing.T) *Board {
		b, now := staged(t, map[string]*row{
			"stage.a":   {steps: 100, takes: work(1e9, "train", 1), alone: blocks.TheDevice},
			"stage.b":   {steps: 100, same: "stage.a"},
			"stage.c":   {deferred: true},
			"stage.d":   {steps: 200, takes: work(2e9, "train", 2), alone: blocks.TheDevice},
			"stage.old": {steps: 100, from: 40, takes: work(6e8, "train", 1), alone: blocks.TheDevice},
		}, "tokenizer.bpe.t", "tokenizer.bpe.u", "stage.a", "stage.b", "stage.c", "stage.d", "stage.old")
		b.beside = true
		begins(b, named(t, "tokenizer.bpe.t"))
		begins(b, named(t, "tokenizer.bpe.u"))
		*now = now.Add(90 * time.Second)
		begins(b, named(t, "stage.a"))
		train(b, now, named(t, "stage.a"), 0, 40, 100)
		return b
	}},
	{"a thousand instances", 24, thousand},
	{"a thousand instances in a low window", 8, thousand},
}

// thousand is a sweep of 1,000 stages and their evaluations, of which 400 have run.
func thousand(t *testing.T) *Board {
	rows, names := map[string]*row{}, []string{"tokenizer.bpe.t"}
	for i := range 1000 {
		n := fmt.Sprintf("stage.s[%d]", i)
		rows[n] = &row{steps: 50, takes: work(50e9, "train", 1)}
		names = append(names, n)
	}
	for i := range 1000 {
		names = append(names, fmt.Sprintf("evaluate.perplexity.e[%d]", i))
	}
	b, now := staged(t, rows, names...)
	begins(b, named(t, names[0]))
	ends(b, now, named(t, names[0]), 1, nil)
	for i := range 400 {
		a := named(t, fmt.Sprintf("stage.s[%d]", i))
		begins(b, a)
		if i == 17 {
			b.Event(observe.Event{Kind: observe.BlockFailed, Addr: a, Message: "loss is NaN"})
			continue
		}
		ends(b, now, a, 5, map[string]any{"loss": 3.5})
	}
	a := named(t, "stage.s[400]")
	begins(b, a)
	train(b, now, a, 0, 10, 50)
	return b
}

// TestFrames: frames of 40, 60 and 100 columns are as they were looked at, and no line is wider, nor are they higher
// than half of the window.
func TestFrames(t *testing.T) {
	for _, columns := range []int{40, 60, 100} {
		var got strings.Builder
		for _, s := range scenes {
			lines := s.board(t).Lines(columns, s.rows)
			if most := max(s.rows/2, 6); len(lines) > most {
				t.Errorf("%s: %d lines, at most %d", s.name, len(lines), most)
			}
			fmt.Fprintf(&got, "# %s\n", s.name)
			for _, l := range lines {
				if l = cut(l, columns-1); Width(l) >= columns {
					t.Errorf("%s: %q is wider than %d columns", s.name, l, columns)
				}
				got.WriteString(strings.TrimRight(l, " ") + "\n")
			}
			got.WriteByte('\n')
		}
		file := filepath.Join("testdata", fmt.Sprintf("frames-%d.txt", columns))
		if *update {
			if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if string(want) != got.String() {
			t.Errorf("%s is different; go test ./cmd/stepflow/live -update rewrites it. Now:\n%s", file, got.String())
		}
	}
}

// TestETA: the time to come is that of all blocks, by what was measured; what is not known of a block is said.
func TestETA(t *testing.T) {
	b, now := staged(t, map[string]*row{
		"stage.a": {steps: 100, takes: work(100e9, "train", 1)},
		"stage.b": {steps: 100, takes: work(300e9, "train", 3)},
		"stage.c": {steps: 100, takes: work(100e9, "train of another size", 5)},
	}, "stage.a", "stage.b", "stage.c")
	wants := func(want string) {
		t.Helper()
		if got := b.eta(*now); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	wants("ETA unknown")
	begins(b, named(t, "stage.a"))
	wants("ETA unknown")
	train(b, now, named(t, "stage.a"), 0, 50, 100) // 5 s left, b takes 30 s
	wants("ETA at least 40s")
	train(b, now, named(t, "stage.a"), 50, 100, 100)
	ends(b, now, named(t, "stage.a"), 10, nil)
	begins(b, named(t, "stage.c"))
	train(b, now, named(t, "stage.c"), 0, 10, 100) // 9 s
	wants("ETA 39s")
	b.Event(observe.Event{Kind: observe.BlockFailed, Addr: named(t, "stage.c")})
	wants("ETA 30s")
	begins(b, named(t, "stage.b"))
	train(b, now, named(t, "stage.b"), 0, 1, 1e12)
	wants("ETA 3169 years")
	ends(b, now, named(t, "stage.b"), 10, nil)
	if l := b.Lines(100, 24); strings.Contains(l[len(l)-1], "ETA") {
		t.Errorf("nothing is to come, and the run says %q", l[len(l)-1])
	}
}

// TestETAOfEvaluations: those between the steps that are left take their time at the rate of the steps.
func TestETAOfEvaluations(t *testing.T) {
	takes := work(150e9, "train", 1)
	takes.Between = 50e9 // beside 100 steps of 1 GFLOP
	b, now := staged(t, map[string]*row{"stage.a": {steps: 100, takes: takes}}, "stage.a")
	begins(b, named(t, "stage.a"))
	train(b, now, named(t, "stage.a"), 0, 50, 100) // 10 GFLOP/s: 50 steps of 0.1 s, and 25 GFLOP
	if got := b.eta(*now); got != "ETA 8s" {
		t.Errorf("%s, want 7.5 s", got)
	}
}

// TestLowWindow: what there is room for in any window ends with the line of the run.
func TestLowWindow(t *testing.T) {
	b := thousand(t)
	for rows := 1; rows < 12; rows++ {
		lines := b.Lines(60, rows)
		if most := max(1, rows-1); len(lines) > most {
			t.Errorf("%d lines in a window of %d", len(lines), rows)
		}
		if l := lines[len(lines)-1]; !strings.HasPrefix(l, "quickstart") {
			t.Errorf("the last line in a window of %d is %q", rows, l)
		}
		if rows > 2 && !strings.Contains(strings.Join(lines, "\n"), "> stage.s[400]") {
			t.Errorf("what runs is not among %q", lines)
		}
	}
}
