package tokenizer

import (
	"math"

	"stepflow/runtime/blocks"
)

var (
	_ blocks.Storing = (*Tokenizer)(nil)
	_ blocks.Hosted  = (*Tokenizer)(nil)
)

// tokenBytes is about what a token of a tokenizer that is trained takes in its file, with its merge.
const tokenBytes = 80

// wordsBytes is about what counting the words of so many bytes of text takes, and merging their pairs. How many distinct words
// there are follows Heaps' law; the constants are those of English text of the web.
func wordsBytes(text int64) int64 {
	const k, beta, word = 8.5, 0.6, 600
	return int64(k*math.Pow(float64(text)/5, beta)) * word
}

// FileSize returns the bytes of the tokenizer's file, about those of one that has not been trained.
func (t *Tokenizer) FileSize() int64 {
	if t.size == 0 {
		tok := t.Ready()
		if tok == nil {
			return int64(t.VocabSize) * tokenBytes
		}
		t.size = int64(len(tok.JSON()))
	}
	return t.size
}

// Rooms returns the file of a tokenizer that is trained.
func (t *Tokenizer) Rooms(int) []blocks.Room {
	n := t.FileSize()
	return []blocks.Room{{Folder: t.world.Folder(t.Addr), Most: n, Stays: n, Estimate: true}}
}

// Phases returns what counting the words of a text and merging their pairs takes.
func (t *Tokenizer) Phases(int) []blocks.Phase {
	return []blocks.Phase{{Doing: "tokenizing", Held: t.TrainOn.Documents(), Heap: wordsBytes(t.TrainOn.Text(t.MaxBytes))}}
}
