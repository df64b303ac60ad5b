package fineweb

import (
	"fmt"
	"strings"
)

// BadDocument is an error of the data, with its place.
type BadDocument struct {
	File     string
	RowGroup int
	Row      int    // inside the row group; -1 if the whole group is meant
	Place    string // of a document: the row group and row, the line, or the document's number
	Err      error
}

func (e *BadDocument) Error() string {
	if e.Row < 0 {
		return fmt.Sprintf("%s, row group %d: %v", e.File, e.RowGroup, e.Err)
	}
	return fmt.Sprintf("%s, %s: %v", e.File, e.Place, e.Err)
}

func (e *BadDocument) Unwrap() error { return e.Err }

// bad is an error of a row of a piece.
func (c *Corpus) bad(p piece, row int, err error) error {
	return &BadDocument{File: Shown(c.files[p.file]), RowGroup: p.group, Row: int(p.from) + row,
		Place: c.place(p, row), Err: err}
}

// place is where a row of a piece lies in its file: its row group and row, its line, or its document.
func (c *Corpus) place(p piece, row int) string {
	if s, ok := c.shards[p.file].(interface {
		place(group int, row int64) string
	}); ok {
		return s.place(p.group, p.from+int64(row))
	}
	return fmt.Sprintf("row group %d, row %d", p.group, int(p.from)+row)
}

// flawed is an error of a document that on_error = "skip" would pass over.
func (c *Corpus) flawed(p piece, row int, err error) error {
	return c.bad(p, row, fmt.Errorf(passOver, err))
}

const passOver = `%w; set on_error = "skip" to pass over such documents`

// NoDocuments is the error of data that hold nothing to read, as far as their filters, their split and on_error let it.
type NoDocuments struct{ error }

// none says why no document of a split was found, all of them having been looked at.
func (c *Corpus) none(split Split) error {
	shown := strings.Join(c.source.Shown(), ", ")
	switch n := c.contaminated(); {
	case n > 0 && split != Validation:
		return NoDocuments{fmt.Errorf("no document of %s is left to train on: %d share n-grams with those that "+
			"decontaminate names", shown, n)}
	case c.elsewhere > 0 && split == Validation:
		return NoDocuments{fmt.Errorf("no document of %s is held out: raise validation_fraction", shown)}
	case c.elsewhere > 0:
		return NoDocuments{fmt.Errorf("all documents of %s are held out: lower validation_fraction", shown)}
	case c.dropped > 0 && c.source.conditions() != "": // blank lines are left out too
		return NoDocuments{fmt.Errorf("no document of %s passes the filters%s", shown, c.source.quotedConditions())}
	case c.Skipped > 0:
		return NoDocuments{fmt.Errorf(`on_error = "skip" passes over all documents of %s: `+
			`data head without it says what is wrong with the first`, shown)}
	}
	return NoDocuments{fmt.Errorf("%s holds no documents", shown)}
}
