package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stepflow/runtime/blocks"
	"stepflow/runtime/look"
	"stepflow/runtime/metrics"
	"stepflow/runtime/program"
	"stepflow/runtime/state"
)

const nasty = `</script><script>window.hacked = 1</script><img src=x onerror=alert(1)> "quoted" & 'single' 🦊`

// sampleRun writes a run of two stages, with texts that try to become HTML, into a folder.
func sampleRun(t *testing.T, steps int) string {
	t.Helper()
	dir := t.TempDir()
	f := program.Figures{Layers: 2, ByKind: map[string]int64{"weights": 1000, "gradients": 1000}, Peak: 2000, Steps: steps}
	r := &Run{Version: fileVersion, Name: nasty, Dir: dir, Device: "cpu", Environment: [][2]string{{"system", "linux"}},
		Variables: []Variable{{"name", nasty, "-var"}},
		Blocks: []*Block{{Address: "stage.one", Kind: "stage", Status: "run", Attrs: [][2]string{{"x", nasty}},
			Stage: &Stage{Training: &blocks.Training{Steps: steps, StepTokens: 8,
				Layers: []blocks.Layer{{ID: "0", Old: -1}, {ID: "1", Old: -1}}, Figures: f, Vanilla: &f}}},
			{Address: "stage.two", Kind: "stage", Status: "run", Inputs: []string{"stage.one"}, Warnings: []string{nasty},
				Stage: &Stage{Training: &blocks.Training{From: "stage.one", Grow: "1 new by interpolation, upper", Added: 1,
					Steps: steps, StepTokens: 8,
					Layers: []blocks.Layer{{ID: "0", Old: 0, Frozen: true, Rank: 2},
						{ID: "n", Old: -1, From: []blocks.LayerParent{{Layer: 0, Weight: .5}, {Layer: 1, Weight: .5}}},
						{ID: "1", Old: 1, Frozen: true}}, Figures: f, Vanilla: &f}}},
			{Address: "evaluate.perplexity.p", Kind: "evaluate", Model: "stage.two", Status: "run",
				Inputs: []string{"stage.two"}}, {Address: "evaluate.generation.g", Kind: "evaluate", Status: "run"}}}
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeState(t *testing.T, dir string, blocks map[string]*state.Block) {
	t.Helper()
	d, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	d.State.Blocks = blocks
	d.State.Outputs = map[string]state.Output{"loss": {Value: 2.5, Description: nasty}, "key": {Sensitive: true}}
	if err := errors.Join(d.Save(), d.Close()); err != nil {
		t.Fatal(err)
	}
}

func writeSteps(t *testing.T, dir, stage string, steps []metrics.Step) {
	t.Helper()
	w, err := metrics.Open(filepath.Join(dir, "blocks", stage), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if err := w.Write(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func steps(n int) (list []metrics.Step) {
	for i := 1; i <= n; i++ {
		s := metrics.Step{Step: i, Tokens: int64(8 * i), FLOPs: int64(100 * i), Loss: 5 - float64(i)/float64(n),
			GradNorm: 1, LearningRate: 1e-3, Seconds: .5, TokensPerSec: 16}
		if i == 3 {
			s.Loss, s.GradNorm, s.Skipped = math.NaN(), math.Inf(1), true
		}
		list = append(list, s)
	}
	return list
}

func read(t *testing.T, dir string) *Run {
	t.Helper()
	r, err := NewReader(dir).Read()
	if err != nil {
		t.Fatal(err)
	}
	p := NewPage(r.Name, r)
	html, err := p.HTML()
	if err != nil {
		t.Fatal(err)
	}
	page := string(html)
	if strings.Contains(page, "<script>window.hacked") || strings.Contains(page, "<img src=x") || strings.Count(page,
		"</script>") != 3 {
		t.Error("text of the run became part of the page's HTML")
	}
	if strings.Contains(page, `src="http`) || strings.Contains(page, `href="http`) || len(html) > 3<<20 {
		t.Errorf("the page refers to the network, or has %d bytes", len(html))
	}
	if Dashboard(r, 80, false) == "" || strings.Contains(Dashboard(r, 30, false), "\x1b") {
		t.Error("the dashboard is empty, or coloured where no colours were asked for")
	}
	if state, is := strings.CutPrefix(t.Name(), "TestStatePages/"); is {
		writePage(t, state, p)
	}
	return r
}

// TestStatePages reads runs in every state they can be found in.
func TestStatePages(t *testing.T) {
	now := time.Now().UTC()
	done := &state.Block{Status: state.Done, Content: "x", Step: 20, Steps: 20, Started: now,
		Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Memory: &state.Memory{Measured: 2000}, Ranks: []int{2, 4}}
	t.Run("never run", func(t *testing.T) {
		if r := read(t, sampleRun(t, 20)); r.Note == "" || r.Blocks[0].Status != "run" || r.Blocks[0].Stage.Series != nil {
			t.Errorf("%+v", r.Blocks[0])
		}
	})
	t.Run("running", func(t *testing.T) {
		dir := sampleRun(t, 20)
		writeState(t, dir, map[string]*state.Block{"stage.one": {Status: state.Running, Steps: 20}})
		writeSteps(t, dir, "stage.one", steps(7))
		if r := read(t, dir); r.Running || r.Blocks[0].Status != "interrupted" || r.Blocks[0].Stage.Done != 7 {
			t.Errorf("nobody holds the state: %v, %+v", r.Running, r.Blocks[0])
		}
		d, err := state.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if r := read(t, dir); !r.Running || r.Blocks[0].Status != "running" {
			t.Errorf("the state is held: %v, %+v", r.Running, r.Blocks[0])
		}
	})
	t.Run("failed", func(t *testing.T) {
		dir := sampleRun(t, 20)
		writeState(t, dir, map[string]*state.Block{"stage.one": done, "stage.two": {Status: state.Failed, Error: nasty}})
		writeSteps(t, dir, "stage.one", steps(20))
		if r := read(t, dir); r.Blocks[1].Error != nasty || r.Blocks[0].Stage.Ranks != "2, then 4" || r.Blocks[0].TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" {
			t.Errorf("%+v, %+v", r.Blocks[0], r.Blocks[1])
		}
	})
	t.Run("done", func(t *testing.T) {
		dir := sampleRun(t, 20)
		writeState(t, dir, map[string]*state.Block{"stage.one": done, "stage.two": done,
			"evaluate.perplexity.p": {Status: state.Done, Content: "x",
				Values: map[string]any{"loss": 4.0, "perplexity": 54.6, "stderr": .01}},
			"evaluate.generation.g": {Status: state.Done, Content: "x", Values: map[string]any{"texts": []string{nasty}}}})
		writeSteps(t, dir, "stage.one", steps(20))
		writeSteps(t, dir, "stage.two", steps(20))
		r := read(t, dir)
		s := r.Blocks[0].Stage.Series
		if l := s.Loss.Mean; len(l) != 20 || !math.IsNaN(float64(l[2])) || s.Skipped != 1 || l[19] != 4 || s.Seconds[19] != 10 ||
			math.Abs(*s.Mean-4.225) > 1e-9 || s.Loss.Min != nil {
			t.Errorf("%+v", s)
		}
		if len(r.Outputs) != 2 || r.Outputs[0].Value != "(sensitive)" || r.Graph.Nodes[1].X <= r.Graph.Nodes[0].X || len(r.Graph.Edges) != 2 {
			t.Errorf("%+v %+v", r.Outputs, r.Graph)
		}
	})
	t.Run("half deleted", func(t *testing.T) {
		dir := sampleRun(t, 20)
		writeState(t, dir, map[string]*state.Block{"stage.one": done})
		if err := os.RemoveAll(filepath.Join(dir, "blocks")); err != nil {
			t.Fatal(err)
		}
		if r := read(t, dir); r.Blocks[0].Status != state.Done || r.Blocks[0].Stage.Series != nil {
			t.Errorf("%+v", r.Blocks[0])
		}
	})
	for name, content := range map[string]string{"damaged": `{"version":1,"blocks":[null]}`, "cut off": `{"version":1,`,
		"of another version": `{"version":9}`} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, FileName), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := NewReader(dir).Read(); err == nil || !strings.Contains(err.Error(), FileName) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := NewReader(t.TempDir()).Read(); !errors.Is(err, ErrNoRun) {
		t.Errorf("%v", err)
	}
}

func TestCompareShapesPage(t *testing.T) {
	a, b := sampleRun(t, 20), sampleRun(t, 5)
	writeSteps(t, a, "stage.one", steps(20))
	var runs []*Run
	for _, dir := range []string{a, b} {
		r, err := NewReader(dir).Read()
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	p := NewPage("both", append(runs, sweepRun(map[string]float64{"0.1-1": 3, "0.1-2": 4}))...)
	if len(p.Table.Rows) != 8 || len(p.Table.Means) == 0 {
		t.Errorf("%+v", p.Table)
	}
	p.Runs = p.Runs[:2]
	p.Runs[1].Blocks = p.Runs[1].Blocks[:1]
	p.Runs[1].Graph = blockLayout(p.Runs[1].Blocks)
	writePage(t, "compare", p)
}

// TestDamagedSteps damages a line of a stage's numbers: it is not drawn, and the page says so.
func TestDamagedSteps(t *testing.T) {
	dir := sampleRun(t, 20)
	writeState(t, dir, map[string]*state.Block{"stage.one": {Status: state.Done, Recipe: "r", Content: "c", Step: 20,
		Steps: 20}})
	writeSteps(t, dir, "stage.one", steps(20))
	path := filepath.Join(dir, "blocks", "stage.one", metrics.FileName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if w := read(t, dir).Blocks[0].Warnings; len(w) > 0 {
		t.Errorf("nothing is damaged: %q", w)
	}
	if err := os.WriteFile(path, bytes.Replace(b, []byte(`"loss":4.5,`), []byte(`"loss":3.5,`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	r := read(t, dir)
	if w := r.Blocks[0].Warnings; len(w) != 1 || !strings.Contains(w[0],
		metrics.FileName+" lacks the numbers of 1 of 20 steps") {
		t.Errorf("%q", w)
	}
	if !strings.Contains(Dashboard(r, 300, false), "lacks the numbers of 1 of 20 steps") {
		t.Error("the dashboard does not say it")
	}
}

// TestStepsOfAnotherStage puts the numbers of another stage in the place of a stage's own.
func TestStepsOfAnotherStage(t *testing.T) {
	dir := sampleRun(t, 20)
	own := steps(20)
	s := &state.Block{Status: state.Done, Recipe: "r", Content: "c", Step: 20, Steps: 20,
		Values: map[string]any{"loss": metrics.EndLoss(own)}}
	writeState(t, dir, map[string]*state.Block{"stage.one": s})
	writeSteps(t, dir, "stage.one", own)
	if w := read(t, dir).Blocks[0].Warnings; len(w) > 0 {
		t.Errorf("these are the stage's own: %q", w)
	}
	other := steps(20)
	other[19].Loss += 1e-3
	if err := os.Remove(filepath.Join(dir, "blocks", "stage.one", metrics.FileName)); err != nil {
		t.Fatal(err)
	}
	writeSteps(t, dir, "stage.one", other)
	if w := read(t, dir).Blocks[0].Warnings; len(w) != 1 || !strings.Contains(w[0],
		"the file is of another stage or run") {
		t.Errorf("%q", w)
	}
}

func TestServe(t *testing.T) {
	dir := sampleRun(t, 20)
	reader := NewReader(dir)
	s, err := Serve(":0", func() (*Page, error) {
		r, err := reader.Read()
		return NewPage("live", r), err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.URL, "http://127.0.0.1:") {
		t.Errorf("served at %s", s.URL)
	}
	if _, err := Serve(strings.TrimPrefix(s.URL, "http://"), nil); err == nil || !strings.Contains(err.Error(),
		"-ui takes another port") {
		t.Errorf("the port is taken: %v", err)
	}
	if _, err := Serve("8080", nil); err == nil || !strings.Contains(err.Error(), "-ui takes an address") {
		t.Errorf("%v", err)
	}
	r, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(r.Body)
	if r.Body.Close(); r.StatusCode != 200 || !strings.Contains(string(b), `"live":true`) {
		t.Errorf("%d", r.StatusCode)
	}
	req, _ := http.NewRequest("GET", s.URL, nil)
	req.Host = "evil.example.org"
	if r, err = http.DefaultClient.Do(req); err != nil || r.StatusCode != http.StatusForbidden {
		t.Errorf("another name is answered: %v %v", r, err)
	}
	r.Body.Close()
	if r, err = http.Get(s.URL + "/events"); err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	sc := bufio.NewScanner(r.Body)
	sc.Buffer(nil, 1<<24)
	next := func() (line string) {
		for sc.Scan() {
			if line = sc.Text(); line != "" {
				return line
			}
		}
		return ""
	}
	page := func(line string) (p Page) {
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &p); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		return p
	}
	if p := page(next()); p.Runs[0].Blocks[0].Stage.Series != nil {
		t.Error("steps before there were any")
	}
	writeSteps(t, dir, "stage.one", steps(4))
	if p := page(next()); p.Runs[0].Blocks[0].Stage.Series == nil {
		t.Error("the new steps were not sent")
	}
	writeSteps(t, dir, "stage.one", steps(6))
	go s.Close()
	if p := page(next()); p.Runs[0].Blocks[0].Stage.Done != 6 {
		t.Error("what the run wrote last was not sent")
	}
	if line := next(); line != "event: end" {
		t.Errorf("the end is %q", line)
	}
}

func TestSVG(t *testing.T) {
	d := &look.Drawing{Name: nasty, Nodes: []look.DrawnNode{{ID: "a", Lines: []string{nasty, "x"}},
		{ID: "b", Lines: []string{"b"}}}, Edges: [][2]int{{0, 1}}}
	for name, text := range map[string]string{"svg": SVG(d), "dot": d.DOT(), "mermaid": d.Mermaid()} {
		if name != "dot" && strings.Contains(text, "<img") {
			t.Errorf("%s holds HTML of a name:\n%s", name, text)
		}
	}
	if strings.Count(SVG(d), "<path d=") != 1 || strings.Count(SVG(d), "<rect x=") != 2 {
		t.Error(SVG(d))
	}
}
