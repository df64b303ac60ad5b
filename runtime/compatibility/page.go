package compatibility

import (
	"fmt"
	"slices"
	"strings"
)

// rows and columns of the page's first table: choices on these axes, each with each.
var (
	rows    = []Choices{Every("optimizer"), Every("adapter"), Every("grow"), Every("frozen_dtype"), Any("update", "fused")}
	columns = []Choices{Any("precision", "fp32"), Any("precision", "bf16"), Any("state_dtype", "int8"), Any("update", "fused"),
		Any("micro_batch_size", PartOfBatch), Every("frozen_dtype"), Any("adapter", "lora"), Any("adapter", "relora"),
		Any("adapter", "sltrain"), Any("moments", "mapped"), Any("device", "cpu"), Any("device", "cuda")}
)

// Markdown is the part of docs/methods.md that shows the table: what goes with what, and why not.
func Markdown() string {
	var b strings.Builder
	line := func(cells ...string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	head := []string{""}
	for _, c := range columns {
		head = append(head, c.show())
	}
	line(head...)
	b.WriteString("|---|" + strings.Repeat(":-:|", len(columns)) + "\n")
	for _, r := range rows {
		for _, x := range r.Of {
			one := Any(r.Axis, x)
			cells := []string{one.show()}
			for _, c := range columns {
				cells = append(cells, together(one, c))
			}
			line(cells...)
		}
	}
	b.WriteString("\nWhat the numbers stand for, and what else cannot be combined:\n\n")
	line("", "this", "with this", "why not", "instead")
	b.WriteString("|--:|---|---|---|---|\n")
	for i, r := range Rules {
		words := strings.NewReplacer("{"+r.A.Axis+"}", r.A.either(), "{"+r.B.Axis+"}", r.B.either())
		line(fmt.Sprint(i+1), r.A.show(), r.B.show(), words.Replace(r.Why), words.Replace(r.Instead))
	}
	return b.String()
}

// together is what a cell says of two choices: yes, or the numbers of the rules that refuse some of it.
func together(a, b Choices) string {
	if a.Axis == b.Axis {
		return ""
	}
	var why []string
	for i, r := range Rules {
		if r.A.meets(a) && r.B.meets(b) || r.A.meets(b) && r.B.meets(a) {
			why = append(why, fmt.Sprint(i+1))
		}
	}
	if why == nil {
		return "yes"
	}
	return "no (" + strings.Join(why, ", ") + ")"
}

// meets reports whether one of the choices is among others.
func (c Choices) meets(o Choices) bool {
	return c.Axis == o.Axis && slices.ContainsFunc(c.Of, func(x string) bool { return slices.Contains(o.Of, x) })
}

// show writes choices as a pipeline does.
func (c Choices) show() string {
	all, name := language[c.Axis], c.Axis
	if name == "adapter" {
		name = "peft"
	}
	switch {
	case c.Of[0] == Nothing:
		return "no `" + c.Axis + "`"
	case c.Axis == "device":
		return "`-device " + c.Of[0] + "`"
	case all == nil:
		return "`" + c.Axis + "` " + c.Of[0]
	case len(c.Of) > 1 && slices.Equal(c.Of, all()):
		return "`" + c.Axis + "`"
	case slices.Contains([]string{"optimizer", "adapter", "grow"}, c.Axis):
		return name + " " + c.either()
	}
	return "`" + name + "` " + c.either()
}

// either lists choices in a sentence.
func (c Choices) either() string {
	last := len(c.Of) - 1
	if language[c.Axis] == nil && last == 0 {
		return c.Of[0]
	}
	if last == 0 {
		return "`" + c.Of[0] + "`"
	}
	return "`" + strings.Join(c.Of[:last], "`, `") + "` or `" + c.Of[last] + "`"
}
