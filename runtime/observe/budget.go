package observe

import (
	"slices"
	"time"
)

// stepSpans is how many spans the trace of a step has at most, unless one micro-batch alone has more: viewers of
// traces get slow beyond some 2,000.
const stepSpans = 2000

// Budget is which steps of a run get spans, and how many those are at most.
type Budget struct {
	Every    int           `json:"step_every"`
	Shown    int           `json:"step_every_in_run"` // of these, one in so many is a span of the run's trace
	Steps    int           `json:"sampled_steps"`
	Spans    int64         `json:"spans"`     // of the sampled steps and of the run's trace, without those for parts of data and files that blocks read
	MaxSpans int64         `json:"max_spans"` // what slow steps may add fits in between
	Age      time.Duration `json:"-"`         // of the run's trace, after which the run goes on in a new one; 0 for a day
	ranks    int           // that share what viewers and collectors take: spans are those of one of them
	fixed    int           // spans that are not of sampled steps
}

// Planned is a block that is to run.
type Planned struct {
	Work        *Work // nil for a block without steps
	FromStep    int   // the last step that is done already
	Checkpoints int   // on the way
	Evaluations int   // between steps
	Inside      int   // spans inside the block's, besides steps and checkpoints
}

// NewBudget returns what each of some ranks is to trace of a run of the blocks, if the trace of making the plan has so many spans.
// Steps are sampled less often than one in every where the spans of all ranks would be more than most, and shown less often in the
// run's trace where that would be too large.
func NewBudget(ranks, every int, most int64, planned int, blocks []Planned) Budget {
	each, longest := make([]int, len(blocks)), 0
	for i, p := range blocks {
		if p.Work != nil {
			_, each[i] = p.Work.detailed()
			longest = max(longest, p.Work.Steps)
		}
	}
	b := Budget{Every: every, MaxSpans: most, ranks: ranks}
	for ; ; b.Every *= 2 {
		b.Steps, b.Spans = 0, 0
		for i, p := range blocks {
			n := p.sampled(b.Every)
			b.Steps += n
			b.Spans += int64(n) * int64(each[i])
		}
		b.Spans += int64(planned + b.show(runSpans, longest, blocks))
		b.fixed += planned
		if b.Spans <= b.most() || b.Every >= longest {
			return b
		}
	}
}

// most is how many spans a rank has at most.
func (b *Budget) most() int64 { return b.MaxSpans / int64(max(b.ranks, 1)) }

// inTrace is how many spans of a rank the run's trace takes.
func (b *Budget) inTrace() int { return traceSpans / max(b.ranks, 1) }

// sampled is how many steps of a block are sampled whatever their speed, if it is one in every.
func (p *Planned) sampled(every int) int {
	if p.Work == nil {
		return 0
	}
	s := sampler{first: p.FromStep + 1, last: p.Work.Steps, every: every}
	return s.count()
}

// show decides which of the sampled steps are in the run's trace, and returns how many spans the trace has. fixed of them
// belong to no block.
func (b *Budget) show(fixed, longest int, blocks []Planned) int {
	for _, p := range blocks {
		if fixed += 1 + p.Inside + p.Checkpoints + p.Evaluations; p.Work != nil {
			fixed += stageSpans
		}
	}
	b.fixed = fixed
	for b.Shown = b.Every; ; b.Shown *= 2 {
		n := fixed
		for _, p := range blocks {
			n += p.sampled(b.Shown)
		}
		if n <= b.inTrace()-slowRoom/max(b.ranks, 1) || b.Shown >= longest {
			return n
		}
	}
}

// runSpans is how many spans of the run's trace belong to no block: the root and making the plan.
const runSpans = 2

// stageSpans is how many spans a stage has in the run's trace besides steps: grow or restore, train, the last checkpoint.
const stageSpans = 3

// slowRoom is how many spans of the run's trace are left for slow steps.
const slowRoom = 200

// take asks for spans out of what is left of the run's budget.
func (o *Observer) take(spans int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if int64(spans) > o.left {
		o.passedOver++
		return false
	}
	o.left -= int64(spans)
	return true
}

// sampler chooses the steps of a stage that get spans: the first, the last, one in every so many, and those slower than
// slowFactor times the median of the window before.
type sampler struct {
	first, last, every int
	window             []float64 // seconds of the latest steps, oldest first
	sorted             []float64
}

func (b *Budget) age() time.Duration {
	if b.Age > 0 {
		return b.Age
	}
	return traceAge
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
