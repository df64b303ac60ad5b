package fineweb

import (
	"fmt"
	"strings"

	"stepflow/foreign"
)

// Origin is where a document lies.
type Origin struct {
	Source string // of a mixture; "" of data that are not one
	File   string // as it may be shown
	Place  string // in the file: row group and row, line or document, or of files of tokens the first token
	ID     string // "" of files of tokens
}

func (o *Origin) String() string {
	s := o.File + ", " + o.Place
	if id := o.ID; id != "" {
		s = foreign.ShownStart(id, shownID) + " (" + s + ")"
	}
	if o.Source != "" {
		s = o.Source + ": " + s
	}
	return s
}

// shownID is how many bytes of a document's id are shown: an id may be as long as its maker likes.
const shownID = 100

// Extent is consecutive tokens of one document in a batch.
type Extent struct {
	*Origin
	At    int // position of the first of them in the batch
	N     int
	Token int // in the document
}

// Names lists the documents of a batch for a message, each once, the first few by name.
func (b *Batch) Names(most int) string {
	var names []string
	seen := map[*Origin]bool{}
	for _, x := range b.Documents {
		if seen[x.Origin] {
			continue
		}
		if seen[x.Origin] = true; len(names) < most {
			names = append(names, x.Origin.String())
		}
	}
	if more := len(seen) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, "; ")
}

// origin of a document of a piece.
func (c *Corpus) origin(d *document, p piece, row int) *Origin {
	o := &Origin{Source: c.part, File: Shown(c.files[p.file]), ID: d.id}
	if c.tokens != nil {
		file, token := c.tokens.place(d.at)
		o.File, o.ID, o.Place = Shown(c.files[file]), "", fmt.Sprintf("token %d", token)
		return o
	}
	o.Place = c.place(p, row)
	return o
}

// extents are the documents of the next sequence, which begins at a position of its batch.
func (s *Stream) extents(at int) (list []Extent) {
	left := s.seq
	for _, p := range s.parts {
		n := min(p.n, left)
		if k := len(list) - 1; k >= 0 && list[k].Origin == p.origin {
			list[k].N += n
		} else {
			list = append(list, Extent{p.origin, at, n, p.start.Token})
		}
		at, left = at+n, left-n
		if left == 0 {
			break
		}
	}
	return list
}
