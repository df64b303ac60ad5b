package report

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"

	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/metrics"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// Reader reads a run, again and again while it goes on.
type Reader struct {
	dir    string
	plan   *Run // as given; nil to read it from the folder
	stages map[string]*stageReader

	evaluated map[string]*sampled // by address
}

// stageReader reads the steps of a stage.
type stageReader struct {
	tail metrics.Tail
	*thinner
}

// How many points are kept: of a run together, and of a stage at most and at least. They decide how large a page is,
// and how far it can be zoomed into.
const (
	runPoints   = 8192
	mostPoints  = 4096
	leastPoints = 16
)

// NewReader reads the run of a folder: a state's, or a pipeline's with its state beside it.
func NewReader(dir string) *Reader {
	return &Reader{dir: dir, stages: map[string]*stageReader{}, evaluated: map[string]*sampled{}}
}

// PlanReader shows a plan that may not have run, with what its state holds.
func PlanReader(r *Run) *Reader {
	read := NewReader(r.Dir)
	read.plan = r
	return read
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
	stages := 0
	for _, b := range run.Blocks {
		if b.Stage != nil {
			stages++
		}
	}
	points := max(leastPoints, min(runPoints/max(stages, 1), mostPoints))
	for _, b := range run.Blocks {
		if err := r.fill(run, b, d.State.Blocks[b.Address], points); err != nil {
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
	run.Costs = costs(run.Blocks)
	run.Pairs = before(run)
	return run, nil
}

func show(o state.Output) string {
	if text, ok := o.Value.(string); ok && !o.Sensitive {
		return text
	}
	return plan.OutputText(o)
}

// fill adds what became of a block, with so many points of its steps at most.
func (r *Reader) fill(run *Run, b *Block, s *state.Block, points int) error {
	b.Scores = nil
	if s != nil {
		b.Status, b.Error, b.Started, b.Updated = s.Status, s.Error, s.Started, s.Updated
		b.Values = plain(s.Values)
		b.TraceID = tracing.Reference(s.Trace).TraceID()
		if s.Status == state.Running && !run.Running {
			b.Status = "interrupted"
		}
	}
	if s != nil && b.Values["results"] != nil {
		if err := r.score(run, b, s); err != nil {
			return err
		}
	}
	if b.Stage == nil {
		return nil
	}
	if s != nil {
		b.Stage.Done, b.Stage.Ranks = s.Step, s.RanksText()
		b.data = dataOf(s)
		if s.Memory != nil {
			b.Stage.Measured = s.Memory.Measured
		}
	}
	x, err := addr.Parse(b.Address)
	if err != nil {
		return err
	}
	steps := r.stages[b.Address]
	if steps == nil {
		steps = &stageReader{thinner: newThinner(points)}
		r.stages[b.Address] = steps
	}
	path := filepath.Join(run.Dir, results.Folder(x), metrics.FileName)
	reset := func() { steps.thinner = newThinner(points) }
	if err := steps.tail.ReadAll(path, reset, func(s *metrics.Step) { steps.add(s) },
		func(e *metrics.Evaluation) { steps.evaluated(e) }); err != nil {
		return err
	}
	if lacks := missing(s, steps.thinner); lacks != "" {
		b.Warnings = append(slices.Clone(b.Warnings), fmt.Sprintf("%s lacks the numbers of %s", path, lacks))
	}
	if steps.steps > 0 {
		b.Stage.Done = max(b.Stage.Done, steps.last.Step)
		b.Stage.Series = steps.result()
	}
	if b.Stage.Steps > 0 { // the stage may have been longer when it ran
		b.Stage.Done = max(0, min(b.Stage.Done, b.Stage.Steps))
	}
	b.Stage.Early = b.Status == state.Done && b.Stage.Series != nil && b.Stage.Done < b.Stage.Steps
	return nil
}

// score adds what an evaluation made of tasks.
func (r *Reader) score(run *Run, b *Block, s *state.Block) (err error) {
	if b.samples, err = r.samples(run, b.Address, s); err != nil {
		return err
	}
	b.Scores = scores(b.Values, b.samples)
	delete(b.Values, "results")
	if b.samples != nil && b.samples.lost != "" {
		b.Warnings = append(slices.Clone(b.Warnings), fmt.Sprintf("of %s, %s: its documents are not compared",
			filepath.Join(run.Dir, s.Dir, blocks.SamplesFile), b.samples.lost))
	}
	return nil
}

// dataOf returns the ids of the data that a block of the state was made from, by address.
func dataOf(s *state.Block) map[string]string {
	data := map[string]string{}
	for name, id := range s.Inputs {
		if x, err := addr.Parse(name); err == nil && x.Kind == "data" {
			data[unkeyed(name)] = id
		}
	}
	return data
}

// missing returns of which steps a stage's numbers are not there; "" if all are.
func missing(s *state.Block, t *thinner) string {
	if s == nil {
		return ""
	}
	if t.steps < s.Step {
		return fmt.Sprintf("%d of %d steps: lines of it are gone or damaged", s.Step-t.steps, s.Step)
	}
	const rounding = 1e-9
	loss, ok := s.Values["loss"].(float64)
	end := metrics.EndLoss(t.ending)
	if ok && s.Status == state.Done && t.steps == s.Step && math.Abs(end-loss) > rounding*math.Abs(loss) {
		return fmt.Sprintf("this stage: they end with a loss of %.6g, and the stage with %.6g; the file is of another stage "+
			"or run", end, loss)
	}
	return ""
}

// plain leaves out what JSON cannot say.
func plain(values map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range values {
		if f, ok := v.(float64); ok && !metrics.Finite(f) {
			continue
		}
		out[k] = v
	}
	return out
}
