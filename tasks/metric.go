package tasks

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"stepflow/fineweb"
	"stepflow/foreign/pyre"
)

// Metric is a number that is made of the answers of a model.
type Metric struct {
	Name           string
	Aggregation    string // how one number is made of those of the documents
	HigherIsBetter bool
	match          matching

	aggregated, sided bool // the description says Aggregation and HigherIsBetter
}

// metricKind is what is known of a metric.
type metricKind struct {
	of          []Output
	aggregation string
	higher      bool
}

// metricKinds are those of the harness that stepflow has.
var metricKinds = map[string]metricKind{
	"acc":             {[]Output{MultipleChoice, Likelihood}, "mean", true},
	"acc_norm":        {[]Output{MultipleChoice}, "mean", true},
	"acc_bytes":       {[]Output{MultipleChoice}, "mean", true},
	"acc_mutual_info": {[]Output{MultipleChoice}, "mean", true},
	"exact_match":     {[]Output{Generate, MultipleChoice}, "mean", true},
	"brier_score":     {[]Output{MultipleChoice}, "brier_score", false},
	"perplexity":      {[]Output{Likelihood}, "perplexity", false},
	"word_perplexity": {[]Output{Rolling}, "weighted_perplexity", false},
	"byte_perplexity": {[]Output{Rolling}, "weighted_perplexity", false},
	"bits_per_byte":   {[]Output{Rolling}, "bits_per_byte", false},
}

var defaultMetrics = map[Output][]string{
	MultipleChoice: {"acc", "acc_norm"}, Likelihood: {"perplexity", "acc"},
	Rolling: {"word_perplexity", "byte_perplexity", "bits_per_byte"}, Generate: {"exact_match"},
}

// metrics reads metric_list.
func (t *Task) metrics(v any) error {
	l, ok := v.(fineweb.List)
	if !ok || len(l) == 0 {
		return errors.New("it is a list of metrics")
	}
	for _, x := range l {
		m, err := readMetric(x)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(t.Metrics, func(o Metric) bool { return o.Name == m.Name }) {
			return fmt.Errorf("%s stands twice", m.Name)
		}
		t.Metrics = append(t.Metrics, m)
	}
	return nil
}

func readMetric(x any) (m Metric, err error) {
	if s, ok := x.(string); ok {
		return Metric{Name: s}, nil
	}
	return m, each(x, map[string]func(any) error{
		"metric":             func(v any) error { return text(&m.Name, v) },
		"aggregation":        func(v any) error { m.aggregated = true; return text(&m.Aggregation, v) },
		"higher_is_better":   func(v any) error { m.sided = true; return truth(&m.HigherIsBetter, v) },
		"hf_evaluate":        func(v any) error { return oneOf(asText(v), "False") },
		"ignore_case":        func(v any) error { return truth(&m.match.anyCase, v) },
		"ignore_punctuation": func(v any) error { return truth(&m.match.noPunctuation, v) },
		"ignore_numbers":     func(v any) error { return truth(&m.match.noNumbers, v) },
		"regexes_to_ignore": func(v any) error {
			var list []string
			if err := texts(&list, v); err != nil {
				return err
			}
			for _, s := range list {
				p, err := pyre.Compile(s)
				if err != nil {
					return err
				}
				m.match.ignored = append(m.match.ignored, p)
			}
			return nil
		},
	})
}

// complete fills in what is usual for a metric, and checks that there is one.
func (m *Metric) complete(of Output) error {
	var names []string
	for name, k := range metricKinds {
		if slices.Contains(k.of, of) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if !slices.Contains(names, m.Name) {
		return fmt.Errorf("the metric %q is not supported for output_type %s; there are %s", m.Name, of, strings.Join(names, ", "))
	}
	k := metricKinds[m.Name]
	if !m.aggregated {
		m.Aggregation = k.aggregation
	}
	if !m.sided {
		m.HigherIsBetter = k.higher
	}
	if m.Aggregation != k.aggregation && !(k.aggregation == "mean" && m.Aggregation == "median") {
		return fmt.Errorf("the aggregation %q of %s is not supported; it is %s", m.Aggregation, m.Name, k.aggregation)
	}
	return nil
}

func (t *Task) has(metric string) bool {
	return slices.ContainsFunc(t.Metrics, func(m Metric) bool { return m.Name == metric })
}

// matching says when two texts are the same.
type matching struct {
	anyCase, noPunctuation, noNumbers bool
	ignored                           []*pyre.Pattern
}

const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

func (m *matching) same(a, b string) (bool, error) {
	a, err := m.plain(a)
	if err != nil {
		return false, err
	}
	b, err = m.plain(b)
	return a == b, err
}

// plain leaves out what does not count.
func (m *matching) plain(s string) (_ string, err error) {
	for _, p := range m.ignored {
		if s, err = p.Sub("", s, 0); err != nil {
			return "", err
		}
	}
	if m.anyCase {
		s = strings.ToLower(s)
	}
	without := ""
	if m.noPunctuation {
		without += punctuation
	}
	if m.noNumbers {
		without += "0123456789"
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(without, r) {
			return -1
		}
		return r
	}, s), nil
}
