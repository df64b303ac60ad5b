package runtime_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/runtime/plan"
)

// longer makes a folder with the tiny pipeline, whose stages have a length of their own each: a wsd schedule that stops on
// the way in the first, and a constant one, after growth and with adapters, in the second.
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
// adapters were merged, ends with the bits of a longer one, and so does all that is made from it; also where the extension
// is interrupted.
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
