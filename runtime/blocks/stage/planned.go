package stage

import (
	"fmt"
	"slices"
	"strings"

	"stepflow/dsl"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/memoryplan"
)

// promise is the stage of a memory_plan block whose layers or settings a stage takes.
type promise struct {
	*memoryplan.Split
	index   int
	differs []difference // between the stage and what the plan takes it to be
}

// fromPlan lists the attributes of a stage that may take values of a plan, by the nested block that they are in.
var fromPlan = []struct {
	block string // "" for the stage itself
	attrs []string
}{
	{"", []string{"layers", "freeze", "frozen_dtype"}},
	{"grow", []string{"layers"}},
	{"train", []string{"micro_batch_size", "activation_checkpointing", "update"}},
}

// promised finds the plan whose values the stage takes, once the stage is compiled; of several, the one that it differs least from.
func (s *Stage) promised(p *blocks.Planned, d *dsl.Decoded) {
	for _, m := range plansOf(p, d) {
		q := &promise{Split: m, index: m.Number(len(s.Layers), s.fresh())}
		if q.index < 0 {
			continue
		}
		q.compare(s, p, d)
		if s.plan == nil || len(q.differs) < len(s.plan.differs) {
			s.plan = q
		}
	}
}

// plansOf lists the plans whose values the attributes of a stage use.
func plansOf(p *blocks.Planned, d *dsl.Decoded) (list []*memoryplan.Split) {
	for _, x := range fromPlan {
		at := d
		if x.block != "" {
			at = d.Block(x.block)
		}
		if at == nil {
			continue
		}
		for _, attr := range x.attrs {
			for _, a := range at.Sources(attr, "memory_plan") {
				b := p.World.Find(a)
				if b == nil {
					continue
				}
				if m, ok := b.Block.(*memoryplan.Split); ok && !m.Assumed.LayersOnly && !slices.Contains(list, m) {
					list = append(list, m)
				}
			}
		}
	}
	return list
}

// fresh is the number of layers that the stage adds.
func (s *Stage) fresh() int {
	if s.From == nil {
		return len(s.Layers)
	}
	return len(s.Layers) - len(s.From.Layers)
}

// where names the plan with its place.
func (q *promise) where() string {
	return fmt.Sprintf("%s (%s)", q.Assumed.Addr, dsl.FileLine(q.Assumed.Range))
}

// size says what the plan promises of the stage.
func (q *promise) size() string {
	n := dsl.FormatBytes(q.Bytes(q.index))
	if q.Assumed.Budget {
		return n + " of model states"
	}
	return n
}

// warn says how the stage differs from what its plan takes it to be; "" if it does not.
func (q *promise) warn() string {
	if q == nil || len(q.differs) == 0 {
		return ""
	}
	var parts []string
	for _, x := range q.differs {
		parts = append(parts, fmt.Sprintf("%s is %s there and %s here (%s): write %s", x.attr, x.there, x.here, dsl.FileLine(x.at), x.write))
	}
	return fmt.Sprintf("the stage is not what %s planned %s for. %s", q.where(), q.size(), strings.Join(parts, "; "))
}

// remedy says how to make the stage fit the device by means of its plan; "" if that does not help. all is true if nothing needs to be
// added: the stage is not what was planned, or was planned for another device.
func (q *promise) remedy(w *blocks.World) (text string, all bool) {
	planned := fmt.Sprintf("%s planned %s for it", q.where(), q.size())
	device := w.Caps.Memory + w.Caps.Reserve
	switch {
	case slices.ContainsFunc(q.differs, func(x difference) bool { return x.attr != "tokens" }):
		return planned + ", with other settings: write those that the warning about the plan says", true
	case q.Assumed.Budget:
		return fmt.Sprintf("let the plan count activations too: %s, and with device_memory, sequence_length and batch_size in place "+
			"of stages or budget it plans for all that a stage takes", planned), false
	case q.Device.Memory > device:
		return fmt.Sprintf("%s, on a device of %s, and this device has %s: write device_memory = \"%d MiB\" there", planned,
			dsl.FormatBytes(q.Device.Memory), dsl.FormatBytes(device), device>>20), true
	}
	return "", false
}
