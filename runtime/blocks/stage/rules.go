package stage

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/runtime/train"
)

// measures are the values that an evaluation on documents gives and that may decide something. All are better when lower.
var measures = []string{"loss", "perplexity", "bits_per_byte"}

// soundRules checks what the values of evaluations decide. Of values that begin as open says, only the plan knows.
func soundRules(t *dsl.Decoded, values, open []string) hcl.Diagnostics {
	diags := knownValue(t, "keep_best", values, open)
	stop := t.Block("stop_when")
	if stop == nil {
		return diags
	}
	if !stop.Has("patience") && !stop.Has("threshold") {
		diags = append(diags, stop.Error("patience", "Never ends", "stop_when takes patience, threshold, or both."))
	}
	return append(diags, knownValue(stop, "value", values, open)...)
}

// knownValue checks that an attribute names a value that an evaluation gives.
func knownValue(d *dsl.Decoded, attr string, values, open []string) hcl.Diagnostics {
	v := d.Str(attr)
	begins := func(name string) bool { return strings.HasPrefix(v, name) }
	switch {
	case !d.Known(attr) || slices.Contains(values, v) || slices.ContainsFunc(open, begins):
		return nil
	case len(values)+len(open) == 0:
		return hcl.Diagnostics{d.Error(attr, "Nothing evaluated", fmt.Sprintf("%s needs an evaluation between steps: add a "+
			"block such as evaluate \"validation\" to train.", attr))}
	}
	for _, name := range open {
		values = append(values, fmt.Sprintf("those of the tasks of evaluate %q", strings.TrimSuffix(name, ".")))
	}
	return unknownValue(d, attr, "no evaluation of this train block gives", values)
}

// unknownValue is the error of an attribute that names a value that nothing gives, where there are others.
func unknownValue(d *dsl.Decoded, attr, none string, values []string) hcl.Diagnostics {
	text := fmt.Sprintf("%s is not a value that an evaluation of this train block gives.", attr)
	if v := d.Str(attr); !d.Sensitive[attr] {
		text = fmt.Sprintf("%s is %q, which %s.%s There are %s.", attr, v, none, dsl.Suggest(v, values), strings.Join(values, ", "))
	}
	return hcl.Diagnostics{d.Error(attr, "Unknown value", text)}
}

// readRules reads what the values of evaluations decide.
func (s *Stage) readRules(t *dsl.Decoded) {
	if v := t.Str("keep_best"); v != "" {
		s.Best = valueOf(v)
	}
	if d := t.Block("stop_when"); d != nil {
		s.Ending = &train.Ending{Value: *valueOf(d.Str("value")), Patience: d.Int("patience"), MinDelta: d.Float("min_delta")}
		if d.Has("threshold") {
			x := d.Float("threshold")
			s.Ending.Threshold = &x
		}
	}
}

// valueOf reads NAME.VALUE.
func valueOf(text string) *train.Value {
	name, value, _ := strings.Cut(text, ".")
	return &train.Value{Evaluation: name, Name: value}
}

// decides reports whether values of evaluations decide what the stage's result is.
func (s *Stage) decides() bool { return s.Ending != nil || s.Best != nil }

// decided are the rules by which values of evaluations decide what the stage's result is, each with what identifies its
// evaluation. They are part of the stage's pace.
type decided struct {
	Ending   *train.Ending `json:"stop_when,omitempty"`
	EndingOf string        `json:"stop_when_of,omitempty"`
	Best     *train.Value  `json:"keep_best,omitempty"`
	BestOf   string        `json:"keep_best_of,omitempty"`
}

// rules returns what evaluations decide. The names of evaluations are not part of it.
func (s *Stage) rules() (r decided) {
	describe := func(v train.Value) (train.Value, string) {
		e := s.evaluation(v.Evaluation)
		if e.Tasks != nil {
			return train.Value{Name: v.Name, Higher: v.Higher}, fmt.Sprintf("task %s every %d %v", e.Tasks.Of(e.taskOf(v)),
				e.EverySteps, e.EveryTokens)
		}
		return train.Value{Name: v.Name}, fmt.Sprintf("%s split %d every %d %v, %d", s.world.ID(e.Data.Addr),
			int(e.Windows.Split), e.EverySteps, e.EveryTokens, e.Windows.Limit)
	}
	if s.Ending != nil {
		x := *s.Ending
		x.Value, r.EndingOf = describe(x.Value)
		r.Ending = &x
	}
	if s.Best != nil {
		x, of := describe(*s.Best)
		r.Best, r.BestOf = &x, of
	}
	return r
}

// identifyRules writes what evaluations decide. An evaluation that decides nothing is not part of the stage's
// identity.
func (s *Stage) identifyRules(w io.Writer) {
	r := s.rules()
	if x := r.Ending; x != nil {
		fmt.Fprintf(w, "stop_when %s %d %v", x.Value.Name, x.Patience, x.MinDelta)
		if x.Threshold != nil {
			fmt.Fprintf(w, " %v", *x.Threshold)
		}
		fmt.Fprintf(w, " of %s\n", r.EndingOf)
	}
	if r.Best != nil {
		fmt.Fprintf(w, "keep_best %s of %s\n", r.Best.Name, r.BestOf)
	}
}

// follows reports whether a run by other rules, up to a step of it, is what this one is as far as rules go: it has what
// these rules need, and was not to go on at a step at which this one ends.
func (s *Stage) follows(was decided, wasSteps, step int) bool {
	if !s.decides() {
		return true
	}
	// An evaluation after a last step that is not a regular one would count here, and not in a longer run.
	if step == wasSteps && step != s.Steps {
		for _, e := range s.Evaluations {
			if !s.regular(e, step) {
				return false
			}
		}
	}
	is := s.rules()
	if is.Best != nil && (was.Best == nil || *was.Best != *is.Best || was.BestOf != is.BestOf) {
		return false
	}
	a, b := is.Ending, was.Ending
	if a == nil {
		return true
	}
	same := func(x, y *float64) bool { return x == nil && y == nil || x != nil && y != nil && *x == *y }
	return b != nil && is.EndingOf == was.EndingOf && a.Value == b.Value && a.MinDelta == b.MinDelta &&
		same(a.Threshold, b.Threshold) &&
		(a.Patience == b.Patience || a.Patience == 0 || b.Patience > 0 && a.Patience > b.Patience)
}
