package live

import (
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
		return left{r.pace.Seconds() * float64(max(0, r.steps-r.step.Step)), true}
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
		return "ETA " + words.Duration(round(all.seconds))
	case b.measured && all.seconds >= 1:
		return "ETA at least " + words.Duration(round(all.seconds))
	}
	return "ETA unknown"
}

// round leaves out what changes too fast to be read.
func round(seconds float64) float64 {
	if seconds > 1 {
		return float64(int(seconds + 0.5))
	}
	return seconds
}
