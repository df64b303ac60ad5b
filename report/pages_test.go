package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/runtime/blocks"
	"stepflow/runtime/metrics"
	"stepflow/runtime/program"
)

// writePage writes a page for the browser's tests, where they ask for it, and returns it. To write pages, tools/report/run.sh
// runs only the tests with Page in their names.
func writePage(t *testing.T, name string, p *Page) []byte {
	t.Helper()
	if !strings.Contains(t.Name(), "Page") {
		t.Errorf("a test that writes a page has Page in its name")
	}
	html, err := p.HTML()
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("STEPFLOW_REPORT_PAGES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".html"), html, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return html
}

// trainedStage is a stage of a chain with n steps: the full model has twice its FLOPs and memory.
func trainedStage(address, from string, n int, seed uint64) *Block {
	const tokens, flops = 512, 1 << 20
	full := program.Figures{Layers: 8, ByKind: map[string]int64{"weights": 40 << 20, "activations": 24 << 20}, Peak: 64 << 20,
		States: 32 << 20, StepFLOPs: 2 * flops}
	own := program.Figures{Layers: 4, ByKind: map[string]int64{"weights": 20 << 20, "activations": 12 << 20}, Peak: 32 << 20,
		States: 16 << 20, StepFLOPs: flops, Steps: n, Tokens: int64(n) * tokens, FLOPs: float64(n) * flops}
	b := &Block{Address: address, Kind: "stage", Status: "done", Values: map[string]any{}, Stage: &Stage{Done: n,
		Training: &blocks.Training{From: from, Steps: n, StepTokens: tokens, Figures: own, Vanilla: &full,
			Layers: []blocks.Layer{{ID: "0", Old: -1}, {ID: "1", Old: -1}}}}}
	if from != "" {
		b.Inputs = []string{from}
		b.Stage.Grow, b.Stage.Added = "1 new by interpolation", 1
	}
	th, r := newThinner(mostPoints), rand.New(rand.NewPCG(seed, 1))
	for i := 1; i <= n; i++ {
		x := float64(i) / float64(n)
		s := &metrics.Step{Step: i, Tokens: int64(i) * tokens, FLOPs: int64(i) * flops, GradNorm: .4 + .1*r.ExpFloat64(),
			Loss: 2 + 6*math.Exp(-20*x) + .2*r.NormFloat64(), LearningRate: 3e-4 * (1 - x), Seconds: .5, TokensPerSec: 1024, MFU: .4}
		if i == n/2 {
			s.Loss, s.GradNorm = 40, 90
		}
		th.add(s)
	}
	b.Stage.Series = th.result()
	return b
}

func pageOf(name string, blocks ...*Block) *Page {
	return NewPage(name, &Run{Name: name, Device: "cpu", Blocks: blocks, Graph: blockLayout(blocks), Costs: costs(blocks)})
}

// TestMillionStepsPage: a long run has as small a page as a short one, and the page shows a spike of a single step.
func TestMillionStepsPage(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 100_000
	}
	p := pageOf("million", trainedStage("stage.long", "", n, 1), trainedStage("stage.grown", "stage.long", n/4, 2))
	if html := writePage(t, "million", p); len(html) > 3<<20 {
		t.Errorf("the page has %d bytes", len(html))
	}
	for _, b := range p.Runs[0].Blocks {
		if top := slices.Max(b.Stage.Series.Loss.Max); top != 40 {
			t.Errorf("%s: the highest loss that is drawn is %v", b.Address, top)
		}
	}
}

// TestCost: what the full model would take, in numbers that follow from those of the stages.
func TestCost(t *testing.T) {
	chain := []*Block{trainedStage("stage.a", "", 100, 1), trainedStage("stage.b", "stage.a", 50, 2)}
	list := costs(chain)
	if len(list) != 1 {
		t.Fatalf("%d chains", len(list))
	}
	const flops = 150 << 20
	want := Cost{Address: "stage.b", Tokens: 150 * 512, SameFLOPs: 75 * 512,
		Run:     Spending{FLOPs: flops, Seconds: 75, Peak: 32 << 20, States: 16 << 20},
		Vanilla: Spending{FLOPs: 2 * flops, Seconds: 150, Peak: 64 << 20, States: 32 << 20}}
	if *list[0] != want {
		t.Errorf("%+v, want %+v", *list[0], want)
	}
	for _, b := range chain {
		b.Stage.Series = nil
	}
	want.Planned, want.Run.Seconds, want.Vanilla.Seconds = true, 0, 0
	if list = costs(chain); *list[0] != want {
		t.Errorf("as planned: %+v, want %+v", *list[0], want)
	}
	full := trainedStage("stage.full", "", 100, 1)
	full.Stage.Figures.FLOPs *= 2
	full.Stage.Figures.States *= 2
	full.Stage.Series = nil
	if list = costs([]*Block{full}); len(list) != 0 {
		t.Errorf("the full model is compared with itself: %+v", list[0])
	}
	for _, spoil := range []func(*Stage){func(s *Stage) { s.StepTokens = 0 }, func(s *Stage) { s.Vanilla = nil },
		func(s *Stage) { s.Vanilla.StepFLOPs = -1 }, func(s *Stage) { s.Figures.FLOPs = math.Inf(1) }} {
		b := trainedStage("stage.a", "", 10, 1)
		b.Stage.Series = nil
		if spoil(b.Stage); len(costs([]*Block{b})) != 0 {
			t.Errorf("%+v", costs([]*Block{b})[0])
		}
	}
}

// TestThousandsOfBlocksPage: instances share a box, whatever their keys are; of too many boxes all of a kind do.
func TestThousandsOfBlocksPage(t *testing.T) {
	strange := []string{nasty, strings.Repeat("long ", 60), "\u202eright to left", "{a|b}", "]\"[.stage.x", "", "äöü 漢字 🦊🦊🦊"}
	var list []*Block
	for i := range 1500 {
		key := fmt.Sprint(i)
		if i < len(strange) {
			key = strange[i]
		}
		key = fmt.Sprintf("[%q]", key)
		m := &Block{Address: "model.llama.m" + key, Kind: "model", Type: "llama", Status: "ready"}
		s := trainedStage("stage.s"+key, "", 20, uint64(i))
		s.Inputs = []string{m.Address}
		if i == 700 {
			s.Status, s.Error = "failed", "out of luck"
		}
		list = append(list, m, s)
	}
	p := pageOf("thousands", list...)
	g := p.Runs[0].Graph
	if len(g.Nodes) != 2 || len(g.Edges) != 1 || len(g.Nodes[1].Members) != 1500 || g.Nodes[1].Label != "s × 1500" ||
		g.Nodes[1].Status != "failed" || g.Nodes[1].Sub != "1499 done, 1 failed" {
		t.Errorf("%d boxes, %d edges: %q %q %q", len(g.Nodes), len(g.Edges), g.Nodes[1].Label, g.Nodes[1].Status, g.Nodes[1].Sub)
	}
	if html := writePage(t, "thousands", p); len(html) > 16<<20 {
		t.Errorf("the page has %d bytes", len(html))
	}
	for i, b := range list {
		b.Address = fmt.Sprintf("%s.n%d", b.Kind, i)
		b.Inputs = nil
	}
	if g := blockLayout(list); len(g.Nodes) != 2 || g.Nodes[0].Label != "model.llama × 1500" {
		t.Errorf("%d boxes of blocks with names of their own: %+v", len(g.Nodes), g.Nodes[0].Label)
	}
	few := list[:10]
	if g := blockLayout(few); len(g.Nodes) != 10 || g.Nodes[0].Members != nil {
		t.Errorf("%d boxes of ten blocks", len(g.Nodes))
	}
}

// TestBoxesThatLeadBack: blocks that take turns share boxes between which edges would run in a circle.
func TestBoxesThatLeadBack(t *testing.T) {
	var list []*Block
	for i := range 40 {
		for _, n := range []string{"a", "b"} {
			b := &Block{Address: fmt.Sprintf("stage.%s[%d]", n, i), Kind: "stage", Status: "done"}
			if len(list) > 0 {
				b.Inputs = []string{list[len(list)-1].Address, b.Address}
			}
			list = append(list, b)
		}
	}
	if g := blockLayout(list); len(g.Nodes) != 2 || len(g.Edges) != 1 {
		t.Errorf("%+v", g)
	}
}

// TestStrangePage: numbers that no chart has a place for, and texts without an end or a space, for the browser's test.
func TestStrangePage(t *testing.T) {
	long := strings.Repeat("abcdefghij", 1000)
	b := trainedStage(fmt.Sprintf("stage.a[%q]", long), "", 20, 1)
	b.Status, b.Error, b.Why, b.File, b.Warnings, b.Attrs = long, long, long, long, []string{long}, [][2]string{{long, long}}
	th := newThinner(4)
	for i := range 20 {
		th.add(&metrics.Step{Step: i + 1, Tokens: int64(i+1) * 512, FLOPs: int64(i+1) << 20, Seconds: 1, Loss: 1e308, GradNorm: 1e308,
			LearningRate: 1e308, TokensPerSec: -1e308, MFU: 1e308})
	}
	b.Stage.Series = th.result()
	p := pageOf(long, b, trainedStage("stage.b", b.Address, 20, 2))
	r := p.Runs[0]
	r.Device, r.Note, r.Variables, r.Outputs, r.Environment = long, long, []Variable{{long, long, long}}, []Output{{long, long, long}}, [][2]string{{long, long}}
	if html := writePage(t, "strange", p); len(html) > 3<<20 {
		t.Errorf("the page has %d bytes", len(html))
	}
}
