package runtime

import (
	"slices"

	"stepflow/tracing"
)

// stepSpans is how many spans the trace of a step has at most, unless one micro-batch alone has more: viewers of
// traces get slow beyond some 2,000.
const stepSpans = 2000

// TraceBudget is which steps of a run get spans, and how many those are at most.
type TraceBudget struct {
	Every    int   `json:"step_every"`
	Steps    int   `json:"sampled_steps"`
	Spans    int64 `json:"spans"`     // of the sampled steps and of the blocks
	MaxSpans int64 `json:"max_spans"` // what slow steps may add fits in between
}

// detailed is how many micro-batches of a traced step have a span for each operation, and how many spans the step has.
func detailed(s *Stage) (micros, spans int) {
	launches := func(name string) int {
		seg, _ := s.Program.Segment(name)
		return seg.Hi - seg.Lo
	}
	fixed := 4 + launches(segZero) + launches(segUpdate) + s.MicroSteps() // step, data, zero, update, and each micro-batch
	each := max(launches(segMicro), 1)
	micros = min(max((stepSpans-fixed)/each, 1), s.MicroSteps())
	return micros, fixed + micros*each
}

// TraceBudget says what apply will trace of the planned stages. Steps are sampled less often than asked for where the spans
// would be more than max_spans.
func (p *Plan) TraceBudget() TraceBudget {
	t := TraceBudget{Every: p.StepEvery, MaxSpans: p.MaxSpans}
	for ; ; t.Every *= 2 {
		t.Steps, t.Spans = 0, 1
		longest := 0
		for _, a := range p.Actions {
			if a.Verb != Run && a.Verb != Resume {
				continue
			}
			t.Spans++
			s := a.Stage
			if s == nil {
				continue
			}
			w := sampler{first: a.FromStep + 1, last: s.Steps, every: t.Every}
			n := w.count()
			_, each := detailed(s)
			t.Steps += n
			t.Spans += 3 + int64(n)*int64(each)
			if s.Every > 0 {
				t.Spans += int64((s.Steps-1)/s.Every - a.FromStep/s.Every)
			}
			longest = max(longest, s.Steps)
		}
		if t.Spans <= t.MaxSpans || t.Every >= longest {
			return t
		}
	}
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

// take asks for spans out of what is left of the run's budget.
func (o *observer) take(spans int) bool {
	if int64(spans) > o.spansLeft {
		o.passedOver++
		return false
	}
	o.spansLeft -= int64(spans)
	return true
}

var segmentSpans = map[string]string{segZero: tracing.SpanZero, segMicro: tracing.SpanMicro, segUpdate: tracing.SpanUpdate}
