package fineweb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"unicode/utf8"
)

// Corpus is an opened source. It is not safe for concurrent use; open one a goroutine.
type Corpus struct {
	source  Source
	files   []string
	shards  []shard
	groups  []groupRef
	Rows    int64
	Skipped int64 // documents and whole row groups passed over by on_error = "skip"
}

type groupRef struct {
	file, group int
	rows        int64
}

// Open lists the files and reads their structure; no documents yet.
func Open(s Source) (*Corpus, error) {
	if s.TextColumn == "" {
		s.TextColumn = "text"
	}
	if s.IDColumn == "" {
		s.IDColumn = "id"
	}
	open := formats[s.Format]
	if open == nil {
		return nil, fmt.Errorf("no data format %q", s.Format)
	}
	files, err := s.Files()
	if err != nil {
		return nil, err
	}
	c := &Corpus{source: s.pinned(files), files: files}
	var errs []error
	for i, f := range files {
		sh, err := open(&c.source, f)
		if err != nil {
			if s.SkipErrors {
				c.Skipped++
				c.shards = append(c.shards, nil)
				continue
			}
			errs = append(errs, fmt.Errorf("%s: %w", f, err))
			continue
		}
		c.shards = append(c.shards, sh)
		for g, n := range sh.groups() {
			c.groups = append(c.groups, groupRef{i, g, n})
			c.Rows += n
		}
	}
	if len(errs) > 0 {
		c.Close()
		return nil, errors.Join(errs...)
	}
	if c.Rows == 0 {
		c.Close()
		return nil, fmt.Errorf("%v hold no rows", s.Patterns)
	}
	return c, nil
}

// Source is what was opened, with the hub's files at their commits: it opens the same files again.
func (c *Corpus) Source() Source { return c.source }

// Files lists the files of the corpus.
func (c *Corpus) Files() []string { return c.files }

// Groups is the number of row groups.
func (c *Corpus) Groups() int { return len(c.groups) }

// Close closes the files.
func (c *Corpus) Close() error {
	var errs []error
	for _, s := range c.shards {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// BadDocument is an error of the data, with its place.
type BadDocument struct {
	File     string
	RowGroup int
	Row      int // inside the row group; -1 if the whole group is meant
	Err      error
}

func (e *BadDocument) Error() string {
	if e.Row < 0 {
		return fmt.Sprintf("%s, row group %d: %v", e.File, e.RowGroup, e.Err)
	}
	return fmt.Sprintf("%s, row group %d, row %d: %v", e.File, e.RowGroup, e.Row, e.Err)
}

func (e *BadDocument) Unwrap() error { return e.Err }

var (
	errEmpty   = errors.New(`the document is empty; set on_error = "skip" to pass over such documents`)
	errNotUTF8 = errors.New(`the document is not UTF-8; set on_error = "skip" to pass over such documents`)
)

// order is the permutation of n things for an epoch: a pure function of seed, epoch and what.
func (c *Corpus) order(n int, epoch int64, what uint64) []int {
	if !c.source.Shuffle {
		p := make([]int, n)
		for i := range p {
			p[i] = i
		}
		return p
	}
	return rand.New(rand.NewPCG(c.source.Seed^uint64(epoch)*0x9e3779b97f4a7c15, what)).Perm(n)
}

// group reads a row group, counting it as skipped if it is damaged and that is allowed.
func (c *Corpus) group(i int) ([]document, error) {
	ref := c.groups[i]
	docs, err := c.shards[ref.file].read(ref.group)
	if err != nil {
		if c.source.SkipErrors {
			c.Skipped += ref.rows
			return nil, nil
		}
		return nil, &BadDocument{c.files[ref.file], ref.group, -1, err}
	}
	return docs, nil
}

// check tells whether a document belongs to the split and is sound; ok is false where it is left out.
func (c *Corpus) check(d *document, split Split, group, row int) (ok bool, err error) {
	if d.drop || c.source.held(d.id) != (split == Validation) {
		return false, nil
	}
	switch {
	case d.text == "":
		err = errEmpty
	case !utf8.ValidString(d.text):
		err = errNotUTF8
	default:
		return true, nil
	}
	if c.source.SkipErrors {
		c.Skipped++
		return false, nil
	}
	ref := c.groups[group]
	return false, &BadDocument{c.files[ref.file], ref.group, row, err}
}

// Texts visits the documents of a split in file order until visit returns false.
func (c *Corpus) Texts(split Split, visit func(text string) bool) error {
	for g := range c.groups {
		docs, err := c.group(g)
		if err != nil {
			return err
		}
		for r := range docs {
			ok, err := c.check(&docs[r], split, g, r)
			if err != nil {
				return err
			}
			if ok && !visit(docs[r].text) {
				return nil
			}
		}
	}
	return nil
}
