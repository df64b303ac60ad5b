package export

import (
	"context"
	"io"

	"stepflow/gpu"
	"stepflow/runtime/blocks"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
)

var (
	_ blocks.Storing = (*Export)(nil)
	_ blocks.Hosted  = (*Export)(nil)
)

// smallFiles is more than the files of an export take beside tensors and the tokenizer: configurations, headers, the card.
const smallFiles = 256 << 10

// Rooms returns what the export writes beside what lies in its folder, which is replaced at the end.
func (e *Export) Rooms() []blocks.Room {
	if e.form == nil {
		return nil
	}
	n := gpu.Sum(e.form.bytes(), smallFiles+e.Stage.Tokenizer.FileSize())
	r := blocks.Room{Folder: e.folder.Real, Most: n, Stays: n}
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

// stored is a tensor that is written as it lies in a file, a piece at a time. as is its type, name what it is called when it
// is not finite.
func stored(ctx context.Context, f tensorFile, from, name string, t checkpoint.Tensor, flaw *forward.Flaw) checkpoint.Tensor {
	t.Stream = func(w io.Writer) error {
		return f.Pieces(from, func(b []byte, at int) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			flaw.LookInto(name, t.Shape, at, b, t.DType)
			_, err := w.Write(b)
			return err
		})
	}
	return t
}
