package data

import (
	"math"
	"slices"

	"stepflow/fineweb"
	"stepflow/runtime/blocks"
)

var _ blocks.Storing = (*Data)(nil)

// What of documents is in memory at a time: the text of 16 pieces of up to 4 MiB, and beside them the pages of a row group
// and, of a remote file, 16 blocks of 1 MiB.
const (
	piecesText = 64 << 20
	pagesText  = 16 << 20
)

// textOfBytes is about how many bytes of text a byte of a compressed file holds.
const textOfBytes = 3

// bytesOfToken is what is assumed where a plan estimates tokens.
const bytesOfToken = 4

// Text returns about how many bytes of text the data hold, most if that is less or they were not looked at.
func (n *Data) Text(most int64) (sum int64) {
	for _, part := range n.InFiles() {
		text := part.bytes * textOfBytes
		for _, size := range part.sizes {
			text = max(text, size.Tokens*bytesOfToken)
		}
		if part.Unseen != "" {
			text = most
		}
		if sum += min(text, most); sum >= most {
			return most
		}
	}
	return sum
}

// Documents returns about how many bytes of documents are in memory while the data are read, with the hashes by which copies
// are found.
func (n *Data) Documents() int64 {
	sum := int64(0)
	for _, part := range n.InFiles() {
		if sum += min(part.Text(piecesText), pagesText); part.Source.Deduplicate {
			const sighting = 54 // of a document: 24 bytes, in a list that grows
			sum += part.Rows * sighting
		}
		for _, r := range part.against {
			sum += r.indexBytes()
		}
	}
	return sum + n.Text(piecesText)
}

// indexBytes is about what the n-grams of the documents take in memory. Those of tasks are few.
func (r reference) indexBytes() int64 {
	if r.data == nil || slices.ContainsFunc(r.data.InFiles(), func(x *Data) bool { return x.Unseen != "" }) {
		return 0
	}
	const word = 5 // bytes, and a gram for each
	return fineweb.AgainstBytes(r.data.Text(math.MaxInt64) / word)
}

// Rooms returns what is kept of the data in caches when all of them are read: ranges of remote files, and tokens.
func (n *Data) Rooms(int) (list []blocks.Room) {
	if n.Parts != nil {
		return nil // its parts say it
	}
	add := func(folder string, bytes int64) {
		if folder != "" && bytes > 0 {
			list = append(list, blocks.Room{Folder: folder, Most: bytes, Stays: bytes, Estimate: true})
		}
	}
	if slices.ContainsFunc(n.Files, fineweb.IsRemote) {
		c := n.Source.Ranges()
		add(c.Dir, min(n.bytes, c.Limit))
	}
	if n.Source.TokenDir != "" {
		add(n.Source.TokenDir, n.keptTokens())
	}
	return list
}

// keptTokens returns about how many bytes the tokens of the data take, of each tokenizer that reads them.
func (n *Data) keptTokens() (sum int64) {
	const record = 60 // of a document, with its id
	kept := func(tokens, width int64) int64 { return tokens*width + n.Rows*record }
	if len(n.sizes) == 0 { // nothing counted them
		return kept(n.bytes*textOfBytes/bytesOfToken, 4)
	}
	for tok, size := range n.sizes {
		width := int64(4)
		if tok != nil && tok.VocabSize() <= 1<<16 {
			width = 2
		}
		sum += kept(size.Tokens, width)
	}
	return sum
}
