package report

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"stepflow/runtime/state"
)

// TestWatcher steps through the dashboard's model as a terminal would.
func TestWatcher(t *testing.T) {
	dir := sampleRun(t, 20)
	w := &watcher{reader: NewReader(dir), untilEnd: true, width: 80}
	if v := w.View(); !strings.Contains(v.Content, "reading") {
		t.Error(v.Content)
	}
	d, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	d.State.Blocks["stage.one"] = &state.Block{Status: state.Running, Steps: 20}
	if err := d.Save(); err != nil {
		t.Fatal(err)
	}
	writeSteps(t, dir, "stage.one", steps(10))
	w.Update(tea.WindowSizeMsg{Width: 60})
	_, next := w.Update(w.read())
	v := w.View().Content
	for _, want := range []string{"running", "[==========          ] 10/20  loss 4.", "loss of stage.one", "16 tokens/s", "to go", "skipped steps: 1", "q leaves"} {
		if !strings.Contains(v, want) {
			t.Errorf("no %q in\n%s", want, v)
		}
	}
	if next == nil {
		t.Error("it does not look again")
	}
	quits := func(cmd tea.Cmd) bool {
		if cmd == nil {
			return false
		}
		_, ok := cmd().(tea.QuitMsg)
		return ok
	}
	if _, cmd := w.Update(tea.KeyPressMsg{Code: 'q', Text: "q"}); !quits(cmd) {
		t.Error("q does not leave")
	}
	if _, cmd := w.Update(tea.KeyPressMsg{Code: 'x', Text: "x"}); quits(cmd) {
		t.Error("x leaves")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, cmd := w.Update(w.read()); !quits(cmd) {
		t.Error("the run has ended, the dashboard has not")
	}
}
