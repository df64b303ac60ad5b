package observe

import "slices"

// stepSpans is how many spans the trace of a step has at most, unless one micro-batch alone has more: viewers of
// traces get slow beyond some 2,000.
const stepSpans = 2000

// Budget is which steps of a run get spans, and how many those are at most.
type Budget struct {
	Every    int   `json:"step_every"`
	Steps    int   `json:"sampled_steps"`
	Spans    int64 `json:"spans"`     // of the sampled steps and of the blocks
	MaxSpans int64 `json:"max_spans"` // what slow steps may add fits in between
}

// Planned is a block that is to run.
type Planned struct {
	Work        *Work // nil for a block without steps
	FromStep    int   // the last step that is done already
	Checkpoints int   // on the way
}

// NewBudget returns what a run of the blocks is to trace. Steps are sampled less often than one in every where the
// spans would be more than max.
func NewBudget(every int, max int64, blocks []Planned) Budget {
	b := Budget{Every: every, MaxSpans: max}
	for ; ; b.Every *= 2 {
		if longest := b.count(blocks); b.Spans <= b.MaxSpans || b.Every >= longest {
			return b
		}
	}
}

// count counts the sampled steps and all spans, and returns the steps of the longest stage.
func (b *Budget) count(blocks []Planned) (longest int) {
	b.Steps, b.Spans = 0, 1
	for _, p := range blocks {
		b.Spans++
		if p.Work == nil {
			continue
		}
		s := sampler{first: p.FromStep + 1, last: p.Work.Steps, every: b.Every}
		n := s.count()
		_, each := p.Work.detailed()
		b.Steps += n
		b.Spans += 3 + int64(n)*int64(each) + int64(p.Checkpoints)
		longest = max(longest, p.Work.Steps)
	}
	return longest
}

// take asks for spans out of what is left of the run's budget.
func (o *Observer) take(spans int) bool {
	if int64(spans) > o.Spans {
		o.passedOver++
		return false
	}
	o.Spans -= int64(spans)
	return true
}

// sampler chooses the steps of a stage that get spans: the first, the last, one in every so many, and those slower than
// slowFactor times the median of the window before.
type sampler struct {
	first, last, every int
	window             []float64 // seconds of the latest steps, oldest first
	sorted             []float64
}

const (
	slowFactor = 3
	slowWindow = 64
	slowLeast  = 8 // steps before a median means anything
)

// count is how many steps are sampled whatever their speed.
func (s *sampler) count() int {
	if s.first > s.last {
		return 0
	}
	n := s.last/s.every - (s.first-1)/s.every
	if s.first%s.every != 0 {
		n++
	}
	if s.last%s.every != 0 && s.last != s.first {
		n++
	}
	return n
}

// reason tells why a step is sampled before it runs; empty if it is not.
func (s *sampler) reason(step int) string {
	switch {
	case step == s.first:
		return "first"
	case step == s.last:
		return "last"
	case step%s.every == 0:
		return "every"
	}
	return ""
}

// slow takes a step's time and reports whether it was slow beside those before.
func (s *sampler) slow(seconds float64) bool {
	slow := false
	if len(s.window) >= slowLeast {
		s.sorted = append(s.sorted[:0], s.window...)
		slices.Sort(s.sorted)
		slow = seconds > slowFactor*s.sorted[len(s.sorted)/2]
	}
	if len(s.window) == slowWindow {
		copy(s.window, s.window[1:])
		s.window = s.window[:slowWindow-1]
	}
	s.window = append(s.window, seconds)
	return slow
}
