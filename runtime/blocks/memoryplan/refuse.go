package memoryplan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"stepflow/dsl"
)

// refuse says that nothing fits, what comes nearest to it, and what to change.
func (x *Device) refuse(d *dsl.Decoded) (string, error) {
	stages := d.Int("stages")
	layers := x.rules[0].model.NumHiddenLayers
	what := "No split"
	if stages > 0 {
		what = fmt.Sprintf("No split into stages = %d", stages)
	}
	text := fmt.Sprintf("%s of %d layers has all stages within %s (%d bytes", what, layers, dsl.FormatBytes(x.Memory), x.Memory)
	if reserve := x.Memory - x.Limit; reserve > 0 {
		text += fmt.Sprintf(", of which %s are for the driver", dsl.FormatBytes(reserve))
	}
	text += "), with micro-batches as small and as many layers computed again as can be."
	near, err := x.nearest(stages)
	if errors.Is(err, errEndless) {
		return text + " What the smallest plan takes would take too long to find. Raise device_memory, or shrink the model.", nil
	}
	if err != nil {
		return "", err
	}
	if near == nil {
		return text, nil
	}
	text += fmt.Sprintf(" The nearest takes %s (%d bytes), %s too much: layers %v, with %s.", dsl.FormatBytes(near.peak), near.peak,
		dsl.FormatBytes(near.peak-x.Limit), near.split, near.how)
	return text + " " + x.remedies(d, near), nil
}

// near is the smallest plan there is.
type near struct {
	split []int
	peak  int64
	how   string
}

// nearest finds the split of the smallest peak, of all optimizers, into so many stages, or into any number of them.
func (x *Device) nearest(stages int) (best *near, err error) {
	bounds := make([]int64, len(x.rules))
	order := make([]int, len(x.rules))
	for i, q := range x.rules {
		if _, bounds[i], err = q.guessSplit(stages, q.atLeast); err != nil {
			return nil, err
		}
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(bounds[a], bounds[b]) })
	for _, i := range order {
		if best != nil && bounds[i] >= best.peak {
			break
		}
		q := x.rules[i]
		split, peak, err := q.nearest(stages)
		if err != nil {
			return nil, err
		}
		if split != nil && (best == nil || peak < best.peak) {
			best = &near{split, peak, q.name}
		}
	}
	return best, nil
}

// remedies says what the block could allow, and what else makes a plan smaller.
func (x *Device) remedies(d *dsl.Decoded, near *near) string {
	var ways []string
	add := func(is bool, format string, args ...any) {
		if is {
			ways = append(ways, fmt.Sprintf(format, args...))
		}
	}
	q := x.rules[0].search
	staged := len(near.split) > 1 || d.Int("stages") == 0 && !checkStages(d, q.model.NumHiddenLayers, 2).HasErrors()
	add(true, "raise device_memory to %s", dsl.FormatBytes(roundUp(near.peak+x.Memory-x.Limit)))
	add(d.Int("stages") > 0 && d.Int("stages") < q.model.NumHiddenLayers, "leave stages out")
	add(!d.Given("updates"), "allow updates = [\"separate\", \"fused\"]")
	add(d.Given("updates") && slices.Contains(d.Strs("updates"), "fused") && q.batch > 1,
		"lower batch_size, which a fused update takes at once")
	add(staged && !slices.Contains(storedOf(d), "nf4") && q.refused("nf4") == "", "allow frozen_dtypes = [\"none\", \"nf4\"]")
	add(!d.Given("state_dtypes"), "allow state_dtypes = [\"fp32\", \"int8\"]")
	add(!allowsLean(d), "add an alternative that keeps little, such as a scale or an apollo_mini optimizer")
	add(staged && rank(q) > 1, "lower r of the adapters (now %d)", rank(q))
	add(staged && !d.Given("freezes"), "allow freezes = [[\"inherited\"], [\"inherited\", \"embeddings\"]]")
	add(q.seq > 1, "lower sequence_length")
	add(true, "shrink the model")
	text := strings.Join(ways[:len(ways)-1], ", ") + ", or " + ways[len(ways)-1] + "."
	return strings.ToUpper(text[:1]) + text[1:]
}

// allowsLean reports whether the block allows an optimizer whose states are much smaller than AdamW's.
func allowsLean(d *dsl.Decoded) bool {
	for _, x := range append([]*dsl.Decoded{d}, d.List("alternative")...) {
		if ref, _, ok := x.Ref("optimizer"); ok && slices.Contains([]string{"scale", "apollo_mini", "adafactor"}, ref.Type) {
			return true
		}
	}
	return false
}

// rank is the rank of the adapters; 0 if there are none.
func rank(q *search) int {
	if q.spec == nil {
		return 0
	}
	return q.spec.R
}

// roundUp is a number of bytes that is written without a loss: a multiple of 1/100 of its unit.
func roundUp(n int64) int64 {
	unit := int64(1 << 20)
	if n >= 10<<30 {
		unit = 1 << 30 / 8
	}
	return (n + unit - 1) / unit * unit
}
