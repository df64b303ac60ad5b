package task

import (
	"context"
	"slices"

	"stepflow/tasks"
)

// Place is where a document lies.
type Place string

func (p Place) String() string { return string(p) }

// Compared visits the texts of the documents that are looked for in training data, task by task, until visit returns false.
func (a *Asked) Compared(visit func(text string, at Place) (more bool, err error)) error {
	for _, r := range a.questions.Tasks {
		var documents []*tasks.Document
		for _, x := range r.Items {
			documents = append(documents, x.Document)
		}
		texts, err := r.Task.Compared(documents)
		if err != nil {
			return err
		}
		for i, text := range texts {
			if more, err := visit(text, Place(documents[i].Where)); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// Contaminated notes the share of the n-grams of each document that were trained on. found gives the n-grams of a document
// and those of them that were found, by its number among those that Compared visits.
func (a *Asked) Contaminated(found func(document int) (grams, found int)) {
	n := 0
	for _, r := range a.questions.Tasks {
		for _, x := range r.Items {
			if grams, of := found(n); grams > 0 {
				share := float64(of) / float64(grams)
				x.Contamination = &share
			}
			n++
		}
	}
}

// Names lists the tasks and groups that have results.
func (a *Asked) Names() (list []string) {
	for _, r := range a.questions.Tasks {
		list = append(list, r.Task.Name)
	}
	for name := range a.suite.all.Groups {
		list = append(list, name)
	}
	return list
}

// Of reports whether a document is one of a task, or of a group, by its number among those that Compared visits.
func (a *Asked) Of(name string) func(document int) bool {
	leaves, _ := a.suite.all.Leaves(name)
	type span struct{ from, to int }
	var mine []span
	n := 0
	for _, r := range a.questions.Tasks {
		if slices.ContainsFunc(leaves, func(t *tasks.Task) bool { return t.Name == r.Task.Name }) {
			mine = append(mine, span{n, n + len(r.Items)})
		}
		n += len(r.Items)
	}
	return func(document int) bool {
		return slices.ContainsFunc(mine, func(s span) bool { return s.from <= document && document < s.to })
	}
}

// Texts visits the texts of all documents of the tasks that are looked for in training data, until visit returns false.
func (s *Suite) Texts(ctx context.Context, visit func(text string) bool) error {
	for _, x := range s.leaves {
		documents, err := read(ctx, x.eval, s.Limit)
		if err != nil {
			return err
		}
		texts, err := x.Compared(documents)
		if err != nil {
			return err
		}
		for _, text := range texts {
			if !visit(text) {
				return nil
			}
		}
	}
	return nil
}
