package train

import (
	"fmt"
	"slices"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/metrics"
	"stepflow/runtime/program"
)

// weightFlaw looks for weights on the device that are not finite.
func (t *trainer) weightFlaw() (f forward.Flaw, err error) {
	for _, p := range t.stage.All() {
		v, err := t.get(p.ID)
		if err != nil {
			return f, err
		}
		f.Look(p.Name, p.Shape, v)
	}
	return f, nil
}

// firstNonFinite repeats a step of which the weights were not changed, and names the first tensor that is not finite;
// "" if all are.
func (t *trainer) firstNonFinite(step int, b *fineweb.Batch) (string, error) {
	s := t.stage
	if f, err := t.weightFlaw(); err != nil || f.Found() {
		return f.String(), err
	}
	if t.exchanges(program.SegMicro) {
		return "not looked for, since the ranks add up gradients as they are made", nil
	}
	if err := t.run(program.SegZero); err != nil {
		return "", err
	}
	for i := range s.OwnSteps() {
		if err := t.feed(step, b, s.FirstMicro()+i); err != nil {
			return "", err
		}
		if where, err := forward.FirstNonFinite(t.loaded, s.Program, program.SegMicro); where != "" || err != nil {
			return where, err
		}
	}
	return "", nil
}

// exchanges reports whether a segment waits for other ranks.
func (t *trainer) exchanges(segment string) bool {
	p := t.stage.Program
	seg, _ := p.Segment(segment)
	return slices.ContainsFunc(p.Launches[seg.Lo:seg.Hi], func(l gpu.Launch) bool { return gpu.Lookup(l.Kernel).Collective })
}

// unsound is the error of a stage whose result gives no finite loss on the batch in the input buffers, after what was
// done last; nil for one that does. The weights of such a stage are of no use, and an earlier checkpoint may be.
func (t *trainer) unsound(after string, loss float64, root string) error {
	if metrics.Finite(loss) {
		return nil
	}
	f, err := t.weightFlaw()
	if err != nil {
		return err
	}
	where := f.String()
	if where == "" {
		if where, err = forward.FirstNonFinite(t.loaded, t.stage.Program, program.SegProbe); err != nil {
			return err
		}
	}
	if where == "" {
		where = "none was found when the batch was repeated"
	}
	return fmt.Errorf("after %s the loss on the next micro-batch is %s; the first tensor that is not finite: %s; %s. "+
		"Lower the learning rate, or look at the data", after, metrics.Text(loss), where, goesOn(root))
}

// goesOn says from where a run goes on that failed.
func goesOn(root string) string {
	if steps, err := checkpoint.Steps(root); err == nil && len(steps) > 0 {
		return fmt.Sprintf("the checkpoint at step %d is kept", steps[0])
	}
	return "there is no checkpoint before it"
}
