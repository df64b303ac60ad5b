package runtime_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/runtime/plan"
	"stepflow/runtime/state"
)

// moved writes moved blocks beside the pipeline of a folder; pairs are from and to.
func moved(t *testing.T, dir string, pairs ...string) {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString("moved {\n  from = " + pairs[i] + "\n  to   = " + pairs[i+1] + "\n}\n")
	}
	must(t, os.WriteFile(filepath.Join(dir, "moved.hcl"), []byte(b.String()), 0o644))
}

// TestMovedStageGoesOn renames a stage that was interrupted: it goes on from its checkpoint, to the same end, with its
// history; also where a process was killed after it had moved the files.
func TestMovedStageGoesOn(t *testing.T) {
	d := cpuDevice(t, 2)
	whole := pipeline(t)
	must(t, applyOn(t, d, planOf(t, whole)))
	want := contents(t, whole)
	want["stage.uno"] = want["stage.one"]
	delete(want, "stage.one")
	for _, killed := range []bool{false, true} {
		dir := pipeline(t)
		stopAt(t, d, dir, "one", 4)
		edit(t, dir, `stage "one"`, `stage "uno"`, "stage.one", "stage.uno")
		moved(t, dir, "stage.one", "stage.uno")
		blocks := filepath.Join(dir, ".stepflow", "blocks")
		if killed {
			must(t, os.Rename(filepath.Join(blocks, "stage.one"), filepath.Join(blocks, "stage.uno")))
		}
		p := planOf(t, dir)
		a := find(p, "stage.uno")
		if a.Verb != plan.Resume || a.FromStep != 4 || len(p.Moves) != 1 || len(p.Losses())+len(p.Orphans) > 0 {
			t.Errorf("killed %v: %s from step %d, moves %v, loses %v, leaves %v", killed, a.Verb, a.FromStep, p.Moves,
				p.Losses(), p.Orphans)
		}
		if n := applySteps(t, d, dir); n != 8 {
			t.Errorf("killed %v: %d steps were trained, want the 2 that were left, and the 6 of stage.two", killed, n)
		}
		sameContents(t, "moved", contents(t, dir), want)
		if planOf(t, dir).Changes() {
			t.Errorf("killed %v: not settled", killed)
		}
	}
}

// TestMovedBlockTakesItsOwn renames one of two blocks with one recipe: it takes its own folder, and nothing is left
// over.
func TestMovedBlockTakesItsOwn(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	b, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	text := string(b)
	i, j := strings.Index(text, `stage "one"`), strings.Index(text, `stage "two"`)
	text = text[:i] + strings.Replace(text[i:j], `"one"`, `"zero"`, 1) + text[i:]
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
	must(t, applyOn(t, d, planOf(t, dir)))
	edit(t, dir, `stage "zero"`, `stage "last"`)
	if p := planOf(t, dir); len(p.Orphans) != 1 || p.Orphans[0].Addr != "stage.zero" || p.Orphans[0].Fate != plan.Keep {
		t.Errorf("without a moved block %v is left over, want stage.zero", p.Orphans)
	}
	moved(t, dir, "stage.zero", "stage.last")
	p := planOf(t, dir)
	if a := find(p, "stage.last"); a.Verb != plan.UpToDate || a.Moved != "stage.zero" || len(p.Orphans) > 0 {
		t.Errorf("stage.last: %s, taken from %q; left over: %v", a.Verb, a.Moved, p.Orphans)
	}
	nothingRuns(t, "moved", d, dir, map[string]string{"stage.last": "stage.zero"})
}

// TestMovesGoOn applies a pipeline whose stage was renamed twice to states of each age.
func TestMovesGoOn(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, age := range []string{"one", "uno", "tre"} {
		dir := pipeline(t)
		names := func(from, to string) {
			edit(t, dir, `stage "`+from+`"`, `stage "`+to+`"`, "stage."+from, "stage."+to)
		}
		if age != "one" {
			names("one", age)
		}
		must(t, applyOn(t, d, planOf(t, dir)))
		if age != "tre" {
			names(age, "tre")
		}
		edit(t, dir, `variable "lr" { default = 1e-2 }`, `variable "lr" { default = 2e-2 }`) // not found by its recipe
		moved(t, dir, "stage.uno", "stage.tre", "stage.one", "stage.uno")
		p := planOf(t, dir)
		want := 1
		if age == "tre" {
			want = 0
		}
		l := p.Losses()
		if len(p.Moves) != want || len(p.Orphans) > 0 || len(l) != 2 || l[0].Block != "stage.tre" || l[0].Steps != 6 {
			t.Errorf("from %s: moves %v, loses %v, leaves %v", age, p.Moves, l, p.Orphans)
		}
		must(t, applyOn(t, d, p))
		st, err := state.Read(filepath.Join(dir, ".stepflow"))
		must(t, err)
		if names := strings.Join(st.State.Names(), " "); !strings.Contains(names, "stage.tre stage.two") ||
			strings.Contains(names, "stage.one") || strings.Contains(names, "stage.uno") {
			t.Errorf("from %s: the state has %s", age, names)
		}
	}
}
