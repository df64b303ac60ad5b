package evaluate

import (
	"stepflow/fineweb"
	"stepflow/runtime/blocks"
)

var (
	_ blocks.Storing = (*Evaluation)(nil)
	_ blocks.Hosted  = (*Evaluation)(nil)
)

// Rooms returns what is kept of a task's documents, with what the model made of them.
func (e *Evaluation) Rooms(int) []blocks.Room {
	t, ok := e.Evaluator.(*Tasks)
	if !ok {
		return nil
	}
	n := t.samplesBytes()
	return []blocks.Room{{Folder: e.folder, Most: n, Stays: n, Estimate: true}}
}

// samplesBytes is about what is written of the documents.
func (e *Tasks) samplesBytes() int64 {
	const request = 120 // the document that it asks about, and the answer
	return int64(e.asks) * request
}

// Phases returns what measuring takes: the weights, which are read a tensor at a time, and documents.
func (e *Evaluation) Phases(int) []blocks.Phase {
	p := blocks.Phase{Doing: "evaluating", Arena: e.takes.Peak}
	for _, x := range e.Params {
		p.Heap = max(p.Heap, x.Elems()*(4+e.DType.Size()))
	}
	if docs, _ := e.Documents(); docs != nil {
		p.Held = docs.Documents()
	}
	looks := false
	switch x := e.Evaluator.(type) {
	case *Tasks:
		p.Held += x.samplesBytes()
		looks = x.Leaks.looks
	case *Perplexity:
		looks = x.Leaks.looks
	}
	list := []blocks.Phase{p}
	if looks {
		list = append(list, e.contamination(p))
	}
	return list
}

// contamination is what a search for measured texts in the training data takes: the n-grams of these texts, and documents.
func (e *Evaluation) contamination(p blocks.Phase) blocks.Phase {
	p.Doing, p.Heap = "looking for contamination", 0
	trained := int64(0)
	for x := e.Stage; x != nil; x = x.Before {
		if x.Data != nil {
			trained = max(trained, x.Data.Documents())
		}
	}
	p.Held += trained
	if e.takes.Tokens > 0 {
		p.Held += fineweb.CheckBytes(e.takes.Tokens)
	}
	return p
}
