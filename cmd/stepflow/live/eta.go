package live

import (
	"strings"
	"time"

	"stepflow/runtime/blocks"
	"stepflow/runtime/words"
)

// left is a time to come: at least so many seconds, or about so many if it is whole.
type left struct {
	seconds float64
	whole   bool
}

// then is the time of two after another.
func (l left) then(m left) left { return left{l.seconds + m.seconds, l.whole && m.whole} }

// left tells how long a block still takes: by its own steps, or by the rate of work of its kind and size.
func (r *row) left(rates map[string]float64, now time.Time) left {
	if r.status == running && r.step != nil {
		steps := float64(max(0, r.steps-r.step.Step))
		l := left{r.pace.Seconds() * steps, true}
		if r.takes != nil && r.takes.Between > 0 { // evaluations, at the rate of the steps
			if f := r.takes.By(rates); f.Rate > 0 {
				l.seconds += f.Between / f.Rate * steps / float64(max(1, r.steps-r.from))
			}
		}
		return l
	}
	if r.takes == nil {
		return left{}
	}
	f := r.takes.By(rates)
	l := left{f.Seconds, f.Seconds > 0 && !f.Least}
	if r.status == running {
		if l.seconds -= now.Sub(r.began).Seconds(); l.seconds < 0 { // it takes longer than that
			l = left{}
		}
	}
	return l
}

// eta tells how long the rest of the run takes, in words.
func (b *Board) eta(now time.Time) string {
	after := map[blocks.Resource]left{} // what uses the same runs one after the other
	var others []left
	for _, r := range b.rows {
		if r.status != toCome && r.status != running || r.same != "" {
			continue
		}
		l, what := r.left(b.rates, now), r.alone
		if b.beside && what == "" {
			others = append(others, l)
			continue
		} else if !b.beside {
			what = ""
		}
		sum, ok := after[what]
		if !ok {
			sum.whole = true
		}
		after[what] = sum.then(l)
	}
	all := left{whole: true}
	for _, l := range after {
		others = append(others, l)
	}
	for _, l := range others {
		all.seconds, all.whole = max(all.seconds, l.seconds), all.whole && l.whole
	}
	switch {
	case all.whole:
		return "ETA " + span(all.seconds)
	case b.measured && all.seconds >= 1:
		return "ETA at least " + span(all.seconds)
	}
	return "ETA unknown"
}

// span writes a time without what changes too fast to be read.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case seconds < 1 || seconds >= words.Years:
		return words.Duration(seconds)
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}
