package report

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"stepflow/runtime/blocks"
	"stepflow/runtime/program"
	"stepflow/runtime/state"
)

// sweepRun is a run of stages that differ in rate and seed, and of the stages that they go on from.
func sweepRun(losses map[string]float64) *Run {
	r := &Run{Name: "sweep"}
	add := func(b *Block) *Block {
		r.Blocks = append(r.Blocks, b)
		return b
	}
	stage := func(address, from string, attrs ...[2]string) *Block {
		return add(&Block{Address: address, Kind: "stage", Status: "done", Attrs: attrs, Values: map[string]any{},
			Stage: &Stage{Training: &blocks.Training{From: from, Figures: program.Figures{Tokens: 100, Peak: 64}}}})
	}
	for _, rate := range []string{"0.1", "0.2"} {
		for _, seed := range []string{"1", "2", "3"} {
			key := fmt.Sprintf(`["%s-%s"]`, rate, seed)
			quoted := func(address string) string { return fmt.Sprintf("%q", address+key) }
			add(&Block{Address: "model.llama.m" + key, Attrs: [][2]string{{"seed", seed}, {"hidden_size", "8"}}})
			add(&Block{Address: "optimizer.adamw.o" + key, Attrs: [][2]string{{"learning_rate", rate}}})
			stage("stage.seed"+key, "", [2]string{"model", quoted("model.llama.m")}, [2]string{"seed", "0"})
			b := stage("stage.grown"+key, "stage.seed"+key, [2]string{"from", quoted("stage.seed")},
				[2]string{"train.optimizer", quoted("optimizer.adamw.o")}, [2]string{"seed", "0"})
			if v, ok := losses[rate+"-"+seed]; ok {
				b.Values["loss"] = v
			}
		}
	}
	return r
}

func names(t *Table) (list []string) {
	for _, c := range t.Columns {
		list = append(list, c.Name)
	}
	return list
}

// TestCompareSweep: a row for each stage at an end, columns for what differs under the shortest name, and the figures
// of the whole chain.
func TestCompareSweep(t *testing.T) {
	run := sweepRun(map[string]float64{"0.1-1": 3, "0.1-2": 4, "0.1-3": 5, "0.2-1": 2, "0.2-2": 2.5})
	table, err := Compare([]*Run{run}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Show(nil, false, ""); err != nil {
		t.Fatal(err)
	}
	if got := names(table); !slices.Equal(got, []string{"seed", "learning_rate", "tokens", "peak", "loss"}) {
		t.Errorf("columns %q", got)
	}
	var order []string
	for _, r := range table.Rows {
		order = append(order, strings.TrimPrefix(r.Address, "stage.grown"))
	}
	if want := `["0.2-1"] ["0.2-2"] ["0.1-1"] ["0.1-2"] ["0.1-3"] ["0.2-3"]`; strings.Join(order, " ") != want {
		t.Errorf("rows %s, want %s", order, want)
	}
	first := table.Rows[0]
	if !first.Best || table.Rows[1].Best || first.Values["tokens"] != 200.0 || first.Values["peak"] != 64.0 ||
		first.Values["learning_rate"] != 0.2 {
		t.Errorf("%+v", first)
	}
	// 3, 4 and 5 have a deviation of 1: 4.3027 / √3
	if m := table.Means[0]; m.Runs != 3 || m.Settings["learning_rate"] != 0.1 || m.Results["loss"].Mean != 4 ||
		math.Abs(*m.Results["loss"].Half-2.4842) > 1e-4 {
		t.Errorf("%+v", m)
	}
	if m := table.Means[1]; m.Runs != 2 || m.Results["loss"].Mean != 2.25 {
		t.Errorf("%+v", m)
	}
}

// TestCompareMethods: a table tells the types of optimizers and adapters apart, and which stage has no adapter.
func TestCompareMethods(t *testing.T) {
	r := &Run{Name: "methods"}
	for i, method := range [][2]string{{"scale", "lora"}, {"galore", ""}} {
		key := fmt.Sprintf("[%d]", i)
		o := "optimizer." + method[0] + ".o"
		r.Blocks = append(r.Blocks, &Block{Address: o, Kind: "optimizer", Type: method[0]})
		attrs := [][2]string{{"train.optimizer", strconv.Quote(o)}}
		if method[1] != "" {
			r.Blocks = append(r.Blocks, &Block{Address: "peft.lora.a", Kind: "peft", Type: "lora"})
			attrs = append(attrs, [2]string{"adapter", strconv.Quote("peft.lora.a")})
		}
		r.Blocks = append(r.Blocks, &Block{Address: "stage.s" + key, Kind: "stage", Status: "done", Attrs: attrs,
			Stage: &Stage{Training: &blocks.Training{Figures: program.Figures{Tokens: 100, Peak: 64}}}})
	}
	table, err := Compare([]*Run{r}, nil)
	if err == nil {
		err = table.Show(nil, false, "")
	}
	if err != nil || !slices.Equal(names(table), []string{"adapter", "optimizer", "tokens", "peak"}) {
		t.Fatalf("%v, columns %q", err, names(table))
	}
	for i, want := range [][2]any{{"lora", "scale"}, {"none", "galore"}} {
		if v := table.Rows[i].Values; v["adapter"] != want[0] || v["optimizer"] != want[1] {
			t.Errorf("row %d: %v, want %v", i, v, want)
		}
	}
}

// TestCompareChoices: other stages, other columns, another order; and what is refused.
func TestCompareChoices(t *testing.T) {
	runs := []*Run{sweepRun(map[string]float64{"0.1-1": 3})}
	table, err := Compare(runs, []string{"stage.seed", `stage.grown["0.1-1"]`})
	if err != nil || len(table.Rows) != 7 {
		t.Fatalf("%v, %v", table, err)
	}
	table, err = Compare(runs, nil)
	if err == nil {
		err = table.Show([]string{"learning_rate", " stage.seed"}, false, "-seed")
	}
	if err != nil || !slices.Equal(names(table), []string{"learning_rate", "stage.seed"}) ||
		!strings.HasSuffix(table.Rows[0].Address, `-3"]`) || len(table.Rows[0].Values) != 2 {
		t.Errorf("%v, %q", err, names(table))
	}
	table, _ = Compare(runs, nil)
	if err := table.Show([]string{"learning_rat"}, false, ""); err == nil ||
		!strings.Contains(err.Error(), `Did you mean "learning_rate"?`) {
		t.Errorf("%v", err)
	}
	if _, err := Compare(runs, []string{"stage.gown"}); err == nil || !strings.Contains(err.Error(), "stage.gown") {
		t.Errorf("%v", err)
	}
	if _, err := Compare(runs, []string{`stage.seed["0.1-1"]`}); err == nil ||
		!strings.Contains(err.Error(), "one run to compare") {
		t.Errorf("%v", err)
	}
}

// TestCompareHostile: stages that go on from each other, and one without a plan, end in a table or an error.
func TestCompareHostile(t *testing.T) {
	run := sweepRun(map[string]float64{"0.1-1": 3})
	run.Blocks[2].Stage.From = run.Blocks[3].Address
	run.Blocks[6].Stage.Training = nil
	run.Blocks[0].Attrs = [][2]string{{"seed", "Inf"}, {"x", fmt.Sprintf("%q", run.Blocks[3].Address)}}
	if table, err := Compare([]*Run{run}, []string{"stage.seed", "stage.grown"}); err != nil || len(table.Rows) != 11 {
		t.Errorf("%v, %v", table, err)
	}
}

func TestUnkeyed(t *testing.T) {
	for address, want := range map[string]string{
		`stage.s`: "stage.s", `stage.s[0]`: "stage.s", `stage.s["`: "stage.s",
		`module.m["a]\"."].stage.s["b"]`: "module.m.stage.s",
	} {
		if got := unkeyed(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// TestStudent checks the quantile where the expansion takes over from the table, against published values.
func TestStudent(t *testing.T) {
	for df, want := range map[int]float64{1: 12.7062, 10: 2.2281, 11: 2.2010, 30: 2.0423, 1000: 1.9623} {
		if got := student(df); math.Abs(got-want) > 5e-4 {
			t.Errorf("%d: %g, want %g", df, got, want)
		}
	}
}

// TestSweepPage makes the page of a sweep: intervals, and one seed that has none.
func TestSweepPage(t *testing.T) {
	run := sweepRun(map[string]float64{"0.1-1": 3.02, "0.1-2": 3.1, "0.1-3": 2.97, "0.2-1": 2.71})
	for i, b := range run.Blocks {
		if trains(b) && b.Values["loss"] != nil {
			b.Stage.Series = trainedStage(b.Address, "", 200, uint64(i)).Stage.Series
		}
	}
	run.Graph = blockLayout(run.Blocks)
	p := NewPage("sweep", run)
	if m := p.Table.Means; len(m) != 2 || m[1].Runs != 1 || m[1].Results["loss"].Half != nil ||
		!slices.Equal(m[0].Results["loss"].Values, []float64{3.02, 3.1, 2.97}) || len(m[0].Members) != 3 || m[0].Student != student(2) {
		t.Errorf("%+v", m)
	}
	writePage(t, "sweep", p)
}

// TestTimeElsewhere: the time of a chain of which a stage was trained on another machine is not known.
func TestTimeElsewhere(t *testing.T) {
	a, b, c := trainedStage("stage.a", "", 10, 1), trainedStage("stage.b", "stage.a", 10, 1), trainedStage("stage.c", "", 10, 1)
	a.Stage.Series = nil
	table, err := Compare([]*Run{{Name: "x", Blocks: []*Block{a, b, c}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if table.Rows[0].Values["time"] != nil || table.Rows[1].Values["time"] != 5.0 {
		t.Errorf("%v and %v", table.Rows[0].Values, table.Rows[1].Values)
	}
}

// TestCompareEarly: of a stage that ended before its last step, what it was trained on counts, not what was planned, also
// where the model of an earlier step is its result.
func TestCompareEarly(t *testing.T) {
	dir := sampleRun(t, 20)
	writeState(t, dir, map[string]*state.Block{"stage.one": {Status: state.Done, Content: "x", Step: 9, Steps: 20},
		"stage.two": {Status: state.Running, Step: 7, Steps: 20}})
	writeSteps(t, dir, "stage.one", steps(12))
	writeSteps(t, dir, "stage.two", steps(12))
	run := read(t, dir)
	for _, b := range run.Blocks {
		if b.Stage != nil {
			b.Stage.Figures.Tokens, b.Stage.Figures.FLOPs = 160, 2000
		}
	}
	table, err := Compare([]*Run{run}, []string{"stage.one", "stage.two"})
	if err != nil {
		t.Fatal(err)
	}
	if one, two := table.Rows[0].Values, table.Rows[1].Values; one["tokens"] != 96.0 || one["FLOPs"] != 1200.0 ||
		two["tokens"] != 256.0 || two["FLOPs"] != 3200.0 {
		t.Errorf("%v and %v", one, two)
	}
}

// TestCompareSeedsOfRuns: runs of several folders that differ in seeds alone are averaged. What was made otherwise, or
// from other data, is not.
func TestCompareSeedsOfRuns(t *testing.T) {
	run := func(name, seed string, loss float64, more ...[2]string) *Run {
		s := &Block{Address: "stage.s", Kind: "stage", Status: "done", Values: map[string]any{"loss": loss},
			Attrs: append(more, [2]string{"seed", seed}, [2]string{"precision", "fp32"}), data: map[string]string{"data.jsonl.d": "x"},
			Stage: &Stage{Training: &blocks.Training{Figures: program.Figures{Tokens: 100}}}}
		return &Run{Name: name, Blocks: []*Block{s}}
	}
	means := func(runs ...*Run) []*Mean {
		table, err := Compare(runs, nil)
		if err != nil {
			t.Fatal(err)
		}
		return table.Means
	}
	a, b, c := run("a", "1", 3), run("b", "2", 4), run("c", "3", 5)
	if m := means(a, b, c); len(m) != 1 || m[0].Runs != 3 || m[0].Results["loss"].Mean != 4 || math.Abs(*m[0].Results["loss"].Half-2.4842) > 1e-4 {
		t.Errorf("%d means of three seeds", len(m))
	}
	if m := means(a, a); m != nil {
		t.Errorf("one training is averaged with itself: %+v", m[0])
	}
	c.Blocks[0].data = map[string]string{"data.jsonl.d": "y"}
	if m := means(a, b, c); len(m) != 2 || m[0].Runs != 2 || m[1].Runs != 1 {
		t.Errorf("%d means of two seeds on one data, and one on another", len(m))
	}
	if m := means(a, run("e", "2", 4, [2]string{"freeze", "inherited"})); m != nil {
		t.Errorf("a stage is averaged with one that was made otherwise: %+v", m[0])
	}
	table, err := Compare([]*Run{run("a", "1", math.MaxFloat64), run("b", "2", math.MaxFloat64)}, nil)
	if err == nil {
		_, err = json.Marshal(table)
	}
	if err != nil {
		t.Error(err)
	}
}
