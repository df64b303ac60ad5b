package memoryplan

import (
	"fmt"

	"stepflow/runtime/program"
)

// chosen is a stage of a plan with its settings.
type chosen struct {
	*program.Stage
	Fit           program.Fit
	checkpointing string
	made          *program.Stage // with its program, once it is needed
}

// settle chooses what each stage gives up of what costs time: as few layers computed again as let it fit, of those with the
// preferred update, and as large a micro-batch as fits. It is nil where a stage does not fit.
func (q *search) settle(split []int, limit int64) (list []chosen, err error) {
	programs := q.programs.On(limit)
	var from *program.Stage
	for _, fresh := range split {
		s, err := q.stage(from, fresh)
		if err != nil {
			return nil, err
		}
		var best *chosen
		for _, fused := range q.fused {
			c := *s
			c.Fused, c.AutoMicro = fused, !fused
			f, err := programs.Try(&c, "auto")
			if err != nil {
				return nil, err
			}
			if f.Fits && (best == nil || f.Recompute < best.Fit.Recompute) {
				c.AutoMicro, c.Micro, c.Recompute, c.Chunk = false, f.Micro, f.Recompute, f.Chunk
				best = &chosen{Stage: &c, Fit: f, checkpointing: checkpointing(f.Recompute, len(c.Layers))}
			}
		}
		if best == nil {
			return nil, nil
		}
		list = append(list, *best)
		from = best.Stage
	}
	return list, nil
}

// checkpointing is activation_checkpointing of so many layers.
func checkpointing(n, layers int) string {
	switch n {
	case 0:
		return "none"
	case layers:
		return "block"
	}
	return fmt.Sprint(n)
}
