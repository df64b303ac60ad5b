package tasks

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"stepflow/foreign"
)

// Prompter makes the prompts of a task, document by document in order: which examples stand in one depends on how many
// were drawn for those before it.
type Prompter struct {
	task     *Task
	shots    int
	examples []*Document
	random   *Random
	several  bool // contexts instead of continuations are chosen from
}

// NewPrompter makes prompts with so many examples of some. first is the first document that is asked about.
func NewPrompter(t *Task, shots int, examples []*Document, seed uint64, first *Document) (*Prompter, error) {
	p := &Prompter{task: t, shots: shots, examples: examples, random: NewRandom(seed)}
	if t.Indices != nil && shots > 0 {
		p.examples = nil
		for _, i := range t.Indices {
			if i >= len(examples) {
				return nil, fmt.Errorf("%s: fewshot_indices names row %d of %d", t.Where, i, len(examples))
			}
			p.examples = append(p.examples, examples[i])
		}
	}
	if t.Output == Rolling {
		return p, nil
	}
	q, err := t.Text.question(first, t.Choice.given())
	if err != nil {
		return nil, first.at("doc_to_text", err)
	}
	if _, p.several = integer(q); p.several && t.Output != MultipleChoice {
		return nil, first.at("doc_to_text", errors.New("it makes a number, which only multiple_choice has a meaning for"))
	}
	return p, nil
}

// drawn are the examples of a document's prompt.
func (p *Prompter) drawn(d *Document) ([]*Document, error) {
	if p.shots == 0 {
		return nil, nil
	}
	not := func(list []*Document) []*Document {
		return slices.DeleteFunc(slices.Clone(list), func(x *Document) bool { return reflect.DeepEqual(x.Fields, d.Fields) })
	}
	excludes := p.task.excludes()
	few := func(need, have int) error {
		if need > p.shots {
			return fmt.Errorf("%s: %d examples are asked for, and one more in case the document itself is drawn: there are %d",
				p.task.Where, p.shots, have)
		}
		return fmt.Errorf("%s: %d examples are asked for, and there are %d", p.task.Where, p.shots, have)
	}
	if p.task.FirstN {
		pool := p.examples
		if excludes {
			pool = not(pool)
		}
		if p.shots > len(pool) {
			return nil, few(p.shots, len(pool))
		}
		return pool[:p.shots], nil
	}
	pick := func(pool []*Document, n int) ([]*Document, error) {
		chosen := p.random.Sample(len(pool), n)
		if chosen == nil {
			return nil, few(n, len(pool))
		}
		list := make([]*Document, n)
		for i, at := range chosen {
			list[i] = pool[at]
		}
		return list, nil
	}
	if !excludes {
		return pick(p.examples, p.shots)
	}
	list, err := pick(p.examples, p.shots+1) // one more, in case the document is among them
	if err != nil {
		return nil, err
	}
	if list = not(list); len(list) < p.shots {
		return pick(not(p.examples), p.shots)
	}
	return list[:p.shots], nil
}

// Asked is what a model is given about a document, and what is known of the answer.
type Asked struct {
	Contexts []string // one, or one for each choice
	Choices  []string // nil where there are none
	Target   any      // of a multiple choice its number or numbers or text; else a text
}

// Ask makes the prompt of a document.
func (p *Prompter) Ask(d *Document) (a *Asked, err error) {
	t := p.task
	a = &Asked{}
	if t.Choice.given() {
		if a.Choices, err = t.Choice.list(d); err != nil {
			return nil, d.at("doc_to_choice", err)
		}
	}
	if a.Target, err = t.Target.answer(d, t.Choice.given()); err != nil {
		return nil, d.at("doc_to_target", err)
	}
	if t.Output == Rolling {
		return a, nil
	}
	before, err := p.before(d)
	if err != nil {
		return nil, err
	}
	var prefix string
	if t.Prefix.given() {
		if prefix, err = t.Prefix.optional(d); err != nil {
			return nil, d.at("gen_prefix", err)
		}
	}
	questions, delimiter := a.Choices, ""
	if !p.several {
		q, err := t.Text.text(d)
		if err != nil {
			return nil, d.at("doc_to_text", err)
		}
		questions, delimiter = []string{q}, t.TargetDelimiter
	}
	for _, q := range questions {
		text := before + q
		if prefix != "" {
			if !joins(q, prefix) {
				text += delimiter
			}
			text += prefix
		}
		a.Contexts = append(a.Contexts, text)
	}
	return a, nil
}

// before is what stands before the question: the description, and the examples.
func (p *Prompter) before(d *Document) (string, error) {
	t := p.task
	var b strings.Builder
	if t.Initial.given() {
		text, err := t.Initial.optional(d)
		if err != nil {
			return "", d.at("description", err)
		}
		b.WriteString(text)
	}
	examples, err := p.drawn(d)
	if err != nil {
		return "", err
	}
	for _, x := range examples {
		if err := p.example(&b, x); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// example writes an example.
func (p *Prompter) example(b *strings.Builder, x *Document) error {
	t, f := p.task, &p.task.Example
	var choices []string
	var err error
	if f.Choice.given() {
		if choices, err = f.Choice.list(x); err != nil {
			return x.at("doc_to_choice", err)
		}
	}
	question, err := f.Text.question(x, t.Choice.given())
	if err != nil {
		return x.at("doc_to_text", err)
	}
	if p.several {
		n, ok := integer(question)
		if !ok || n < 0 || n >= len(choices) {
			return x.at("doc_to_text", fmt.Errorf("it makes %v, and there are %d choices, numbered from 0", question, len(choices)))
		}
		question, choices = choices[n], nil
	}
	q, ok := question.(string)
	if !ok {
		return x.at("doc_to_text", errors.New("it makes a number, not a text"))
	}
	target, err := f.Target.answer(x, t.Choice.given())
	if err != nil {
		return x.at("doc_to_target", err)
	}
	answer, ok, err := answerText(target, choices)
	if err != nil {
		return x.at("doc_to_target", err)
	}
	var prefix string
	if t.Shots.prefix.given() {
		if prefix, err = t.Shots.prefix.optional(x); err != nil {
			return x.at("gen_prefix", err)
		}
	}
	b.WriteString(q)
	if ok && prefix == "" || prefix != "" && !joins(q, prefix) {
		b.WriteString(f.TargetDelimiter)
	}
	switch {
	case ok:
		if prefix != "" && answer != "" && !joins(prefix, answer) {
			prefix += " "
		}
		b.WriteString(prefix + answer + t.Delimiter)
	default:
		b.WriteString(prefix)
	}
	return nil
}

// answerText is the text of an example's answer; ok is false where it has none.
func answerText(target any, choices []string) (s string, ok bool, err error) {
	if target == nil || target == "" {
		return "", false, nil
	}
	if n, is := integer(target); is && choices != nil {
		if n < 0 {
			n += len(choices)
		}
		if n < 0 || n >= len(choices) {
			return "", false, fmt.Errorf("it is %v, and there are %d choices", target, len(choices))
		}
		return choices[n], true, nil
	}
	if list := listOf(target); len(list) > 0 {
		target = list[0]
	}
	if s, is := target.(string); is {
		return s, true, nil
	}
	return "", false, fmt.Errorf("it makes %s, not a text", kindOf(target))
}

// joins reports whether two texts need nothing between them: the first is empty, or one has white space at the seam.
func joins(a, b string) bool {
	if a == "" || b == "" {
		return true
	}
	last, _ := utf8.DecodeLastRuneInString(a)
	first, _ := utf8.DecodeRuneInString(b)
	return isSpace(last) || isSpace(first)
}

// isSpace is Python's str.isspace.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// shownText is the beginning of a text, for a message.
func shownText(s string) string { return foreign.ShownStart(s, 60) }
