package stage

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/memoryplan"
	"stepflow/runtime/blocks/optimizer"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
)

// promise is the stage of a memory_plan block whose layers or settings a stage takes.
type promise struct {
	*memoryplan.Split
	index   int
	differs []difference // in what the stage is not as the plan takes it to be
}

// difference is an attribute with its values in the plan and in the stage.
type difference struct {
	attr, there, here string
	at                hcl.Range // in the stage
	write             string
}

// fromPlan lists the attributes of a stage that may take values of a plan, in each of its blocks.
var fromPlan = map[string][]string{
	"":      {"layers", "freeze", "frozen_dtype"},
	"grow":  {"layers"},
	"train": {"micro_batch_size", "activation_checkpointing", "update"},
}

// promised finds the plan whose values the stage takes, once the stage is compiled; of several, the one that it differs least from.
func (s *Stage) promised(p *blocks.Planned, d *dsl.Decoded) {
	seen := map[addr.Addr]bool{}
	for _, name := range []string{"", "grow", "train"} {
		at := d
		if name != "" {
			at = d.Block(name)
		}
		for _, attr := range fromPlan[name] {
			if at == nil {
				break
			}
			for _, a := range at.Sources(attr, "memory_plan") {
				x := p.World.Find(a)
				if seen[a] || x == nil {
					continue
				}
				seen[a] = true
				m, ok := x.Block.(*memoryplan.Split)
				if !ok || m.Assumed.LayersOnly {
					continue
				}
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
	}
}

// fresh is the number of layers that the stage adds.
func (s *Stage) fresh() int {
	if s.From == nil {
		return len(s.Layers)
	}
	return len(s.Layers) - len(s.From.Layers)
}

// compare notes in what the stage is not as the plan takes it to be.
func (q *promise) compare(s *Stage, p *blocks.Planned, d *dsl.Decoded) {
	t, a := d.Block("train"), &q.Assumed
	add := func(at *dsl.Decoded, attr, there, here, write string) {
		q.differs = append(q.differs, difference{attr, there, here, at.At(attr), write})
	}
	if a.DType != s.DType {
		there := program.Precision(a.DType)
		add(d, "precision", there, program.Precision(s.DType), q.take("precision", "", there))
	}
	q.compareOptimizer(s, p, t, add)
	if q.index > 0 {
		q.compareFrozen(s, d, add)
	}
	if a.Budget {
		return
	}
	number := func(at *dsl.Decoded, attr, key string, there, here int) {
		if there != here {
			add(at, attr, fmt.Sprint(there), fmt.Sprint(here), q.take(attr, key, fmt.Sprint(there)))
		}
	}
	x := q.Device.Stages[q.index]
	key := fmt.Sprintf("[%d]", q.index)
	number(t, "sequence_length", "", a.Seq, s.Seq)
	number(t, "batch_size", "", a.Batch, s.Batch)
	if here := t.Str("update"); here != x.Update {
		add(t, "update", x.Update, here, q.take("update", key, x.Update))
	} else if !s.AutoMicro && !s.Fused {
		number(t, "micro_batch_size", key, x.Fit.Micro, s.Micro)
	}
	if s.Checkpointing != "auto" && s.Recompute != x.Fit.Recompute {
		add(t, "activation_checkpointing", x.Checkpointing, s.Checkpointing, q.take("activation_checkpointing", key, x.Checkpointing))
	}
	if g := s.Grow; g != nil && g.Method == a.Growth && g.Position != a.Position {
		add(d.Block("grow"), "position", a.Position, g.Position, q.take("position", "", a.Position))
	}
	if q.index == len(q.Layers)-1 {
		q.compareTokens(s, t)
	}
}

// adding notes a difference.
type adding func(at *dsl.Decoded, attr, there, here, write string)

// take is an attribute of the stage that takes what the plan says. In another module it is the value.
func (q *promise) take(attr, key, value string) string {
	if q.Assumed.Addr.Module != "" {
		return fmt.Sprintf("%s = %q", attr, value)
	}
	return fmt.Sprintf("%s = %s.%s%s", attr, q.Assumed.Addr, attr, key)
}

// compareOptimizer compares what the optimizers keep, and of which type they are.
func (q *promise) compareOptimizer(s *Stage, p *blocks.Planned, t *dsl.Decoded, add adding) {
	a := &q.Assumed
	ref, _, _ := t.Ref("optimizer")
	same := func(o optim.Optimizer) bool {
		return fmt.Sprintf("%T", o) == fmt.Sprintf("%T", a.Rule) && s.each(o, a.DType) == s.each(a.Rule, a.DType)
	}
	if same(s.Optimizer) {
		return
	}
	there, here := "an adamw", ref.String()
	if a.Optimizer != (addr.Addr{}) {
		there = a.Optimizer.String()
	}
	write := q.take("optimizer", "", there)
	if q.Assumed.Addr.Module != "" {
		write = "optimizer = " + there
	}
	if a.Optimizer == (addr.Addr{}) {
		write = fmt.Sprintf("optimizer = %s in %s", here, q.where())
	}
	if a.StateDType != "" {
		take := fmt.Sprintf("state_dtype = %s.state_dtype", a.Addr)
		mine, _ := p.World.Find(ref).Block.(*optimizer.Optimizer)
		if rule, keeps := mine.Keeping(a.StateDType); keeps && same(rule) {
			write := fmt.Sprintf("%s in %s (%s)", take, ref, dsl.FileLine(p.World.Find(ref).Range))
			if ref == a.Optimizer {
				write = fmt.Sprintf("%s in an optimizer block of the stages' own, which is otherwise like %s", take, ref)
			}
			add(t, "state_dtype", a.StateDType, fmt.Sprintf("fp32 of %s", ref), write)
			return
		}
		there += " with moments in " + a.StateDType
		write = fmt.Sprintf("an optimizer block like %s with %s, and name it", a.Optimizer, take)
	}
	size := func(o optim.Optimizer) string {
		return fmt.Sprintf(" (%.3g bytes a trainable parameter)", s.each(o, a.DType))
	}
	add(t, "optimizer", there+size(a.Rule), here+size(s.Optimizer), write)
}

// each is what a parameter of the stage takes in the mean where it trains in a type.
func (s *Stage) each(o optim.Optimizer, t gpu.DType) float64 {
	var bytes, n float64
	for _, x := range s.Params {
		bytes += float64(optim.TrainBytes(o, x, t))
		n += float64(x.Elems())
	}
	return bytes / n
}

// compareFrozen compares what a stage that continues another freezes, how it stores that, and its adapters.
func (q *promise) compareFrozen(s *Stage, d *dsl.Decoded, add adding) {
	a, key := &q.Assumed, fmt.Sprintf("[%d]", q.index)
	other := s.Stage
	other.Frozen = map[string]bool{}
	for _, word := range q.Freeze(q.index) {
		other.Freeze(word)
	}
	take := func(attr, value string) string {
		if a.Budget {
			return attr + " = " + value
		}
		return q.take(attr, key, value)
	}
	if slices.ContainsFunc(s.Params, func(x ops.Param) bool { return s.Frozen[x.ID] != other.Frozen[x.ID] }) {
		there := list(q.Freeze(q.index))
		add(d, "freeze", there, list(d.Strs("freeze")), take("freeze", there))
		return // all else follows from that
	}
	ref, _, _ := d.Ref("adapter")
	if !alike(a.Spec, s.Peft, s) {
		there, here := "none", "none"
		write := fmt.Sprintf("peft = %s in %s", ref, q.where())
		if a.Spec != nil {
			there, write = a.Peft.String(), "adapter = "+a.Peft.String()
		}
		if s.Peft != nil {
			here = ref.String()
		}
		add(d, "adapter", there, here, write)
	}
	stored := q.FrozenDType(q.index)
	if t := program.FrozenDTypes[stored]; t != s.FrozenDType && !(t == s.DType && s.FrozenDType == 0) {
		write := take("frozen_dtype", fmt.Sprintf("%q", stored))
		if a.Budget && stored == "" {
			write = fmt.Sprintf("frozen_dtype = %q in %s", d.Str("frozen_dtype"), q.where())
		}
		add(d, "frozen_dtype", orNone(stored), orNone(d.Str("frozen_dtype")), write)
	}
}

// alike reports whether adapters take the same on the stage's frozen projections.
func alike(a, b *peft.Spec, s *Stage) bool {
	size := func(x *peft.Spec) (n int64) {
		if x == nil {
			return 0
		}
		as, err := x.Match(s.Params, func(p ops.Param) bool { return s.Frozen[p.ID] })
		if err != nil {
			return -1
		}
		for _, p := range peft.Params(as) {
			n += p.Elems()
		}
		return n
	}
	keeps := func(x *peft.Spec) bool { return x != nil && x.KeepsRemainders(s.DType) }
	return size(a) == size(b) && keeps(a) == keeps(b)
}

// compareTokens compares the tokens of a plan's forecasts with those of its stages, of which s is the last.
func (q *promise) compareTokens(s *Stage, t *dsl.Decoded) {
	var sum float64
	for x := s; x != nil; x = x.Before {
		if x == s || x.plan != nil && x.plan.Split == q.Split {
			sum += float64(x.Steps) * float64(x.StepTokens())
		}
	}
	if math.Abs(sum/q.Device.Tokens-1) > roundedSteps {
		attr := "tokens"
		for _, name := range []string{"steps", "flops", "epochs"} {
			if t.Has(name) {
				attr = name
			}
		}
		q.differs = append(q.differs, difference{"tokens", words.Count(q.Device.Tokens), words.Count(sum) + " in all its stages",
			t.At(attr), fmt.Sprintf("tokens = %s in %s", plainly(sum), q.where())})
	}
}

// plainly writes a number of tokens as one would: 200704, or 5e9.
func plainly(x float64) string {
	if x < 1e6 {
		return fmt.Sprintf("%.0f", x)
	}
	return strings.Replace(strconv.FormatFloat(x, 'g', 4, 64), "e+0", "e", 1)
}

// where names the plan with its place.
func (q *promise) where() string {
	return fmt.Sprintf("%s (%s)", q.Assumed.Addr, dsl.FileLine(q.Assumed.Range))
}

func orNone(word string) string {
	if word == "" {
		return "none"
	}
	return word
}

// list writes words as a list of the language.
func list(of []string) string {
	var quoted []string
	for _, w := range of {
		quoted = append(quoted, fmt.Sprintf("%q", w))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// size says what the plan promises of the stage.
func (q *promise) size() string {
	n := dsl.FormatBytes(q.Bytes(q.index))
	if q.Assumed.Budget {
		return n + " of model states"
	}
	return n
}

// warn says in what the stage is not as its plan takes it to be; "" if it is so.
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

// remedy says how its plan would come to a stage that fits the device. all is true if that says all: the stage is not what was
// planned, or was planned for another device.
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
