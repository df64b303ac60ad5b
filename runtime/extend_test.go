package runtime_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// longer makes a folder with the tiny pipeline, whose stages have a length of their own each: the first a wsd schedule
// that stops on the way, the second, after growth and with adapters, a constant one.
func longer(t *testing.T) string {
	t.Helper()
	dir := pipeline(t)
	text := tiny
	for _, c := range [][2]string{
		{`schedule "wsd" { warmup_ratio = 0.3 }`, "stop_at = var.stop\n schedule \"wsd\" { warmup_ratio = 0.3 }"},
		{"checkpoint { every_steps = 3 }", "checkpoint {\n every_steps = 3\n keep = var.keep\n }"},
		{"variable \"lr\"", "variable \"stop\" { default = 0.3 }\nvariable \"second\" { default = 4 }\nvariable \"lr\""},
	} {
		if !strings.Contains(text, c[0]) {
			t.Fatalf("the tiny pipeline has no %s", c[0])
		}
		text = strings.Replace(text, c[0], c[1], 1)
	}
	at := strings.LastIndex(text, "= var.steps")
	text = text[:at] + "= var.second" + text[at+len("= var.steps"):]
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o666))
	return dir
}

// TestExtendingGivesTheSameBits: a stage that goes on from the end of a shorter one, or from a checkpoint before its
// adapters were merged, ends with the bits of a longer one, and so does all that is made from it; also where the
// extension is interrupted.
func TestExtendingGivesTheSameBits(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, c := range []struct {
		stage, from string // the stage that is extended, and from which step
		vars        []string
		longer      []string
	}{
		{"one", "5 steps from step 3: ", nil, []string{"stop=0.8"}},
		{"two", "4 steps from step 3: ", []string{"keep=2"}, []string{"second=7"}},
		{"two", "4 steps from step 3: ", []string{"keep=2", "adapter=lora"}, []string{"second=7"}},
	} {
		for _, precision := range []string{"fp32", "bf16"} {
			before := append([]string{"steps=10", "precision=" + precision}, c.vars...)
			after := append(before, c.longer...)
			whole := longer(t)
			must(t, applyOn(t, d, planOf(t, whole, after...)))
			want := contents(t, whole)
			for _, stop := range []bool{false, true} {
				dir := longer(t)
				must(t, applyOn(t, d, planOf(t, dir, before...)))
				p := planOf(t, dir, after...)
				a := find(p, "stage."+c.stage)
				if a.Verb != plan.Extend || !strings.HasPrefix(a.Why, c.from) {
					t.Fatalf("%v: %s is to %s: %s %v", after, a.Addr, a.Verb, a.Why, a.Warnings)
				}
				if stop {
					stopAt(t, d, dir, c.stage, a.FromStep+2, after...)
					p = planOf(t, dir, after...)
					if a := find(p, "stage."+c.stage); a.Verb != plan.Resume {
						t.Errorf("%v: after an interrupt %s is to %s: %s", after, a.Addr, a.Verb, a.Why)
					}
				}
				must(t, applyOn(t, d, p))
				sameContents(t, fmt.Sprint(after, stop), contents(t, dir), want)
			}
		}
	}
}

// TestKilledBeforeItExtends: a process that is killed after it made the folder of a stage that it extends, or before
// that folder was in its place, loses nothing, and the next run goes on from the same step.
func TestKilledBeforeItExtends(t *testing.T) {
	d, vars := cpuDevice(t, 2), []string{"steps=10", "stop=0.6"}
	whole := longer(t)
	must(t, applyOn(t, d, planOf(t, whole, vars...)))
	for _, inPlace := range []bool{true, false} {
		dir := longer(t)
		must(t, applyOn(t, d, planOf(t, dir, "steps=10")))
		a := find(planOf(t, dir, vars...), "stage.one")
		disk := results.NewDisk(filepath.Join(dir, ".stepflow"))
		must(t, disk.Branch(a.Base, a.Addr, a.Recipe))
		if !inPlace {
			own := filepath.Join(disk.Path, results.Folder(a.Addr))
			must(t, os.Rename(own, durable.Beside(own)))
		}
		p := planOf(t, dir, vars...)
		if b := find(p, "stage.one"); b.Verb != plan.Extend || b.Why != a.Why || len(b.Losses) > 0 {
			t.Errorf("in place %t: %s is to %s: %s, and loses %v", inPlace, b.Addr, b.Verb, b.Why, b.Losses)
		}
		if b := find(planOf(t, dir, "steps=10"), "stage.one"); b.Verb != plan.UpToDate {
			t.Errorf("in place %t: the shorter stage is to %s: %s", inPlace, b.Verb, b.Why)
		}
		must(t, applyOn(t, d, p))
		sameContents(t, fmt.Sprint("in place ", inPlace), contents(t, dir), contents(t, whole))
		if left, _ := filepath.Glob(filepath.Join(disk.Path, "*", "*stage.one*")); len(left) != 1 {
			t.Errorf("in place %t: left are %v", inPlace, left)
		}
	}
}

// TestResultsWithoutACourse: what was trained before stepflow recorded schedules is trained anew, and the plan says
// why.
func TestResultsWithoutACourse(t *testing.T) {
	d, dir := cpuDevice(t, 2), longer(t)
	must(t, applyOn(t, d, planOf(t, dir, "steps=10")))
	st, err := state.Open(filepath.Join(dir, ".stepflow"))
	must(t, err)
	entry := st.State.Blocks["stage.one"]
	entry.Course = nil
	must(t, st.Save())
	must(t, st.Close())
	result := filepath.Join(st.Path, entry.Dir)
	var note map[string]any
	must(t, checkpoint.ReadNote(result, &note))
	if note["course"] == nil {
		t.Fatal("the note has no course")
	}
	delete(note, "course")
	files, err := os.ReadDir(result)
	must(t, err)
	var parts []checkpoint.Part
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(result, f.Name()))
		must(t, err)
		if f.Name() == checkpoint.NoteName {
			text, err = json.Marshal(note)
			must(t, err)
		}
		if f.Name() != checkpoint.ManifestName {
			parts = append(parts, checkpoint.Bytes(f.Name(), text))
		}
	}
	_, err = checkpoint.Write(result, parts)
	must(t, err)
	if a := find(planOf(t, dir, "steps=10"), "stage.one"); a.Verb != plan.UpToDate {
		t.Errorf("without a course it is to %s: %s", a.Verb, a.Why)
	}
	a := find(planOf(t, dir, "steps=10", "stop=0.6"), "stage.one")
	if a.Verb != plan.Run || len(a.Losses) != 1 || !strings.Contains(strings.Join(a.Warnings, "\n"), "older stepflow") {
		t.Errorf("it is to %s, loses %v and warns %v", a.Verb, a.Losses, a.Warnings)
	}
}

// TestExtendingWhatIsDamaged: what is damaged or gone is not gone on from, and the plan says so.
func TestExtendingWhatIsDamaged(t *testing.T) {
	d, dir := cpuDevice(t, 2), longer(t)
	must(t, applyOn(t, d, planOf(t, dir, "steps=10")))
	result := checkpoint.StepDir(filepath.Join(dir, ".stepflow", "blocks", "stage.one"), 3)
	check := func(why string) {
		t.Helper()
		a := find(planOf(t, dir, "steps=10", "stop=0.6"), "stage.one")
		if a.Verb != plan.Run || len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], why) {
			t.Errorf("it is to %s, and warns %q", a.Verb, a.Warnings)
		}
	}
	flip(t, filepath.Join(result, checkpoint.OptimizerFile))
	check("it cannot go on from step 3: ")
	must(t, os.RemoveAll(result))
	check("it cannot go on from the end of its 3 steps: " + result + " is gone")
}
