package memoryplan

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"stepflow/dsl"
	"stepflow/runtime/blocks"
	"stepflow/runtime/words"
)

// untrained says which stages do not train a part of the model.
func (x *Device) untrained(word string) string {
	var list []int
	for i, s := range x.Stages {
		if slices.Contains(s.Freeze, word) {
			list = append(list, i+1)
		}
	}
	if len(list) == 1 {
		return numbered(list) + " does not train them"
	}
	return numbered(list) + " do not train them"
}

// numbered names stages by their numbers.
func numbered(list []int) string {
	if len(list) == 1 {
		return fmt.Sprintf("stage %d", list[0])
	}
	text, last := "stages", len(list)-1
	for i, n := range list[:last] {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(" %d", n)
	}
	return fmt.Sprintf("%s and %d", text, list[last])
}

// leaveOut notes what the block allows and the plan does without: ways to freeze and store weights that no stage can have, and fused
// updates, with the reason.
func (x *Device) leaveOut(q *search, f *found) error {
	for _, text := range q.dropped {
		x.left = append(x.left, blocks.Line{About: "left out", Text: text})
	}
	fused := slices.ContainsFunc(q.options, func(o option) bool { return o.fused })
	if !fused || slices.ContainsFunc(f.stages, func(s chosen) bool { return s.Fused }) {
		return nil
	}
	var large []int // stages that would not fit
	var most int64
	old := 0
	for i, fresh := range f.layers() {
		at, least := shape{fresh, old}, int64(math.MaxInt64)
		old += fresh
		for _, j := range q.choices(at.old) {
			if !q.options[j].fused {
				continue
			}
			n, err := q.size(at, j)
			if errors.Is(err, errEndless) {
				return nil
			}
			if err != nil {
				return err
			}
			least = min(least, n)
		}
		if least > x.Limit {
			large, most = append(large, i+1), max(most, least)
		}
	}
	text := "update = \"fused\", which takes all sequences of a step at once: it would fit, and have no fewer layers computed again"
	if len(large) > 0 {
		text = fmt.Sprintf("update = \"fused\" in %s, which takes all %s of a step at once and would need %s; a lower batch_size allows it",
			numbered(large), words.Plural(q.batch, "sequence"), dsl.FormatBytes(most))
	}
	x.left = append(x.left, blocks.Line{About: "left out", Text: text})
	return nil
}
