package runtime_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/gpu/cpu"
	"stepflow/runtime/plan"
)

// TestRanksAreInNoRecipe: a plan for several ranks has the recipes of one, however the micro-batch is given, and says how many
// ranks can share a batch.
func TestRanksAreInNoRecipe(t *testing.T) {
	dir := pipeline(t)
	text := strings.NewReplacer("variable \"micro\" { default = 2 }\n", "",
		"batch_size       = 4\n", "batch_size       = 4\n    parallel { shard = \"gradients\" }\n").Replace(tiny)
	planned := func(ranks int, micro string) (*plan.Plan, error) {
		t.Helper()
		text := strings.ReplaceAll(text, "micro_batch_size = var.micro", micro)
		if strings.HasSuffix(micro, "# fused") {
			text = strings.NewReplacer(`default = "separate"`, `default = "fused"`, `shard = "gradients"`, `shard = "none"`).Replace(text)
		}
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
		p, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: cpu.PlanCaps(""), Ranks: ranks, Rank: ranks - 1})
		if diags.HasErrors() {
			return nil, diags
		}
		return p, nil
	}
	for _, micro := range []string{"", `micro_batch_size = "auto"`, "micro_batch_size = 1"} {
		one, err := planned(1, micro)
		must(t, err)
		for _, ranks := range []int{2, 4} {
			p, err := planned(ranks, micro)
			must(t, err)
			for i, a := range one.Actions {
				if b := p.Actions[i]; b.Recipe != a.Recipe {
					t.Errorf("%q, %d ranks: %s has another recipe", micro, ranks, a.Addr)
				}
			}
			s := stageOf(p.Action(one.Actions[actionOf(t, one, "stage.one")].Addr))
			if s.OwnSteps()*ranks != s.MicroSteps() || !strings.HasSuffix(micro, "1") && s.OwnSteps() != 1 {
				t.Errorf("%q, %d ranks: each has %d of %d micro-batches", micro, ranks, s.OwnSteps(), s.MicroSteps())
			}
		}
	}
	for _, c := range []struct {
		ranks int
		micro string
		want  string
	}{
		{3, "", "batch_size 4 cannot be shared out equally to 3 ranks. Start 1, 2 or 4 ranks, or set batch_size = 6."},
		{4, "micro_batch_size = 2", "A step has 2 micro-batches (batch_size 4, micro_batch_size 2), which 4 ranks cannot share equally. Start 1 or 2 ranks, or " +
			"set micro_batch_size = 1."},
		{2, "micro_batch_size = 4 # fused", "A step has 1 micro-batch (batch_size 4, micro_batch_size 4), which 2 ranks cannot share " +
			"equally. Start 1 rank, or leave micro_batch_size out."},
	} {
		if _, err := planned(c.ranks, c.micro); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d ranks: %v, without %q", c.ranks, err, c.want)
		}
	}
}

// actionOf finds an action by its address.
func actionOf(t *testing.T, p *plan.Plan, name string) int {
	t.Helper()
	for i, a := range p.Actions {
		if fmt.Sprint(a.Addr) == name {
			return i
		}
	}
	t.Fatal("there is no", name)
	return 0
}
