package tasks

import "fmt"

// Compared are the texts of documents that are looked for in training data: of each the question and the right answer, as
// a model that knows the answer would read them, or what doc_to_decontamination_query makes. What is the same for all
// documents is left out: the description, the examples and how an answer begins. Of several right answers it is the first;
// where none is among the choices, the question alone.
func (t *Task) Compared(documents []*Document) (texts []string, err error) {
	if t.Query.given() {
		for _, d := range documents {
			text, err := t.Query.text(d)
			if err != nil {
				return nil, d.at("doc_to_decontamination_query", err)
			}
			texts = append(texts, text)
		}
		return texts, nil
	}
	bare := *t
	bare.Initial, bare.Prefix = field{}, field{}
	r, err := NewRequests(&bare, 0, documents, nil, 0)
	if err != nil {
		return nil, fmt.Errorf("what of its documents is looked for in training data: %w", err)
	}
	for _, x := range r.Items {
		text, err := r.compared(x)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// compared is the question of a document with its right answer.
func (r *Requests) compared(x *Item) (string, error) {
	first := r.List[x.First]
	switch r.Task.Output {
	case MultipleChoice:
		if len(x.Gold) > 0 {
			first = r.List[x.First+x.Gold[0]]
		} else {
			first.Continuation = ""
		}
	case Generate:
		gold, err := r.Task.wanted(x)
		if err != nil {
			return "", x.Document.at("doc_to_target", err)
		}
		if len(gold) > 0 {
			first.Continuation = r.Task.TargetDelimiter + gold[0]
		}
	}
	return first.Context + first.Continuation, nil
}
