package runtime

import (
	"fmt"
	"math"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime/checkpoint"
)

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// nonFinite finds the first tensor of the step that is not finite by running its launches one by
// one: the weights were not changed, so the step can be repeated.
func (r *runner) nonFinite(a *Action, t *trainer, b *fineweb.Batch, step int, loss, norm float64, root string) error {
	where := "none was found when the step was repeated"
	if w, err := t.firstNonFinite(b); err == nil && w != "" {
		where = w
	}
	kept := "there is no checkpoint before it"
	if steps, err := checkpoint.Steps(root); err == nil && len(steps) > 0 {
		kept = fmt.Sprintf("the checkpoint at step %d is kept", steps[0])
	}
	return fmt.Errorf("step %d: loss is %g and gradient norm %g; the first tensor that is not finite: %s; %s. Lower the learning rate, look at the data, or set on_nonfinite = \"skip\"", step, loss, norm, where, kept)
}

func (t *trainer) firstNonFinite(b *fineweb.Batch) (string, error) {
	s := t.stage
	for _, p := range s.All() {
		v, err := t.get(p.ID)
		if err != nil {
			return "", err
		}
		if bad(v) {
			return "the weight " + p.Name, nil
		}
	}
	if err := t.run(segZero); err != nil {
		return "", err
	}
	for i := 0; i < s.MicroSteps(); i++ {
		if err := feed(t.loaded, s.Program, b, i*s.Micro, s.Micro, s.Seq); err != nil {
			return "", err
		}
		seg, _ := s.Program.Segment(segMicro)
		for n := seg.Lo; n < seg.Hi; n++ {
			if err := t.loaded.Run(n, n+1, false); err != nil {
				return "", err
			}
			l := &s.Program.Launches[n]
			for o, out := range l.Out {
				raw := make([]byte, out.Type.Bytes())
				if err := t.loaded.CopyOut(raw, out); err != nil {
					return "", err
				}
				if bad(gpu.BytesFloat32(raw, out.Type.DType)) {
					return fmt.Sprintf("output %d of %s at %s (%s)", o, l.Kernel, l.Name, l.Phase), nil
				}
			}
		}
	}
	return "", nil
}

func bad(v []float32) bool {
	for _, x := range v {
		if !finite(float64(x)) {
			return true
		}
	}
	return false
}
