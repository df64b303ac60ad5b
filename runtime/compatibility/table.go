package compatibility

import (
	"fmt"
	"slices"
	"strings"

	"stepflow/dsl"
)

// Rule refuses a choice of A together with a choice of B.
type Rule struct {
	A, B    Choices
	At      string // the axis whose attribute the error points at
	Title   string
	Why     string // with {AXIS} for what is chosen
	Instead string // what to do
}

// Choices are some of the values that an axis can have.
type Choices struct {
	Axis string
	Of   []string
}

// Any returns choices of an axis.
func Any(axis string, of ...string) Choices { return Choices{axis, of} }

// Every returns all choices of an axis of the language.
func Every(axis string) Choices { return Choices{axis, language[axis]()} }

// language has the choices of an axis as the language lists them. An axis that is not here has the choices that rules name.
var language = map[string]func() []string{
	"optimizer": func() []string { return dsl.KindOf("optimizer").Types },
	"adapter":   func() []string { return dsl.KindOf("peft").Types },
	"grow":      func() []string { return block("grow").Label },
	"moments":   func() []string { return words(block("grow").Attrs, "moments") },
	"update":    func() []string { return words(block("train").Attrs, "update") },

	"accumulate_dtype": func() []string { return words(block("train").Attrs, "accumulate_dtype") },
	"state_dtype":      func() []string { return words(dsl.KindOf("optimizer").Attrs, "state_dtype") },
	"precision":        func() []string { return words(dsl.KindOf("stage").Attrs, "precision") },
	"frozen_dtype":     func() []string { return words(dsl.KindOf("stage").Attrs, "frozen_dtype") },
}

// block is a block inside a stage.
func block(name string) dsl.Nested {
	list := dsl.KindOf("stage").Blocks
	return list[slices.IndexFunc(list, func(n dsl.Nested) bool { return n.Name == name })]
}

// words are those that an attribute takes.
func words(attrs []dsl.Attr, name string) []string {
	return attrs[slices.IndexFunc(attrs, func(a dsl.Attr) bool { return a.Name == name })].OneOf
}

// Choices that the language has no word for: an attribute that is not given, or is, whatever its value; and a micro-batch that
// is not the whole batch.
const (
	Nothing     = "nothing"
	Given       = "given"
	PartOfBatch = "less than a batch"
)

// MoreThan is the choice of a number above what a device takes.
func MoreThan(most int) string { return fmt.Sprintf("more than %d", most) }

// Setup is what a stage chooses on each axis. On an axis that is not here, its choice is not known, or plays no role.
type Setup map[string][]string

// Refusal is a rule that a setup breaks, and the sentence to say so.
type Refusal struct {
	*Rule
	Text string
}

// Refused lists the rules that a setup breaks.
func (s Setup) Refused() (list []Refusal) {
	for i := range Rules {
		r := &Rules[i]
		if a, b := s.chosen(r.A), s.chosen(r.B); a != "" && b != "" {
			list = append(list, Refusal{r, r.text(a, b)})
		}
	}
	return list
}

// chosen is the first choice of a setup that is among these; "" for none.
func (s Setup) chosen(c Choices) string {
	for _, x := range s[c.Axis] {
		if slices.Contains(c.Of, x) {
			return x
		}
	}
	return ""
}

// text is what a rule says to the choices a and b.
func (r *Rule) text(a, b string) string {
	return strings.NewReplacer("{"+r.A.Axis+"}", a, "{"+r.B.Axis+"}", b).Replace(r.Why + " " + r.Instead)
}
