package memoryplan

import (
	"strings"
	"testing"

	"stepflow/gpu/cpu"
)

// TestImpossible: a way to make a stage is refused with its reason if no stage of the model can have it.
func TestImpossible(t *testing.T) {
	inherited := []string{"inherited"}
	everything := []string{"inherited", "embeddings", "lm_head", "norm"}
	for _, c := range []struct {
		option option
		change func(*search)
		want   string // "" for a way that is possible
	}{
		{option{inherited, "nf4", true}, func(*search) {}, ""},
		{option{everything, "", false}, func(*search) {}, ""},
		{option{everything, "", false}, func(q *search) { q.spec = nil }, ""}, // new layers train
		{option{inherited, "", false}, func(q *search) { q.spec.Method = "relora" }, ""},
		{option{inherited, "bf16", false}, func(q *search) { q.spec.Method = "relora" }, ""}, // as precision is
		{option{inherited, "nf4", false}, func(q *search) { q.spec.Method = "relora" }, "smaller than nf4 can hold"},
		{option{[]string{"inherited", "lm_head"}, "", false}, func(q *search) { q.model.TieWordEmbeddings = true }, "would freeze nothing"},
		{option{[]string{}, "nf4", false}, func(q *search) { q.spec = nil }, "no projection would be frozen that nf4 could store"},
		{option{[]string{}, "", false}, func(*search) {}, "no projection would be frozen that an adapter could sit on"},
		{option{inherited, "nf4", false}, func(q *search) { q.spec = nil }, ""},
	} {
		q := searchOf(cpu.PlanCaps(""), 6, c.option)
		c.change(q)
		switch err := q.impossible(c.option); {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", c.option, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%+v: %v, not %q", c.option, err, c.want)
		}
	}
}
