package export

import (
	"stepflow/gpu"
	"stepflow/runtime/blocks"
)

var (
	_ blocks.Storing = (*Export)(nil)
	_ blocks.Hosted  = (*Export)(nil)
)

// smallFiles is more than the files of an export take beside tensors and the tokenizer: configurations, headers, the card.
const smallFiles = 256 << 10

// Rooms returns what the export writes beside what lies in its folder, which is replaced at the end.
func (e *Export) Rooms(int) []blocks.Room {
	if e.form == nil {
		return nil
	}
	small := smallFiles + e.Stage.Tokenizer.FileSize()
	n := gpu.Sum(e.form.bytes(), small)
	r := blocks.Room{Folder: e.folder.Real, Most: max(0, n-e.holds.Left), Stays: n - e.holds.Left, Unsure: small}
	for _, f := range e.holds.Ours {
		r.Frees += f.Size
	}
	return []blocks.Room{r}
}

// Phases returns what the export takes of the host's memory: tensors pass through in pieces.
func (e *Export) Phases(int) []blocks.Phase {
	if e.form == nil {
		return nil
	}
	return []blocks.Phase{{Doing: "exporting", Heap: pieces + 2*e.Stage.Tokenizer.FileSize()}}
}

// pieces is what the pieces of a tensor take: a MiB as it is stored and as numbers, and of a GGUF file 2^20 numbers as they
// are read, as numbers and as they are written.
const pieces = 12 << 20
