package tasks

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"stepflow/fineweb"
)

// Request is a question to a model about a document.
type Request struct {
	Document     int    // among those that are asked about, from 0
	Context      string // what the model is given; of a rolling likelihood ""
	Continuation string // what is scored; "" where the model writes
}

// Item is a document with the requests about it.
type Item struct {
	Document *Document
	Asked    *Asked
	First, N int // its requests

	Gold    []int // numbers of the right choices; none where a number is out of range
	Several bool  // several may be right

	// Contamination is the share of the n-grams of its text (Task.Compared) that were trained on; nil where that is not
	// known, or it is too short to have some.
	Contamination *float64
}

// Clean reports whether nothing of the document is known to have been trained on.
func (x *Item) Clean() bool { return x.Contamination == nil || *x.Contamination == 0 }

// Notes count what is odd about the documents, though they are measured.
type Notes struct {
	EmptyChoice int // documents with an empty choice
	EqualChoice int // documents with two equal choices
	NoGold      int // documents whose right answer is not among the choices, or that have none: they count as answered wrong
	Cut         int // requests whose context was cut at its beginning, to fit the model

	FirstNoGold string // where the first document of NoGold is, and what is wrong with it
}

// Requests are all that is asked for a task.
type Requests struct {
	Task  *Task
	Items []*Item
	List  []Request
	Shots int
	Notes Notes
}

// NewRequests makes the requests for documents, with so many examples of some in each prompt.
func NewRequests(t *Task, shots int, documents, examples []*Document, seed uint64) (*Requests, error) {
	if t.Output == Rolling && shots > 0 {
		return nil, fmt.Errorf("%s: a task of type %s has no examples: num_fewshot is 0 there", t.Where, Rolling)
	}
	sameColumns(documents, examples)
	p, err := NewPrompter(t, shots, examples, seed, documents[0])
	if err != nil {
		return nil, err
	}
	r := &Requests{Task: t, Shots: shots}
	for i, d := range documents {
		a, err := p.Ask(d)
		if err != nil {
			return nil, err
		}
		x := &Item{Document: d, Asked: a, First: len(r.List)}
		pairs, err := t.pairs(a, p.several)
		if err != nil {
			return nil, d.at("doc_to_target", err)
		}
		for _, pair := range pairs {
			r.List = append(r.List, Request{i, pair[0], pair[1]})
		}
		x.N = len(r.List) - x.First
		switch l := listOf(a.Target); {
		case t.Output == MultipleChoice:
			if err := r.judge(x, p); err != nil {
				return nil, err
			}
		case t.Output == Generate && a.Target == nil:
			return nil, d.at("doc_to_target", errors.New("it makes null, and there is no right answer to compare with"))
		case l != nil && len(l) == 0:
			r.noGold(x)
		}
		r.Items = append(r.Items, x)
	}
	return r, nil
}

// Unanswered is an error if no document of a multiple choice has a right answer, or no document that is to be predicted has a
// text, so that there is nothing to measure.
func (r *Requests) Unanswered() error {
	if r.Task.Output == Rolling && !slices.ContainsFunc(r.Items, func(x *Item) bool { return x.Asked.Target != "" }) {
		return fmt.Errorf("%s. No document has a text, so there is nothing to predict",
			r.Items[0].Document.at("doc_to_target", errors.New("it makes an empty text")))
	}
	if r.Task.Output != MultipleChoice || r.Notes.NoGold < len(r.Items) {
		return nil
	}
	return fmt.Errorf("%s. No document has a right answer. doc_to_target takes the number of the right choice, from 0, or "+
		`its text; {{"ABCD".index(column)}} makes the number of a letter`, r.Notes.FirstNoGold)
}

// noGold counts a document whose right answer is not known.
func (r *Requests) noGold(x *Item) {
	if r.Notes.NoGold++; r.Notes.NoGold > 1 {
		return
	}
	why := errors.New("there is no right answer")
	switch v := x.Asked.Target.(type) {
	case string:
		why = fmt.Errorf("it makes %.60q, which is none of the %d choices", v, len(x.Asked.Choices))
	case int64:
		why = fmt.Errorf("it makes %d, and the choices are numbered from 0 to %d", v, len(x.Asked.Choices)-1)
	}
	r.Notes.FirstNoGold = x.Document.at("doc_to_target", why).Error()
}

// sameColumns makes what is a column of one of some documents and examples a column of all: a field that names it never
// stands for itself in one and for the column in another.
func sameColumns(lists ...[]*Document) {
	all := map[string]bool{}
	for _, list := range lists {
		for _, d := range list {
			for _, f := range d.Fields {
				all[f.Name] = true
			}
		}
	}
	for _, list := range lists {
		for _, d := range list {
			d.columns = all
		}
	}
}

// pairs are the contexts and continuations about a document.
func (t *Task) pairs(a *Asked, several bool) (list [][2]string, err error) {
	switch t.Output {
	case Generate:
		return [][2]string{{a.Contexts[0], ""}}, nil
	case Rolling, Likelihood:
		s, ok := a.Target.(string)
		if !ok {
			return nil, fmt.Errorf("it makes %s, not a text", kindOf(a.Target))
		}
		if t.Output == Rolling {
			return [][2]string{{"", s}}, nil
		}
		return [][2]string{{a.Contexts[0], s}}, nil
	}
	for i, c := range a.Choices {
		if several {
			list = append(list, [2]string{a.Contexts[i], t.TargetDelimiter + asText(a.Target)})
		} else {
			list = append(list, [2]string{a.Contexts[0], t.TargetDelimiter + c})
		}
	}
	if t.has("acc_mutual_info") {
		for _, c := range a.Choices {
			list = append(list, [2]string{"", t.TargetDelimiter + c})
		}
	}
	return list, nil
}

// judge finds the right choices of a document, and what is odd about the choices.
func (r *Requests) judge(x *Item, p *Prompter) error {
	t, d, choices := r.Task, x.Document, x.Asked.Choices
	if len(choices) == 0 {
		return d.at("doc_to_choice", errors.New("it makes an empty list: there is nothing to choose from"))
	}
	seen, empty, equal := map[string]bool{}, false, false
	for i, c := range choices {
		if c == "" && !p.several && t.TargetDelimiter == "" {
			return d.at("doc_to_choice", fmt.Errorf("choice %d is empty, and so is target_delimiter: there is nothing to score", i))
		}
		empty, equal, seen[c] = empty || c == "", equal || seen[c], true
	}
	r.Notes.EmptyChoice += count(empty)
	r.Notes.EqualChoice += count(equal)
	gold := x.Asked.Target
	if p.several {
		var err error
		if gold, err = t.Text.question(d, true); err != nil {
			return d.at("doc_to_text", err)
		}
	}
	list := fineweb.List{gold}
	if l := listOf(gold); l != nil {
		list, x.Several = l, true
	}
	sound := len(list) > 0
	for _, g := range list {
		n, ok := integer(g)
		if s, is := g.(string); is && !x.Several {
			n, ok = slices.Index(choices, s), true
		}
		if !ok {
			return d.at("doc_to_target", fmt.Errorf("it makes %s, which is neither the number of a choice nor a choice", shownValue(g)))
		}
		if n < 0 || n >= len(choices) {
			sound = false
			continue
		}
		if !slices.Contains(x.Gold, n) {
			x.Gold = append(x.Gold, n)
		}
	}
	if !sound {
		r.noGold(x)
	}
	return nil
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// listOf is a list, or nil.
func listOf(v any) fineweb.List {
	l, _ := v.(fineweb.List)
	return l
}

// asText is Python's str of a value that a template or a column gave.
func asText(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".eEnI") {
			s += ".0"
		}
		return s
	}
	return fmt.Sprint(v)
}
