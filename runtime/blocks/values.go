package blocks

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"stepflow/runtime/metrics"
)

// Values of a block that say what is wrong with the others.
const (
	NotFinite = "not_finite" // name → the word for a number that JSON has none for; the value itself is null
	Flaw      = "diagnosis"  // a sentence: where that comes from
)

// WritesTo is the value, in the state's entry of a block that has not ended, of the user's folder that it writes to.
const WritesTo = "folder"

// Writable replaces the numbers that JSON has no word for by null, with the word beside them.
func Writable(values map[string]any) map[string]any {
	words := map[string]any{}
	for name, v := range values {
		if x, ok := v.(float64); ok && metrics.Word(x) != "" {
			words[name], values[name] = metrics.Word(x), nil
		}
	}
	if len(words) > 0 {
		values[NotFinite] = words
	}
	return values
}

// NotDefined says why a measure is null where the loss is a number: what it is counted by is not there.
var NotDefined = map[string]string{
	"word_perplexity": "the text that was measured has no words",
	"bits_per_byte":   "the tokens that were measured spell no bytes",
}

// Diagnosis is what a block's values say is wrong with them; "" for nothing.
func Diagnosis(values map[string]any) string {
	s, _ := values[Flaw].(string)
	return s
}

// WhyNull says why values of a block are null; "" where none is.
func WhyNull(values map[string]any) string {
	if s := Diagnosis(values); s != "" {
		return s
	}
	var names []string
	words, _ := values[NotFinite].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch word, ok := words[name]; {
		case ok:
			names = append(names, fmt.Sprintf("%s is %v", name, word))
		case values[name] == nil:
			why := "is not known"
			if s := NotDefined[name]; s != "" {
				why = "is not defined: " + s
			}
			names = append(names, name+" "+why)
		}
	}
	return strings.Join(names, ", ")
}
