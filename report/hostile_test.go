package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"stepflow/foreign"
	"stepflow/runtime/metrics"
	"stepflow/runtime/state"
)

// showAll reads a folder in every way it is shown.
func showAll(t *testing.T, dir string) (dashboard string) {
	t.Helper()
	run, err := NewReader(dir).Read()
	if err != nil {
		return ""
	}
	if _, err := NewPage("x", run).HTML(); err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{0, 20, 100} {
		dashboard = Dashboard(run, width, false)
	}
	if len(dashboard) > 1<<20 || !utf8.ValidString(dashboard) {
		t.Fatalf("the dashboard has %d bytes", len(dashboard))
	}
	return dashboard
}

func runningSample(t *testing.T) string {
	t.Helper()
	dir := sampleRun(t, 20)
	writeState(t, dir, map[string]*state.Block{"stage.one": {Status: state.Running, Step: 7, Steps: 20, Memory: &state.Memory{Measured: 5000}}})
	writeSteps(t, dir, "stage.one", steps(12))
	return dir
}

// A stage may have been planned shorter since it ran: its bar is full.
func TestShortenedStage(t *testing.T) {
	dir := sampleRun(t, 10)
	writeState(t, dir, map[string]*state.Block{"stage.one": {Status: state.Done, Content: "x", Step: 20, Steps: 20}, "stage.two": {Status: state.Done, Content: "y", Step: 80, Steps: 80}})
	writeSteps(t, dir, "stage.one", steps(20))
	d := showAll(t, dir)
	if n := strings.Count(d, "[====================] 10/10"); n != 2 {
		t.Errorf("%d full bars in\n%s", n, d)
	}
}

// Any number in the files may be any other: it is shown or refused, at no cost.
func TestOtherNumbers(t *testing.T) {
	number := regexp.MustCompile(`-?\d+(\.\d+)?(e-?\d+)?`)
	sum := regexp.MustCompile(`,"crc32c":"[0-9a-f]{8}"`) // without it a line is read as it is
	dir := runningSample(t)
	for _, file := range []string{FileName, filepath.Join("blocks", "stage.one", metrics.FileName)} {
		path := filepath.Join(dir, file)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		good = sum.ReplaceAll(good, nil)
		for _, at := range number.FindAllIndex(good, 200) {
			for _, other := range []string{"-1", "0", "9223372036854775807", "-1e308", "1e400", "null"} {
				bad := append(append(bytes.Clone(good[:at[0]]), other...), good[at[1]:]...)
				if err := os.WriteFile(path, bad, 0o644); err != nil {
					t.Fatal(err)
				}
				showAll(t, dir)
			}
		}
		if err := os.WriteFile(path, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// What is no file of ours is refused, and nobody waits for a named pipe.
func TestNoFile(t *testing.T) {
	for _, file := range []string{FileName, filepath.Join("blocks", "stage.one", metrics.FileName)} {
		dir := runningSample(t)
		path := filepath.Join(dir, file)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if run, err := NewReader(dir).Read(); err == nil {
			t.Errorf("%s is a folder: %v", file, run)
		}
		if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o644)); err != nil {
			t.Fatal(err)
		}
		if _, err := NewReader(dir).Read(); !errors.Is(err, foreign.ErrNotRegular) {
			t.Errorf("%s is a pipe: %v", file, err)
		}
	}
}

// TestDashboardObeysNothing: what was planted in the files of a run does not act on a terminal.
func TestDashboardObeysNothing(t *testing.T) {
	dir := runningSample(t)
	path := filepath.Join(dir, FileName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var run map[string]any
	if err := json.Unmarshal(b, &run); err != nil {
		t.Fatal(err)
	}
	const acts = "\x1b[2J\u009b2J\u202e"
	for _, k := range []string{"name", "device", "note"} {
		run[k] = acts
	}
	for _, x := range run["blocks"].([]any) {
		for _, k := range []string{"status", "error", "kind", "verb"} {
			x.(map[string]any)[k] = acts
		}
		x.(map[string]any)["warnings"] = []string{acts}
	}
	if b, err = json.Marshal(run); err == nil {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if d := showAll(t, dir); d == "" || strings.ContainsAny(d, acts[:1]+"\u009b\u202e") {
		t.Errorf("%q", d)
	}
}

func FuzzShow(f *testing.F) {
	f.Add([]byte(`{"version":1,"name":"x","blocks":[{"address":"stage.one","kind":"stage","status":"running","stage":{"steps":3,"planned":{},"layers":null}}]}`),
		[]byte("{\"step\":1,\"loss\":2,\"seconds\":1}\n{\"step\":2,\"loss\":1e308,\"seconds\":1e308}\n"))
	f.Add([]byte(`{"version":1,"blocks":[{"address":"stage.one","inputs":["stage.one"],"stage":{"steps":-1}}]}`), []byte("{\"step\":-5}\n{\"step\":9223372036854775807,\"loss\":-1e308}\n"))
	f.Fuzz(func(t *testing.T, run, lines []byte) {
		dir := t.TempDir()
		blocks := filepath.Join(dir, "blocks", "stage.one")
		if err := os.MkdirAll(blocks, 0o755); err != nil {
			t.Fatal(err)
		}
		for path, b := range map[string][]byte{filepath.Join(dir, FileName): run, filepath.Join(blocks, metrics.FileName): lines} {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		showAll(t, dir)
	})
}

// FuzzTasks: whatever stands in the values of an evaluation and beside it is shown or left out.
func FuzzTasks(f *testing.F) {
	f.Add([]byte(`{"a":{"acc":0.5,"acc_stderr":0.5,"documents":2,"chance":0.5}}`),
		[]byte("{\"task\":\"a\",\"document\":0,\"metrics\":{\"acc\":1}}\n{\"task\":\"a\",\"document\":1,\"metrics\":{\"acc\":0}}\n"))
	f.Add([]byte(`{"":{"":0},"a":null,"a_b":{"acc":null,"documents":-1e308,"chance":1e308},"a_c":{"acc":"x","_stderr":{}}}`),
		[]byte("{\"task\":\"a_b\",\"document\":-1,\"gold\":{},\"metrics\":{\"acc\":1e308,\"\":null}}\nnull\n[]\n"))
	f.Fuzz(func(t *testing.T, results, lines []byte) {
		var values any
		if json.Unmarshal(results, &values) != nil {
			return
		}
		x, err := readSamples(bytes.NewReader(lines), 100)
		if err != nil {
			t.Fatal(err)
		}
		a := trainedStage("stage.a", "", 1, 1)
		b := trainedStage("stage.b", "stage.a", 1, 1)
		run := &Run{Name: "x", Blocks: []*Block{a, b}}
		for _, of := range []*Block{a, b} {
			run.Blocks = append(run.Blocks, &Block{Address: "evaluate.tasks." + of.Address, Kind: "evaluate", Model: of.Address,
				samples: x, Scores: scores(map[string]any{"results": values}, x)})
		}
		run.Pairs = before(run)
		if _, err := NewPage("x", run, run).HTML(); err != nil {
			t.Fatal(err)
		}
	})
}
