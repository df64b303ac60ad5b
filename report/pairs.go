package report

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"stepflow/runtime/blocks"
)

// Pair is the difference of two models on the documents of a task, which both were asked in the same words: that of their
// means, with what the differences on each document say of its error. Most of what makes a document hard is hard for
// both, so the error is smaller than those of the two means suggest.
type Pair struct {
	From      Measured `json:"from"`
	To        Measured `json:"to"`
	Task      string   `json:"task"`
	Group     string   `json:"group,omitempty"`
	Metric    string   `json:"metric,omitempty"`
	Documents int      `json:"documents,omitempty"`
	// Difference is the number of To less that of From.
	Difference float64  `json:"difference"`
	Stderr     *float64 `json:"stderr,omitempty"`
	// Half is half the width of the interval that holds the true difference with a confidence of 95 %. There is none where
	// the difference is the same on every document.
	Half *float64 `json:"half,omitempty"`
	// Only counts the documents that one alone had right: From, and To. P is how likely counts so far apart are where both
	// models are as good: McNemar's exact test, from both sides.
	Only *[2]int  `json:"only,omitempty"`
	P    *float64 `json:"p,omitempty"`
	// Why there is no difference; "" if there is one.
	Why string `json:"why,omitempty"`
}

// Measured is a model that was evaluated.
type Measured struct {
	Run        string `json:"run,omitempty"` // where there are several
	Model      string `json:"model"`
	Evaluation string `json:"evaluation"`
}

// pairs compares what two evaluations made of a task: a pair for each metric that is a mean over documents, or one that
// says why there is none.
func pairs(from, to *Block, task string) (list []*Pair) {
	a, b := from.score(task), to.score(task)
	if a == nil || b == nil {
		return nil
	}
	pair := func() *Pair {
		return &Pair{From: Measured{Model: from.Model, Evaluation: from.Address},
			To: Measured{Model: to.Model, Evaluation: to.Address}, Task: task, Group: b.Group}
	}
	none := func(format string, args ...any) []*Pair {
		p := pair()
		p.Why = fmt.Sprintf(format, args...)
		return []*Pair{p}
	}
	x, why := from.measured(a)
	if why != "" {
		return none("%s: %s", from.Address, why)
	}
	y, why := to.measured(b)
	if why != "" {
		return none("%s: %s", to.Address, why)
	}
	if why := others(x, y); why != "" {
		return none("%s%s", why, differing(from, to))
	}
	for _, m := range b.Metrics {
		was := a.metric(m.Name)
		if was == nil || !isMean[unfiltered(m.Name)] {
			continue
		}
		before, after := x.column(m.Name), y.column(m.Name)
		switch {
		case before == nil || was.Value == nil || off(before, *was.Value):
			list = append(list, none("%s: %s is not the mean of its documents in %s", from.Address, m.Name, blocks.SamplesFile)...)
		case after == nil || m.Value == nil || off(after, *m.Value):
			list = append(list, none("%s: %s is not the mean of its documents in %s", to.Address, m.Name, blocks.SamplesFile)...)
		default:
			p := pair()
			p.Metric = m.Name
			p.compare(before, after)
			list = append(list, p)
		}
	}
	return list
}

// isMean has the metrics that are means over documents.
var isMean = map[string]bool{"acc": true, "acc_norm": true, "acc_bytes": true, "acc_mutual_info": true, "exact_match": true,
	"brier_score": true}

// off reports whether a value is not the mean of a list.
func off(list []float64, value float64) bool {
	const rounding = 1e-9
	return math.Abs(mean(list)-value) > rounding*max(1, math.Abs(value))
}

// measured returns the documents of a task, or of the tasks of a group, one task after another; why says why they are
// not known.
func (b *Block) measured(s *Score) (m *measured, why string) {
	switch x := b.samples; {
	case x == nil:
		return nil, blocks.SamplesFile + " is gone"
	case x.lost != "":
		return nil, fmt.Sprintf("of %s, %s", blocks.SamplesFile, x.lost)
	case x.tasks[s.Task] != nil:
		m = x.tasks[s.Task]
	default:
		m = &measured{values: map[string][]float64{}}
		for _, name := range slices.Sorted(maps.Keys(x.tasks)) {
			if isPart(&Score{Task: name}, s) {
				m.append(x.tasks[name])
			}
		}
		if len(m.documents) == 0 {
			return nil, fmt.Sprintf("%s is a group: its tasks are compared", s.Task)
		}
	}
	if float64(len(m.documents)) != s.Documents {
		return nil, fmt.Sprintf("%s has %d of its %.0f documents", blocks.SamplesFile, len(m.documents), s.Documents)
	}
	return m, ""
}

// append adds the documents of another task.
func (m *measured) append(o *measured) {
	for name, list := range o.values {
		all := m.values[name]
		for len(all) < len(m.documents) {
			all = append(all, math.NaN())
		}
		m.values[name] = append(all, list...)
	}
	m.documents = append(m.documents, o.documents...)
}

// others says why two lists of documents are not the same, in the same order; "" if they are.
func others(x, y *measured) string {
	a, b := x.documents, y.documents
	if len(a) != len(b) {
		return fmt.Sprintf("other documents: %d and %d", len(a), len(b))
	}
	differ, prompts := 0, 0
	for i := range a {
		switch {
		case a[i].id != b[i].id:
			differ++
		case a[i].prompt != b[i].prompt:
			prompts++
		}
	}
	switch {
	case differ > 0:
		return fmt.Sprintf("other documents: %d of %d differ", differ, len(a))
	case prompts > 0:
		return fmt.Sprintf("the same documents in other words: %d of %d prompts differ", prompts, len(a))
	}
	return ""
}

// differing lists the settings of evaluations that decide what is asked, where they differ.
func differing(a, b *Block) (text string) {
	for _, name := range []string{"num_fewshot", "fewshot_seed", "limit"} {
		if x, y := a.attr(name), b.attr(name); x != y {
			text += fmt.Sprintf("; %s is %s and %s", name, x, y)
		}
	}
	return text
}

// attr is the text of an attribute.
func (b *Block) attr(name string) string {
	for _, x := range b.Attrs {
		if x[0] == name {
			return x[1]
		}
	}
	return "not set"
}

// compare compares numbers document by document.
func (p *Pair) compare(before, after []float64) {
	n := len(before)
	differences, shares, only := make([]float64, n), true, [2]int{}
	for i, x := range before {
		y := after[i]
		differences[i] = y - x
		shares = shares && (x == 0 || x == 1) && (y == 0 || y == 1)
		switch {
		case x > y:
			only[0]++
		case y > x:
			only[1]++
		}
	}
	p.Documents, p.Difference = n, mean(differences)
	if shares {
		likely := mcnemar(only[0], only[1])
		p.Only, p.P = &only, &likely
	}
	if n < 2 {
		return
	}
	stderr := standardError(differences)
	p.Stderr = &stderr
	if stderr > 0 {
		half := student(n-1) * stderr
		p.Half = &half
	}
}

// mcnemar returns how likely it is that of a+b throws of a coin one side comes up at most min(a, b) times, either side.
// McNemar, Note on the sampling error of the difference between correlated proportions or percentages, 1947; the exact
// form is a sign test.
func mcnemar(a, b int) float64 {
	n, few := a+b, min(a, b)
	all, _ := math.Lgamma(float64(n) + 1)
	p := 0.0
	for k := 0; k <= few; k++ {
		x, _ := math.Lgamma(float64(k) + 1)
		y, _ := math.Lgamma(float64(n-k) + 1)
		p += math.Exp(all - x - y - float64(n)*math.Ln2)
	}
	return min(1, 2*p)
}

// maxPairs bounds the differences of a page, of each kind.
const maxPairs = 2000

// before lists the pairs of each evaluation with one of the nearest model that its own was made from and that was asked
// the same tasks.
func before(r *Run) (list []*Pair) {
	by := map[string]*Block{}
	evaluations := map[string][]*Block{} // by model
	for _, b := range r.Blocks {
		by[b.Address] = b
		if len(b.Scores) > 0 {
			evaluations[b.Model] = append(evaluations[b.Model], b)
		}
	}
	for _, to := range r.Blocks {
		for _, s := range to.Scores {
			if len(list) >= maxPairs {
				return list
			}
			seen := map[string]bool{to.Model: true}
			for at := made(by[to.Model]); at != "" && !seen[at]; at = made(by[at]) {
				seen[at] = true
				if found := anyOf(evaluations[at], to, s.Task); found != nil {
					list = append(list, found...)
					break
				}
			}
		}
	}
	return list
}

// anyOf pairs an evaluation with the first of some that has the same documents, else with the first that has the task.
func anyOf(from []*Block, to *Block, task string) (found []*Pair) {
	for _, b := range from {
		list := pairs(b, to, task)
		if len(list) > 0 && list[0].Why == "" {
			return list
		}
		if found == nil {
			found = list
		}
	}
	return found
}

// made is the address of the model that a stage goes on from; "" for none.
func made(b *Block) string {
	if !trains(b) {
		return ""
	}
	if b.Stage.From != "" {
		return b.Stage.From
	}
	from, _ := plainText(b.attr("model")).(string)
	return from
}
