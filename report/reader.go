package report

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/dsl/addr"
	"stepflow/runtime/metrics"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// Reader reads a run, again and again while it goes on.
type Reader struct {
	dir   string
	plan  *Run // as given; nil to read it from the folder
	tails map[string]*metrics.Tail
}

// NewReader reads the run of a folder: a state's, or a pipeline's with its state beside it.
func NewReader(dir string) *Reader { return &Reader{dir: dir, tails: map[string]*metrics.Tail{}} }

// PlanReader shows a plan that may not have run, with what its state holds.
func PlanReader(r *Run) *Reader {
	return &Reader{dir: r.Dir, plan: r, tails: map[string]*metrics.Tail{}}
}

// Read gives the run as it is now. Files that are missing are taken for work not done.
func (r *Reader) Read() (*Run, error) {
	run := &Run{}
	if r.plan != nil {
		*run = *r.plan
		run.Blocks = nil
		for _, b := range r.plan.Blocks {
			c := *b
			if b.Stage != nil {
				s := *b.Stage
				c.Stage = &s
			}
			run.Blocks = append(run.Blocks, &c)
		}
	} else {
		var err error
		if run, err = readPlan(r.dir); err != nil {
			return nil, err
		}
	}
	d, err := state.Read(run.Dir)
	if err != nil {
		return nil, err
	}
	run.Running = state.Locked(run.Dir)
	for _, b := range run.Blocks {
		if err := r.fill(run, b, d.State.Blocks[b.Address]); err != nil {
			return nil, err
		}
	}
	run.Outputs = nil
	for _, n := range slices.Sorted(maps.Keys(d.State.Outputs)) {
		o := d.State.Outputs[n]
		run.Outputs = append(run.Outputs, Output{n, show(o), o.Description})
	}
	if len(d.State.Blocks) == 0 {
		run.Note = "Nothing has run yet: the figures are planned."
	}
	run.Graph = blockLayout(run.Blocks)
	return run, nil
}

func show(o state.Output) string {
	if text, ok := o.Value.(string); ok && !o.Sensitive {
		return text
	}
	return plan.OutputText(o)
}

// fill adds what became of a block.
func (r *Reader) fill(run *Run, b *Block, s *state.Block) error {
	if s != nil {
		b.Status, b.Error, b.Started, b.Updated = s.Status, s.Error, s.Started, s.Updated
		b.Values = plain(s.Values)
		if parts := strings.Split(s.Trace, "-"); len(parts) == 4 {
			b.TraceID = parts[1]
		}
		if s.Status == state.Running && !run.Running {
			b.Status = "interrupted"
		}
	}
	if b.Stage == nil {
		return nil
	}
	if s != nil {
		b.Stage.Done = s.Step
		if s.Memory != nil {
			b.Stage.Measured = s.Memory.Measured
		}
	}
	x, err := addr.Parse(b.Address)
	if err != nil {
		return err
	}
	t := r.tails[b.Address]
	if t == nil {
		t = &metrics.Tail{}
		r.tails[b.Address] = t
	}
	path := filepath.Join(run.Dir, results.Folder(x), metrics.FileName)
	steps, err := t.Read(path)
	if err != nil {
		return err
	}
	steps = plausible(steps)
	if lacks := missing(s, steps); lacks != "" {
		b.Warnings = append(slices.Clone(b.Warnings), fmt.Sprintf("%s lacks the numbers of %s", path, lacks))
	}
	if len(steps) > 0 {
		b.Stage.Done = max(b.Stage.Done, steps[len(steps)-1].Step)
		b.Stage.Series = newSeries(steps)
	}
	if b.Stage.Steps > 0 { // the stage may have been longer when it ran
		b.Stage.Done = max(0, min(b.Stage.Done, b.Stage.Steps))
	}
	return nil
}

// missing returns of which steps a stage's numbers are not there; "" if all are.
func missing(s *state.Block, steps []metrics.Step) string {
	if s == nil {
		return ""
	}
	if len(steps) < s.Step {
		return fmt.Sprintf("%d of %d steps: lines of it are gone or damaged", s.Step-len(steps), s.Step)
	}
	const rounding = 1e-9
	loss, ok := s.Values["loss"].(float64)
	end := metrics.EndLoss(steps)
	if ok && s.Status == state.Done && len(steps) == s.Step && math.Abs(end-loss) > rounding*math.Abs(loss) {
		return fmt.Sprintf("this stage: they end with a loss of %.6g, and the stage with %.6g; the file is of another stage "+
			"or run", end, loss)
	}
	return ""
}

// plausible leaves out steps that no run writes: that count backwards, or took no time or for ever.
func plausible(steps []metrics.Step) []metrics.Step {
	const most = 1 << 50
	good := func(i int, last int) bool {
		s := &steps[i]
		return s.Step > last && s.Step < most && s.Tokens >= 0 && s.FLOPs >= 0 && s.Seconds >= 0 && s.Seconds < most
	}
	last := 0
	for i := range steps {
		if !good(i, last) {
			kept := append([]metrics.Step(nil), steps[:i]...)
			for ; i < len(steps); i++ {
				if good(i, last) {
					kept, last = append(kept, steps[i]), steps[i].Step
				}
			}
			return kept
		}
		last = steps[i].Step
	}
	return steps
}

// plain leaves out what JSON cannot say.
func plain(values map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range values {
		if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			continue
		}
		out[k] = v
	}
	return out
}
