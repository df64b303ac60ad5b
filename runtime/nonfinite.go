package runtime

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/metrics"
	"stepflow/runtime/state"
)

// Values of a block that say what is wrong with the others.
const (
	valueNotFinite = "not_finite" // name → the word for a number that JSON has none for; the value itself is null
	valueDiagnosis = "diagnosis"  // a sentence: where that comes from
)

// writable replaces the numbers that JSON has no word for by null, with the word beside them.
func writable(values map[string]any) map[string]any {
	words := map[string]any{}
	for name, v := range values {
		if x, ok := v.(float64); ok && !metrics.Finite(x) {
			words[name], values[name] = metrics.Word(x), nil
		}
	}
	if len(words) > 0 {
		values[valueNotFinite] = words
	}
	return values
}

// notDefined says why a measure is null where the loss is a number: what it is counted by is not there.
var notDefined = map[string]string{
	"word_perplexity": "the text that was measured has no words",
	"bits_per_byte":   "the tokens that were measured spell no bytes",
}

// diagnosisOf is what a block's values say is wrong with them; "" for nothing.
func diagnosisOf(values map[string]any) string {
	s, _ := values[valueDiagnosis].(string)
	return s
}

// nullOf says why values of a block are null; "" where none is.
func nullOf(values map[string]any) string {
	if s := diagnosisOf(values); s != "" {
		return s
	}
	var names []string
	words, _ := values[valueNotFinite].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch word, ok := words[name]; {
		case ok:
			names = append(names, fmt.Sprintf("%s is %v", name, word))
		case values[name] == nil:
			why := "is not known"
			if s := notDefined[name]; s != "" {
				why = "is not defined: " + s
			}
			names = append(names, name+" "+why)
		}
	}
	return strings.Join(names, ", ")
}

// FlawedError ends a run whose blocks have all run and are recorded, where evaluations gave NaN or infinity or outputs have no value.
// Outputs that have one are recorded too.
type FlawedError struct {
	Blocks  []string        // what is wrong with the results of evaluations, in this run or an earlier one
	Outputs hcl.Diagnostics // why outputs have no value
}

func (e *FlawedError) Error() string {
	text := slices.Clone(e.Blocks)
	for _, d := range e.Outputs {
		text = append(text, d.Error())
	}
	return strings.Join(text, "\n")
}

// flawed is the error of a run that came to its end; nil if nothing is wrong with it.
func (r *runner) flawed(outputs hcl.Diagnostics) error {
	e := &FlawedError{Outputs: outputs}
	for _, a := range r.plan.Actions {
		if b := r.dir.State.Blocks[a.Addr.String()]; a.Evaluate != nil && b != nil && b.Status == state.Done {
			if s := diagnosisOf(b.Values); s != "" {
				e.Blocks = append(e.Blocks, fmt.Sprintf("%s: %s", a.Addr, s))
			}
		}
	}
	if len(e.Blocks) == 0 && len(outputs) == 0 {
		return nil
	}
	return e
}

// ofNothing adds to errors which blocks gave null to the expression that failed; it reports whether all of them are about that. The
// expressions are those of block b, or of the local named where b is nil.
func (p *planner) ofNothing(b *dsl.Block, local string, diags hcl.Diagnostics) bool {
	all := false
	real := false
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		gave := p.gaveNull(p.scope.NullReads(d, b, local))
		if len(gave) == 0 {
			real = true
			continue
		}
		all = true
		if told := " " + strings.Join(gave, " "); !strings.HasSuffix(d.Detail, told) { // a local keeps its errors
			d.Detail += told
		}
	}
	return all && !real
}

// gaveNull says of the blocks whose results are null where they are read that they are, and why, in sentences.
func (p *planner) gaveNull(reads []dsl.NullRead) (gave []string) {
	for _, a := range p.done {
		if a.found != nil && slices.ContainsFunc(reads, func(r dsl.NullRead) bool { return a.givesNull(r) }) {
			gave = append(gave, fmt.Sprintf("%s gave null instead of a number: %s.", a.Addr, nullOf(a.found.Values)))
		}
	}
	slices.Sort(gave)
	return gave
}

// givesNull reports whether what is read of a block is, in the result of this instance of it, null.
func (a *Action) givesNull(r dsl.NullRead) bool {
	if r.Block != a.Addr.Block() {
		return false
	}
	path := r.Path
	if a.Addr.Key != "" && len(path) > 0 { // the key of an instance comes first
		if i, ok := path[0].(hcl.TraverseIndex); ok && a.Addr.Key != keyOf(i.Key) {
			return false
		}
		path = path[1:]
	}
	name := ""
	if len(path) > 0 {
		switch x := path[0].(type) {
		case hcl.TraverseAttr:
			name = x.Name
		case hcl.TraverseIndex:
			if x.Key.Type() == cty.String {
				name = x.Key.AsString()
			}
		}
	}
	for n, v := range a.found.Values {
		if v == nil && (name == "" || name == n) {
			return true
		}
	}
	return false
}

// keyOf is the key of an instance as an address has it, from what an expression names it by.
func keyOf(v cty.Value) string {
	if v, _ = v.Unmark(); v.Type() == cty.String {
		return addr.StringKey(v.AsString())
	}
	return dsl.Show(v)
}
