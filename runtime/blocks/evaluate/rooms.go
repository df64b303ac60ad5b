package evaluate

import (
	"stepflow/runtime/blocks"
)

var (
	_ blocks.Storing = (*Evaluation)(nil)
	_ blocks.Hosted  = (*Evaluation)(nil)
)

// Rooms returns what is kept of a task's documents, with what the model made of them.
func (e *Evaluation) Rooms() []blocks.Room {
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
	if t, ok := e.Evaluator.(*Tasks); ok {
		p.Held += t.samplesBytes()
	}
	return []blocks.Phase{p}
}
