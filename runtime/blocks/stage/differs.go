package stage

import (
	"cmp"
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
	"stepflow/runtime/blocks/optimizer"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
)

// difference is an attribute with its values in the plan and in the stage.
type difference struct {
	attr, there, here string
	at                hcl.Range // in the stage
	write             string
}

// compare notes how the stage differs from what the plan takes it to be.
func (q *promise) compare(s *Stage, p *blocks.Planned, d *dsl.Decoded) {
	t, a := d.Block("train"), &q.Assumed
	if a.DType != s.DType {
		there := program.Precision(a.DType)
		q.add(d, "precision", there, program.Precision(s.DType), q.take("precision", "", quoted(there)))
	}
	q.compareOptimizer(s, p, t)
	if q.index > 0 {
		q.compareFrozen(s, d)
	}
	if a.Budget {
		return
	}
	number := func(at *dsl.Decoded, attr, key string, there, here int) {
		if there != here {
			q.add(at, attr, fmt.Sprint(there), fmt.Sprint(here), q.take(attr, key, fmt.Sprint(there)))
		}
	}
	x := q.Device.Stages[q.index]
	key := fmt.Sprintf("[%d]", q.index)
	number(t, "sequence_length", "", a.Seq, s.Seq)
	number(t, "batch_size", "", a.Batch, s.Batch)
	if here := t.Str("update"); here != x.Update {
		q.add(t, "update", x.Update, here, q.take("update", key, quoted(x.Update)))
	} else if !s.AutoMicro && !s.Fused {
		number(t, "micro_batch_size", key, x.Fit.Micro, s.Micro)
	}
	if s.Checkpointing != "auto" && s.Recompute != x.Fit.Recompute {
		q.add(t, "activation_checkpointing", x.Checkpointing, s.Checkpointing,
			q.take("activation_checkpointing", key, quoted(x.Checkpointing)))
	}
	if g := s.Grow; g != nil && g.Method == a.Growth && g.Position != a.Position {
		q.add(d.Block("grow"), "position", a.Position, g.Position, q.take("position", "", quoted(a.Position)))
	}
	if q.index == len(q.Layers)-1 {
		q.compareTokens(s, t)
	}
}

// add notes a difference.
func (q *promise) add(at *dsl.Decoded, attr, there, here, write string) {
	q.differs = append(q.differs, difference{attr, there, here, at.At(attr), write})
}

// take is an attribute of the stage that takes what the plan says. In another module it is the value, as the language writes it.
func (q *promise) take(attr, key, value string) string {
	if q.Assumed.Addr.Module != "" {
		return fmt.Sprintf("%s = %s", attr, value)
	}
	return fmt.Sprintf("%s = %s.%s%s", attr, q.Assumed.Addr, attr, key)
}

// quoted writes a word as the language does; null for "".
func quoted(word string) string {
	if word == "" {
		return "null"
	}
	return strconv.Quote(word)
}

// compareOptimizer compares the types of the optimizers, and what they keep.
func (q *promise) compareOptimizer(s *Stage, p *blocks.Planned, t *dsl.Decoded) {
	a := &q.Assumed
	ref, _, _ := t.Ref("optimizer")
	same := func(o optim.Optimizer) bool {
		return fmt.Sprintf("%T", o) == fmt.Sprintf("%T", a.Rule) && s.each(o, a.DType) == s.each(a.Rule, a.DType)
	}
	if same(s.Optimizer) {
		return
	}
	there, here := "an adamw", ref.String()
	write := fmt.Sprintf("optimizer = %s in %s", here, q.where())
	if a.Optimizer != (addr.Addr{}) {
		there = a.Optimizer.String()
		write = q.take("optimizer", "", there)
	}
	if a.StateDType != "" {
		take := q.take("state_dtype", "", quoted(a.StateDType))
		mine := p.World.Find(ref)
		if rule, keeps := mine.Block.(*optimizer.Optimizer).Keeping(a.StateDType); keeps && same(rule) {
			write := fmt.Sprintf("%s in %s (%s)", take, ref, dsl.FileLine(mine.Range))
			if ref == a.Optimizer {
				write = fmt.Sprintf("%s in an optimizer block of the stages' own, which is otherwise like %s", take, ref)
			}
			q.add(t, "state_dtype", a.StateDType, fmt.Sprintf("fp32 of %s", ref), write)
			return
		}
		there += " with moments in " + a.StateDType
		write = fmt.Sprintf("an optimizer block like %s with %s, and name it", a.Optimizer, take)
	}
	size := func(o optim.Optimizer) string {
		return fmt.Sprintf(" (%.3g bytes a trainable parameter)", s.each(o, a.DType))
	}
	q.add(t, "optimizer", there+size(a.Rule), here+size(s.Optimizer), write)
}

// each is how many bytes a parameter of the stage takes on average if all train in a type.
func (s *Stage) each(o optim.Optimizer, t gpu.DType) float64 {
	var bytes, n float64
	for _, x := range s.Params {
		bytes += float64(optim.TrainBytes(o, x, t))
		n += float64(x.Elems())
	}
	return bytes / n
}

// compareFrozen compares what a stage that continues another freezes, how it stores that, and its adapters.
func (q *promise) compareFrozen(s *Stage, d *dsl.Decoded) {
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
		there := dsl.Show(blocks.Strings(q.Freeze(q.index)))
		q.add(d, "freeze", there, dsl.Show(blocks.Strings(d.Strs("freeze"))), take("freeze", there))
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
		q.add(d, "adapter", there, here, write)
	}
	stored := q.FrozenDType(q.index)
	if t := program.FrozenDTypes[stored]; t != s.FrozenDType && !(t == s.DType && s.FrozenDType == 0) {
		write := take("frozen_dtype", quoted(stored))
		if a.Budget && stored == "" {
			write = fmt.Sprintf("frozen_dtype = %q in %s", d.Str("frozen_dtype"), q.where())
		}
		q.add(d, "frozen_dtype", cmp.Or(stored, "none"), cmp.Or(d.Str("frozen_dtype"), "none"), write)
	}
}

// alike reports whether adapters take the same on the stage's frozen projections.
func alike(a, b *peft.Spec, s *Stage) bool {
	size := func(x *peft.Spec) int64 {
		if x == nil {
			return 0
		}
		as, err := x.Match(s.Params, func(p ops.Param) bool { return s.Frozen[p.ID] })
		if err != nil {
			return -1
		}
		return ops.Count(peft.Params(as), nil)
	}
	keeps := func(x *peft.Spec) bool { return x != nil && x.KeepsRemainders(s.DType) }
	return size(a) == size(b) && keeps(a) == keeps(b)
}

// compareTokens compares the tokens that a plan forecasts for with the tokens that its stages train on; s is the last of them.
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
