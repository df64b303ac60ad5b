package fineweb

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"stepflow/foreign"
)

// The copies of a corpus are the documents that are left out because their text occurs earlier, in the order of files and
// rows. To find them, all texts are read once, before the first is used; what was found is kept beside the other
// caches. Which document of several stays depends on the data alone, not on the order of reading, and its id says for
// all of them to which split the text belongs.

// maxDistinct bounds the documents in which copies are looked for: each takes copyBytes of memory meanwhile.
const (
	maxDistinct = 1 << 27
	copyBytes   = 24
)

// sighting is a document's text, by its hash, and its row in the corpus.
type sighting struct {
	sum [16]byte
	row int64
}

// Copies is the number of documents that are left out as copies of others. It reads the data, if that was not done
// before.
func (c *Corpus) Copies() (int64, error) {
	if !c.source.Deduplicate {
		return 0, nil
	}
	if err := c.findCopies(); err != nil {
		return 0, err
	}
	return c.copies.count, nil
}

// KnowsCopies reports whether the copies are known without reading the data.
func (c *Corpus) KnowsCopies() bool {
	if c.source.Deduplicate && c.copies == nil {
		c.copies = c.keptRows(c.copiesPath(), copiesMagic)
	}
	return !c.source.Deduplicate || c.copies != nil
}

// found is the number of copies, as far as they were looked for.
func (c *Corpus) found() int64 {
	if c.copies == nil {
		return 0
	}
	return c.copies.count
}

func (c *Corpus) findCopies() error {
	if c.KnowsCopies() {
		return nil
	}
	if c.Rows > maxDistinct {
		return fmt.Errorf("%v hold %d rows; deduplicate takes %d bytes of memory for each and looks at %d at most",
			c.source.Shown(), c.Rows, copyBytes, maxDistinct)
	}
	skipped := c.Skipped
	defer func() { c.Skipped = skipped }() // they are counted where they are read for use
	var all []sighting
	x := c.newRowSet()
	for _, p := range c.pieces() {
		docs, err := c.load(p)
		if err != nil {
			return err
		}
		for i := range docs {
			if d := &docs[i]; !d.drop && d.flaw == sound {
				sum := sha256.Sum256([]byte(d.text))
				all = append(all, sighting{[16]byte(sum[:16]), x.bases.row(p, i)})
			}
		}
	}
	slices.SortFunc(all, func(a, b sighting) int {
		if c := bytes.Compare(a.sum[:], b.sum[:]); c != 0 {
			return c
		}
		return int(a.row - b.row)
	})
	for i := 1; i < len(all); i++ {
		if all[i].sum == all[i-1].sum {
			x.add(all[i].row)
		}
	}
	c.copies = x
	x.keep(c.copiesPath(), copiesMagic, c.Rows)
	return nil
}

// single drops the documents of a piece that are copies.
func (c *Corpus) single(p piece, docs []document) error {
	if !c.source.Deduplicate {
		return nil
	}
	if err := c.findCopies(); err != nil {
		return err
	}
	c.copies.drop(p, docs)
	return nil
}

const copiesMagic = "STEPCOP1"

// copiesPath is where the copies are kept; "" for nowhere.
func (c *Corpus) copiesPath() string {
	return c.rowsPath("duplicates", func(h io.Writer) { fmt.Fprintln(h, copiesMagic) })
}

// rowsPath is where a set of rows is kept, in a folder of caches, under a hash of what it depends on: of the corpus, and
// of what else is written; "" for nowhere.
func (c *Corpus) rowsPath(folder string, what func(io.Writer)) string {
	dir := foreign.CacheDir()
	if dir == "" {
		return ""
	}
	h := sha256.New()
	what(h)
	s := &c.source
	fmt.Fprintf(h, "%s %q %q %q %t\n", s.Format, s.TextColumn, s.Separator, s.conditions(), s.SkipErrors)
	if s.keepBlank {
		fmt.Fprintln(h, "blank documents kept")
	}
	for i, f := range c.opened {
		if f != nil {
			fmt.Fprint(h, c.identity(i))
		}
	}
	return filepath.Join(dir, folder, hex.EncodeToString(h.Sum(nil)[:16]))
}
