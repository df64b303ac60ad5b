package train

import (
	"fmt"
	"strings"

	"stepflow/runtime/metrics"
	"stepflow/runtime/trainstate"
	"stepflow/runtime/words"
)

// Value is a number that an evaluation gives.
type Value struct {
	Evaluation string `json:"evaluation,omitempty"` // its name
	Name       string `json:"name"`
	Higher     bool   `json:"higher_is_better,omitempty"` // else lower is better
}

func (v Value) String() string { return v.Evaluation + "." + v.Name }

// Best says what the best value is.
func (v Value) Best() string {
	if v.Higher {
		return "highest"
	}
	return "lowest"
}

// improves reports whether a value is better than another, by more than delta.
func (v Value) improves(x, than, delta float64) bool {
	if v.Higher {
		return x > than+delta
	}
	return x < than-delta
}

// reaches reports whether a value is as good as another.
func (v Value) reaches(x, limit float64) bool {
	if v.Higher {
		return x >= limit
	}
	return x <= limit
}

// limit says that a value is as good as another.
func (v Value) limit(x float64) string {
	if v.Higher {
		return fmt.Sprintf("%s is %g or more", v, x)
	}
	return fmt.Sprintf("%s is %g or less", v, x)
}

// of returns the value of an evaluation; ok is false for one of another name.
func (v *Value) of(x *metrics.Evaluation) (value float64, ok bool) {
	return x.Values[v.Name], v.Evaluation == x.Name
}

// take notes an evaluation whose value is the best so far. Of a nil v it does nothing.
func (v *Value) take(s *trainstate.State, x *metrics.Evaluation) {
	if v == nil {
		return
	}
	value, ok := v.of(x)
	if s.Best == nil {
		s.Best = &trainstate.Best{}
	}
	b := s.Best
	if !ok || x.Step <= b.Seen {
		return
	}
	if b.Seen = x.Step; metrics.Finite(value) && (b.Step == 0 || v.improves(value, b.Value, 0)) {
		b.Step, b.Value = x.Step, value
	}
}

// Ending is when a stage ends before its last step, by a value of an evaluation.
type Ending struct {
	Value     Value    `json:"value"`
	Patience  int      `json:"patience,omitempty"` // evaluations in a row without an improvement; 0 for any number
	MinDelta  float64  `json:"min_delta,omitempty"`
	Threshold *float64 `json:"threshold,omitempty"` // a value that ends it at once
}

// take notes an evaluation. Of a nil e it does nothing. The improvements are those of Keras and Lightning: beyond
// MinDelta, from the last that was one.
func (e *Ending) take(s *trainstate.State, x *metrics.Evaluation) {
	if e == nil {
		return
	}
	value, ok := e.Value.of(x)
	if s.Ending == nil {
		s.Ending = &trainstate.Ending{}
	}
	n := s.Ending
	if !ok || x.Step <= n.Seen {
		return
	}
	n.Seen = x.Step
	n.Reached = e.Threshold != nil && e.Value.reaches(value, *e.Threshold)
	if metrics.Finite(value) && (n.Step == 0 || e.Value.improves(value, n.Value, e.MinDelta)) {
		n.Step, n.Value, n.Waited = x.Step, value, 0
		return
	}
	n.Waited++
}

// ended reports whether a stage in a state has ended.
func (e *Ending) ended(s *trainstate.State) bool {
	return e != nil && s.Ending != nil && (e.Threshold != nil && s.Ending.Reached || e.Patience > 0 && s.Ending.Waited >= e.Patience)
}

// String says when a stage ends.
func (e *Ending) String() string {
	var ways []string
	if e.Threshold != nil {
		ways = append(ways, e.Value.limit(*e.Threshold))
	}
	if e.Patience > 0 {
		ways = append(ways, fmt.Sprintf("%s does not improve%s in %s", e.Value, e.more(), words.Plural(e.Patience, "evaluation")))
	}
	return strings.Join(ways, ", or ")
}

// more says how much better a value has to be.
func (e *Ending) more() string {
	if e.MinDelta == 0 {
		return ""
	}
	return fmt.Sprintf(" by more than %g", e.MinDelta)
}

// why says why a stage has ended, in a state in which it has.
func (e *Ending) why(s *trainstate.State) string {
	n := s.Ending
	switch {
	case e.Threshold != nil && n.Reached:
		return e.Value.limit(*e.Threshold)
	case n.Step == 0:
		return fmt.Sprintf("%s was not finite in %s", e.Value, words.Plural(n.Waited, "evaluation"))
	}
	return fmt.Sprintf("%s did not improve%s in %s after step %d, where it was %.4f", e.Value, e.more(),
		words.Plural(n.Waited, "evaluation"), n.Step, n.Value)
}
