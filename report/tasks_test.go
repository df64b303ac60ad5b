package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/runtime/blocks"
	"stepflow/runtime/state"
)

// answered is a task as a model answered it: right or not, a digit a document.
type answered struct {
	task, acc string
	norm      string // "" for the same
	chance    float64
	words     string // of the prompts
	docs      string // what tells the documents from others
}

// evaluation is a done evaluation in a state, with its samples beside it.
func evaluation(t *testing.T, dir, address string, groups map[string]map[string]any, list ...answered) *state.Block {
	t.Helper()
	results := map[string]any{}
	for name, g := range groups {
		results[name] = g
	}
	var lines strings.Builder
	for _, a := range list {
		norm := a.norm
		if norm == "" {
			norm = a.acc
		}
		results[a.task] = map[string]any{"documents": float64(len(a.acc)), "chance": a.chance, "acc": rightShare(a.acc),
			"acc_stderr": deviates(a.acc), "acc_norm": rightShare(norm), "acc_norm_stderr": deviates(norm)}
		for i := range a.acc {
			line, err := json.Marshal(map[string]any{"task": a.task, "document": i, "hash": a.docs + fmt.Sprint(i), "gold": []int{1},
				"prompt": a.words, "log_likelihoods": []float64{-1, -2},
				"metrics": map[string]any{"acc": float64(a.acc[i] - '0'), "acc_norm": float64(norm[i] - '0')}})
			if err != nil {
				t.Fatal(err)
			}
			lines.Write(append(line, '\n'))
		}
	}
	b := &state.Block{Status: state.Done, Content: "x", Dir: filepath.Join("blocks", address, "result"),
		Values: map[string]any{"results": results}}
	path := filepath.Join(dir, b.Dir)
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, blocks.SamplesFile), []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return b
}

func rightShare(digits string) float64 {
	return float64(strings.Count(digits, "1")) / float64(len(digits))
}

// deviates is the standard error of a share.
func deviates(digits string) float64 {
	p := rightShare(digits)
	return math.Sqrt(p * (1 - p) / float64(len(digits)-1))
}

// tasksRun writes a run of sampleRun's two stages, an evaluation of each.
func tasksRun(t *testing.T, one, two func(dir, address string) *state.Block) string {
	t.Helper()
	dir := sampleRun(t, 20)
	r, err := readPlan(dir)
	if err != nil {
		t.Fatal(err)
	}
	r.Blocks = append(r.Blocks, &Block{Address: "evaluate.tasks.one", Kind: "evaluate", Type: "tasks", Model: "stage.one"},
		&Block{Address: "evaluate.tasks.two", Kind: "evaluate", Type: "tasks", Model: "stage.two"})
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
	writeState(t, dir, map[string]*state.Block{"evaluate.tasks.one": one(dir, "evaluate.tasks.one"),
		"evaluate.tasks.two": two(dir, "evaluate.tasks.two")})
	return dir
}

func near(a, b float64) bool { return math.Abs(a-b) < 5e-7 }

// TestPairs: of ten documents the first stage alone has one right, the second alone four. So the differences are four
// times 1, once −1 and five times 0; their mean is 0.3, and the sum of squares around it 4.1. McNemar's p is
// 2 (1 + 5) / 2⁵.
func TestPairs(t *testing.T) {
	before := answered{task: "a", acc: "1110000010", norm: "1010101010", chance: .25}
	after := answered{task: "a", acc: "1101110011", norm: "1010101010", chance: .25}
	dir := tasksRun(t,
		func(dir, at string) *state.Block { return evaluation(t, dir, at, nil, before) },
		func(dir, at string) *state.Block { return evaluation(t, dir, at, nil, after) })
	run := read(t, dir)
	if len(run.Pairs) != 2 {
		t.Fatalf("%d pairs", len(run.Pairs))
	}
	p := run.Pairs[0]
	stderr := math.Sqrt(4.1 / 9 / 10)
	if p.Why != "" || p.Metric != "acc" || p.From.Model != "stage.one" || p.To.Evaluation != "evaluate.tasks.two" ||
		p.Documents != 10 || !near(p.Difference, .3) || !near(*p.Stderr, stderr) || !near(*p.Half, 2.2622*stderr) ||
		*p.Only != [2]int{1, 4} || !near(*p.P, .375) {
		t.Errorf("%+v", *p)
	}
	p = run.Pairs[1]
	if p.Metric != "acc_norm" || p.Difference != 0 || *p.Stderr != 0 || p.Half != nil || *p.Only != [2]int{} || *p.P != 1 {
		t.Errorf("%+v", *p)
	}
	if s := run.Blocks[4].Scores; len(s) != 1 || *s[0].metric("acc").Value != .4 || !s[0].metric("acc").Guess ||
		run.Blocks[5].Scores[0].metric("acc").Guess || run.Blocks[4].Values["results"] != nil {
		t.Errorf("%+v", *s[0])
	}
}

// TestNotPaired: what was not asked the same is told, and so is what cannot be read.
func TestNotPaired(t *testing.T) {
	good := answered{task: "a", acc: "1100", chance: .5}
	for _, c := range []struct {
		name, why string
		change    func(a *answered)
		spoil     func(path string) error
	}{
		{"fewer", "other documents: 4 and 3", func(a *answered) { a.acc = "110" }, nil},
		{"others", "other documents: 4 of 4 differ", func(a *answered) { a.docs = "x" }, nil},
		{"words", "the same documents in other words: 4 of 4 prompts differ", func(a *answered) { a.words = "x" }, nil},
		{"gone", "evaluate.tasks.two: samples.jsonl is gone", nil, os.Remove},
		{"damaged", "evaluate.tasks.two: of samples.jsonl, 1 of 5 lines are damaged, the first is line 5", nil, func(path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString("{\"task\":\"a\"")
			}
			return err
		}},
		{"cut", "evaluate.tasks.two: samples.jsonl has 0 of its 4 documents", nil, nil},
		{"another", "evaluate.tasks.two: acc is not the mean of its documents in samples.jsonl", nil, func(path string) error {
			b, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, []byte(strings.Replace(string(b), `"acc":1`, `"acc":0`, 1)), 0o644)
			}
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := good
			if c.change != nil {
				c.change(&other)
			}
			dir := tasksRun(t, func(dir, at string) *state.Block { return evaluation(t, dir, at, nil, good) },
				func(dir, at string) *state.Block {
					b := evaluation(t, dir, at, nil, other)
					path := filepath.Join(dir, b.Dir, blocks.SamplesFile)
					if c.name == "cut" {
						c.spoil = func(path string) error {
							return os.WriteFile(path, []byte(`{"task":"b","document":0,"metrics":{}}`+"\n"), 0o644)
						}
						c.why = "evaluate.tasks.two: a is a group: its tasks are compared"
					}
					if c.spoil != nil {
						if err := c.spoil(path); err != nil {
							t.Fatal(err)
						}
					}
					return b
				})
			list := read(t, dir).Pairs
			if len(list) == 0 || list[0].Why != c.why || list[0].Stderr != nil {
				t.Errorf("%+v", list)
			}
		})
	}
}

// TestGroups: a group is known by having no documents of its own. It is paired over those of its tasks, which fold under
// it; a task whose name another task's begins with is no group.
func TestGroups(t *testing.T) {
	group := func(acc float64) map[string]map[string]any {
		return map[string]map[string]any{"mmlu": {"documents": 5.0, "acc": acc, "acc_stderr": .2, "chance": .25}}
	}
	dir := tasksRun(t,
		func(dir, at string) *state.Block {
			return evaluation(t, dir, at, group(.4), answered{task: "mmlu_b", acc: "10"}, answered{task: "mmlu_a", acc: "100"},
				answered{task: "quiz", acc: "10"}, answered{task: "quiz_hard", acc: "10"})
		},
		func(dir, at string) *state.Block {
			return evaluation(t, dir, at, group(.6), answered{task: "mmlu_b", acc: "01"}, answered{task: "mmlu_a", acc: "110"},
				answered{task: "quiz", acc: "11"}, answered{task: "quiz_hard", acc: "01"})
		})
	run := read(t, dir)
	var told []string
	for _, p := range run.Pairs {
		if p.Metric == "acc" {
			told = append(told, fmt.Sprintf("%s/%s %d %.1f %v", p.Group, p.Task, p.Documents, p.Difference, *p.Only))
		}
	}
	if want := []string{"/mmlu 5 0.2 [1 2]", "mmlu/mmlu_a 3 0.3 [0 1]", "mmlu/mmlu_b 2 0.0 [1 1]", "/quiz 2 0.5 [0 1]",
		"/quiz_hard 2 0.0 [1 1]"}; !slices.Equal(told, want) {
		t.Errorf("%q", told)
	}
}

// TestGuess: a share is not told from chance within two of its standard errors, nor if so few documents say nothing.
func TestGuess(t *testing.T) {
	for _, c := range []struct {
		documents, chance, value, stderr float64
		want                             bool
	}{
		{1000, .25, .30, .0145, false}, {1000, .25, .27, .0140, true}, {1000, .25, .2, .0126, false},
		{3, .5, 1, 0, true}, {100, .5, 1, 0, false}, {0, .5, .5, 0, false},
	} {
		m := Metric{Name: "acc", Value: &c.value, Stderr: &c.stderr}
		if got := m.guess(&Score{Documents: c.documents, Chance: &c.chance}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestMcNemar checks p against sums of binomial coefficients, and large counts against the normal distribution.
func TestMcNemar(t *testing.T) {
	for counts, want := range map[[2]int]float64{{0, 0}: 1, {1, 0}: 1, {5, 5}: 1, {0, 5}: 2. / 32, {8, 2}: 2 * 56. / 1024} {
		if got := mcnemar(counts[0], counts[1]); !near(got, want) {
			t.Errorf("%v: %g, want %g", counts, got, want)
		}
	}
	z := (5150 - 4850 - 1) / math.Sqrt(10000) // with the correction for continuity
	if got, want := mcnemar(4850, 5150), math.Erfc(z/math.Sqrt2); math.Abs(got-want) > 1e-4 {
		t.Errorf("%g, want about %g", got, want)
	}
}

// TestSamplesBounds: a file may be of any size and hold anything.
func TestSamplesBounds(t *testing.T) {
	line := func(i int) string { return fmt.Sprintf(`{"task":"a","document":%d,"metrics":{"acc":1}}`, i) + "\n" }
	for text, want := range map[string]string{
		line(0) + line(1): "", line(0) + line(1) + line(2) + line(3): "the lines from 4 on are not read",
		"\n" + line(0) + `{"task":"","document":1}` + "\n": "2 of 3 lines are damaged, the first is line 1",
		line(0) + `{"task":"a"}`:                           "1 of 2 lines are damaged, the first is line 2",
		line(0) + strings.Repeat("x", maxSample+1):         "line 2 is longer than 16 MiB",
	} {
		x, err := readSamples(strings.NewReader(text), 3)
		if err != nil || !strings.HasPrefix(x.lost, want) || want == "" && x.lost != "" {
			t.Errorf("%.60q: %q, %v", text, x.lost, err)
		}
	}
	var many strings.Builder
	for i := range 2 * maxMetrics {
		fmt.Fprintf(&many, `{"task":"a","document":%d,"metrics":{"m%d":1}}`+"\n", i, i)
	}
	x, err := readSamples(strings.NewReader(many.String()), 1000)
	if err != nil || len(x.tasks["a"].values) > maxMetrics || x.lost == "" || x.tasks["a"].column("m1") != nil {
		t.Errorf("%d metrics, %q, %v", len(x.tasks["a"].values), x.lost, err)
	}
}

// TestSamplesOnce: a file is read again only when it changed, and one that is gone is forgotten.
func TestSamplesOnce(t *testing.T) {
	one := func(dir, at string) *state.Block { return evaluation(t, dir, at, nil, answered{task: "a", acc: "10"}) }
	dir := tasksRun(t, one, one)
	r := NewReader(dir)
	get := func() *sampled {
		run, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		return run.Blocks[4].samples
	}
	first := get()
	if first == nil || get() != first {
		t.Error("a file that did not change was read again")
	}
	path := filepath.Join(dir, "blocks", "evaluate.tasks.one", "result", blocks.SamplesFile)
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if get() == first {
		t.Error("a file that changed was not read")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if get() != nil {
		t.Error("a file that is gone is shown")
	}
}

// scored gives the end of a chain an evaluation, as Read does.
func scored(t *testing.T, r *Run, model string, list ...answered) {
	t.Helper()
	dir := t.TempDir()
	address := "evaluate.tasks.e" + strings.TrimPrefix(model, "stage.grown")
	s := evaluation(t, dir, "e", nil, list...)
	x, err := NewReader(dir).samples(&Run{Dir: dir}, address, s)
	if err != nil {
		t.Fatal(err)
	}
	r.Blocks = append(r.Blocks, &Block{Address: address, Kind: "evaluate", Model: model, samples: x,
		Scores: scores(s.Values, x)})
}

// TestCompareTasksPage: a sweep of two rates with three seeds has columns for its task, differences to the first row, and of
// the rates those over seeds. By seed the second rate has 2, 1 and 3 documents of ten more right: the mean is 0.2, with a
// deviation of 0.1, so half the interval is 4.3027 · 0.1 / √3.
func TestCompareTasksPage(t *testing.T) {
	run := sweepRun(nil)
	for key, acc := range map[string]string{"0.1-1": "1100000000", "0.1-2": "1110000000", "0.1-3": "1000000000",
		"0.2-1": "1111000000", "0.2-2": "1111000000", "0.2-3": "1111000000"} {
		scored(t, run, fmt.Sprintf("stage.grown[%q]", key), answered{task: "a", acc: acc, chance: .25})
	}
	table, err := Compare([]*Run{run}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Show(nil, false, ""); err != nil {
		t.Fatal(err)
	}
	if got := names(table); !slices.Equal(got[len(got)-8:], []string{"a.acc", "a.acc_stderr", "a.acc_difference", "a.acc_difference_stderr",
		"a.acc_norm", "a.acc_norm_stderr", "a.acc_norm_difference", "a.acc_norm_difference_stderr"}) {
		t.Errorf("%q", got)
	}
	row := table.Rows[3]
	if row.Address != `stage.grown["0.2-1"]` || row.Values["a.acc"] != .4 || !near(row.Values["a.acc_difference"].(float64), .2) ||
		!near(row.Values["a.acc_difference_stderr"].(float64), math.Sqrt(1.6/9/10)) || row.Best || table.Rows[0].Best {
		t.Errorf("%+v", *row)
	}
	if len(table.Pairs) != 10 || table.Pairs[4].From.Model != `stage.grown["0.1-1"]` || table.Pairs[4].To.Model != row.Address {
		t.Errorf("%d pairs", len(table.Pairs))
	}
	if m := table.Means; len(m) != 2 || m[0].Differences != nil || !near(m[0].Results["a.acc"].Mean, .2) {
		t.Fatalf("%+v", m)
	}
	d := table.Means[1].Differences["a.acc"]
	if !near(d.Mean, .2) || !near(*d.Half, 4.3027*.1/math.Sqrt(3)) || len(d.Values) != 3 {
		t.Errorf("%+v", d)
	}
	run.Name, run.Graph = "tasks of a sweep", blockLayout(run.Blocks)
	writePage(t, "tasksweep", NewPage("tasks of a sweep", run))
}

// TestTasksPage is a page with all of it, for the browser's test: ten tasks, a group with many parts, and names that try
// to become HTML.
func TestTasksPage(t *testing.T) {
	digits := func(n, every int) string {
		b := []byte(strings.Repeat("0", n))
		for i := 0; i < n; i += every {
			b[i] = '1'
		}
		return string(b)
	}
	make := func(every int) func(dir, at string) *state.Block {
		return func(dir, at string) *state.Block {
			var list []answered
			for _, n := range []string{"arc_challenge", "arc_easy", "boolq", "hellaswag", "lambada_openai", "openbookqa", "piqa", "sciq",
				"winogrande", nasty} {
				list = append(list, answered{task: n, acc: digits(200, every), norm: digits(200, every+1), chance: .25})
			}
			for i := range 57 {
				list = append(list, answered{task: fmt.Sprintf("mmlu_subject_%d", i), acc: digits(100, every), chance: .25})
			}
			list[3].words = fmt.Sprint(every)
			return evaluation(t, dir, at, map[string]map[string]any{"mmlu": {"documents": 5700.0, "acc": rightShare(digits(100, every)),
				"acc_stderr": .006, "chance": .25}}, list...)
		}
	}
	dir := tasksRun(t, make(4), make(3))
	run := read(t, dir)
	p := NewPage("tasks", run)
	if html := writePage(t, "tasks", p); len(html) > 2<<20 {
		t.Errorf("the page has %d bytes", len(html))
	}
	other := read(t, tasksRun(t, make(4), make(2)))
	run.Name, other.Name = "first", "second"
	p = NewPage("runs with tasks", run, other)
	if p.Table == nil || len(p.Table.Pairs) == 0 {
		t.Fatal("no pairs of runs")
	}
	writePage(t, "taskruns", p)
}
