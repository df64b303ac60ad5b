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
	NotFinite = "not_finite" // name → "NaN" or the like for a value that is null because JSON cannot hold it
	Flaw      = "diagnosis"  // a sentence on where that comes from
)

// Ended names the value that says why the result of a stage is not the model of its last step.
const Ended = "ended"

// WritesTo names the value that holds the user's folder that a block writes to, until the block has ended.
const WritesTo = "folder"

// SamplesFile lies beside the values of an evaluation on tasks, with a line about each document.
const SamplesFile = "samples.jsonl"

// StderrName names the standard error of a metric among the results of tasks. A filter comes last, as
// lm-evaluation-harness has it: exact_match_stderr,strict-match.
func StderrName(metric string) string { return metrics.StderrName(metric) }

// Writable replaces numbers that JSON cannot hold by null, and puts words for them under NotFinite.
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

// OfContamination are the values that say how much of what is measured was trained on, of an evaluation or of a task; and
// CleanScores, of a task, are the metrics on the documents of which nothing was.
var OfContamination = []string{"contamination", "contaminated_ngrams", "token_contamination", "unchecked_documents"}

const CleanScores = "clean"

// NotDefined says why a measure is null although the loss is a number.
var NotDefined = map[string]string{
	"word_perplexity": "the text that was measured has no words",
	"bits_per_byte":   "the tokens that were measured spell no bytes",
}

// Diagnosis returns what is wrong with a block's values; "" for nothing.
func Diagnosis(values map[string]any) string {
	s, _ := values[Flaw].(string)
	return s
}

// WhyNull returns why values of a block are null; "" if none is.
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
