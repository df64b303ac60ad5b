package live

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"stepflow/dsl/addr"
	"stepflow/foreign"
	"stepflow/runtime/blocks"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
)

// status is what has become of a block.
type status int

const (
	toCome status = iota
	running
	done
	failed
	notRun  // it needs one that failed
	nothing // to run, as it turned out
)

// Board is what has become of the blocks of a run.
type Board struct {
	name  string
	paint func(s Style, text string) string
	now   func() time.Time
	plan  *plan.Plan // nil where it is made on the way

	mu       sync.Mutex
	began    time.Time
	rows     []*row
	index    map[addr.Addr]*row
	rates    map[string]float64 // by their names in the state, which the time to come is told by
	measured bool               // something of this run was
	memory   int64              // of the device, in bytes
	beside   bool               // blocks run beside each other
	stopping bool               // the run was interrupted
}

// row is a block of a run.
type row struct {
	name     string
	block    addr.Addr // without the instance
	status   status
	alone    blocks.Resource
	steps    int // 0 of a block without steps
	from     int // the step that it goes on from
	takes    *blocks.Forecast
	deferred bool
	same     string // the block that makes its result
	began    time.Time
	seconds  float64 // of one that has ended
	step     *metrics.Step
	peak     float64 // of the device in FLOP/s
	pace     Pace
	outcome  string // of one that has ended

	evaluated []*metrics.Evaluation // the latest of each name, between steps
}

// NewBoard returns the board of a run of a plan, nil for one that is made on the way. beside says that blocks run beside
// each other.
func NewBoard(name string, p *plan.Plan, beside bool, paint func(Style, string) string) *Board {
	b := &Board{name: foreign.Shown(name), paint: paint, now: time.Now, plan: p, index: map[addr.Addr]*row{},
		rates: map[string]float64{}, beside: beside}
	b.began = b.now()
	if p == nil {
		return b
	}
	maps.Copy(b.rates, p.State.Rates)
	for _, a := range p.Actions {
		if !a.Skip && (a.Verb.Works() || a.Verb == plan.Same || a.Verb == plan.Deferred) {
			b.planned(a)
		}
	}
	return b
}

// row returns the row of a block, which may be new.
func (b *Board) row(a addr.Addr) *row {
	r := b.index[a]
	if r == nil {
		r = &row{name: foreign.Shown(a.String()), block: a.Block()}
		b.index[a], b.rows = r, append(b.rows, r)
	}
	return r
}

// Planned takes in what is to become of a block, now that the run has come to it.
func (b *Board) Planned(a *plan.Action) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.Verb.Works() && !a.Skip {
		b.planned(a)
	} else if r := b.index[a.Addr]; r != nil && r.status == toCome && r.same == "" {
		r.status = nothing
	} else if r != nil && r.status == toCome {
		r.status, r.outcome = done, "the same as "+r.same
	}
}

func (b *Board) planned(a *plan.Action) {
	r := b.row(a.Addr)
	r.alone, r.from, r.deferred, r.same = a.Alone(), a.FromStep, a.Verb == plan.Deferred, ""
	if a.Verb == plan.Same {
		r.same = foreign.Shown(a.After.String())
	}
	if s, ok := a.Block.(blocks.Stepped); ok && a.Verb.Works() {
		r.steps = s.NumSteps()
	}
	if f, ok := a.Block.(blocks.Forecaster); ok && a.Verb.Works() && a.Verb != plan.Import {
		r.takes = f.Takes()
	}
}

// Event takes in what happened.
func (b *Board) Event(e observe.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e.Kind {
	case observe.BlockStart:
		r := b.row(e.Addr)
		r.status, r.began, r.from = running, b.now(), e.FromStep
	case observe.StepDone:
		r := b.row(e.Addr)
		r.step, r.steps, r.peak = e.Step, e.Steps, e.Peak
		r.pace.Add(e.Step)
		b.memory, b.measured = e.Memory, true
		if r.takes != nil && r.steps > r.from {
			r.takes.Reached(b.rates, 1/float64(r.steps-r.from), r.pace.Seconds())
		}
	case observe.Evaluated:
		r := b.row(e.Addr)
		same := func(x *metrics.Evaluation) bool { return x.Name == e.Evaluation.Name }
		if i := slices.IndexFunc(r.evaluated, same); i >= 0 {
			r.evaluated[i] = e.Evaluation
		} else {
			r.evaluated = append(r.evaluated, e.Evaluation)
		}
	case observe.BlockDone:
		r := b.row(e.Addr)
		r.status, r.seconds, r.outcome = done, e.Seconds, headline(e.Values)
		if r.takes != nil && r.steps == 0 && e.Seconds > 0 {
			r.takes.Reached(b.rates, 1, e.Seconds)
			b.measured = true
		}
		b.memory = 0
	case observe.BlockFailed:
		r := b.row(e.Addr)
		r.status, r.outcome = failed, foreign.Shown(firstLine(e.Message))
		b.without(e.Addr)
	}
}

// without marks the blocks that need one that failed.
func (b *Board) without(a addr.Addr) {
	if b.plan == nil {
		return
	}
	lost := map[addr.Addr]bool{a: true}
	b.plan.Needing(lost)
	for x := range lost {
		if r := b.index[x]; r != nil && r.status == toCome {
			r.status = notRun
		}
	}
}

// Stopping says that the run was interrupted.
func (b *Board) Stopping() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopping = true
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
