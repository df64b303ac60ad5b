package fineweb

import (
	"bytes"
	"errors"
	"fmt"
)

// textShard is a plain file: one document, or those that stand between separators. Blank ones among several are left
// out, but where documents are joined: there each counts, so that joined with their separator they are the file.
type textShard struct {
	spans
	source *reading
	file   file
	name   string // of its documents
	whole  bool   // one document
}

func openText(s *reading, f file, name string) (shard, error) {
	f, err := s.unpacked(f, name)
	if err != nil {
		return nil, err
	}
	t := &textShard{source: s, file: f, name: s.below(name)}
	if err := t.index(); err != nil {
		closeUnpacked(f)
		return nil, err
	}
	return t, nil
}

func (t *textShard) index() error {
	start, err := textStart(t.file)
	if err != nil {
		return err
	}
	var parts int64
	if t.source.Separator != "" {
		err = partsOf(t.file, start, []byte(t.source.Separator), func(at, end int64, part []byte) error {
			if !t.passes(part) && !(end == t.file.Size() && brokenOff(t.file)) { // one that is cut off
				t.add(at, end, parts)
			}
			parts++
			return nil
		})
	}
	if err != nil {
		return err
	}
	if t.whole = parts < 2; t.whole {
		t.spans = spans{}
		t.add(start, t.file.Size(), 0)
	}
	return damageOf(t.file, t.source, fmt.Sprintf("document %d", max(1, parts)))
}

// passes reports whether a part among several is left out: it is white space. A long one, nil, is taken for a document
// without a look.
func (t *textShard) passes(part []byte) bool {
	return !t.source.keepBlank && part != nil && len(part) <= window && len(bytes.TrimSpace(part)) == 0
}

func (t *textShard) warning() string { return damageWarning(t.file) }

func (t *textShard) Close() error { return t.file.Close() }

func (t *textShard) place(group int, row int64) string {
	for _, n := range t.rows[:group] {
		row += n
	}
	return fmt.Sprintf("document %d", row+1)
}

func (t *textShard) read(group int, from, n int64) ([]document, error) {
	docs := make([]document, n)
	return docs, t.spans.read(t.file, group, from, n, t.next, func(i, number int64, text []byte) {
		switch d := &docs[i]; {
		case text == nil:
			d.fail(errTooLong)
		case t.whole && brokenOff(t.file):
			d.fail(errors.New(t.file.(*unpackedFile).Damage))
		default:
			*d = document{id: t.id(number), text: string(text)}
		}
	})
}

// next cuts a document off the parts that stand in a row, and goes past those that are left out.
func (t *textShard) next(rest []byte) (doc, more []byte, passed int64) {
	if t.whole {
		return rest, nil, 0
	}
	for {
		var found bool
		if doc, more, found = bytes.Cut(rest, []byte(t.source.Separator)); !found {
			return doc, nil, passed
		}
		if !t.passes(doc) {
			return doc, more, passed
		}
		rest = more
		passed++
	}
}

// id names a document by its file and its place there, empty ones counted.
func (t *textShard) id(number int64) string { return fmt.Sprintf("%s#%d", t.name, number) }
