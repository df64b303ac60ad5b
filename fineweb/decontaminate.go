package fineweb

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"unicode"

	"stepflow/fineweb/ngram"
)

// Against is a set of documents, such as those of an evaluation, with which no document to train on may share an n-gram of
// words. A document that does is left out whole, so that what is lost can be counted in documents, and those that stay are
// as they were. Held-out documents stay, since they are what is kept apart.
type Against struct {
	Name       string // for messages
	Identity   string // of the documents
	Read       func(ctx context.Context, visit func(text string) bool) error
	N          int // words of an n-gram
	MaxMatches int // an n-gram that stands in more documents to train on than this does not count; 0 for no bound
}

// unclean are the documents of a corpus that are left out: for each set, and for any of them.
type unclean struct {
	of  []*rowSet
	all *rowSet
}

func (c *Corpus) newUnclean(of []*rowSet) *unclean {
	if len(of) == 1 {
		return &unclean{of, of[0]}
	}
	all := c.newRowSet()
	for row := range c.Rows {
		if slices.ContainsFunc(of, func(x *rowSet) bool { return x.has(row) }) {
			all.add(row)
		}
	}
	return &unclean{of, all}
}

// Contaminated is the number of documents that are left out because they share an n-gram with those of Source.Against:
// each counted once, and those of each set. It reads the data, if that was not done before.
func (c *Corpus) Contaminated() (all int64, of []int64, err error) {
	if err := c.findContaminated(); err != nil || c.unclean == nil {
		return 0, nil, err
	}
	for _, x := range c.unclean.of {
		of = append(of, x.count)
	}
	return c.unclean.all.count, of, nil
}

// ContaminatedPlaces says where the first of the documents lie that are left out for a set of Source.Against, once they
// are known.
func (c *Corpus) ContaminatedPlaces(of, most int) (places []string) {
	x := c.unclean.of[of]
	for _, row := range x.first(most) {
		p, i := x.bases.at(row)
		places = append(places, Shown(c.files[p.file])+", "+c.place(p, i))
	}
	return places
}

// contaminated is how many documents are left out, as far as they were looked for.
func (c *Corpus) contaminated() int64 {
	if c.unclean == nil {
		return 0
	}
	return c.unclean.all.count
}

// KnowsContaminated reports whether they are known without reading the data.
func (c *Corpus) KnowsContaminated() bool {
	if len(c.source.Against) == 0 || c.unclean != nil {
		return true
	}
	sets := make([]*rowSet, len(c.source.Against))
	for i := range sets {
		if sets[i] = c.keptRows(c.uncleanPath(&c.source.Against[i]), uncleanMagic); sets[i] == nil {
			return false
		}
	}
	c.unclean = c.newUnclean(sets)
	return true
}

const uncleanMagic = "STEPDEC1"

// uncleanPath is where the rows that are left out for a set are kept; "" for nowhere. They depend on what a letter is,
// on which documents are copies and which are held out.
func (c *Corpus) uncleanPath(a *Against) string {
	if a.Identity == "" {
		return ""
	}
	return c.rowsPath("decontaminated", func(w io.Writer) {
		s := &c.source
		fmt.Fprintf(w, "%s %s %q %d %d %t %v %q\n", uncleanMagic, unicode.Version, a.Identity, a.N, a.MaxMatches,
			s.Deduplicate, s.ValidationFraction, s.IDColumn)
		if s.Said != nil {
			fmt.Fprintf(w, "said 1 %q\n", s.Form)
		}
	})
}

// clean drops the documents of a piece that share an n-gram with those of Source.Against.
func (c *Corpus) clean(p piece, docs []document) error {
	if len(c.source.Against) == 0 {
		return nil
	}
	if err := c.findContaminated(); err != nil {
		return err
	}
	c.unclean.all.drop(p, docs)
	return nil
}

// leaveOut drops the documents of a piece that are copies of others, or contaminated.
func (c *Corpus) leaveOut(p piece, docs []document) error {
	if err := c.single(p, docs); err != nil {
		return err
	}
	return c.clean(p, docs)
}

// sieve looks for the n-grams of one set of documents.
type sieve struct {
	*Against
	index  *ngram.Index
	counts []atomic.Int32 // documents to train on that each n-gram stands in; nil where there is no bound
}

// caught is what a worker found for one sieve.
type caught struct {
	rows []int64   // of documents that share an n-gram
	each []sharing // the same, of each n-gram by itself, where it depends on the n-gram whether it counts
}

type sharing struct {
	row  int64
	gram uint32
}

func (c *Corpus) findContaminated() error {
	if c.KnowsContaminated() {
		return nil
	}
	if _, err := c.Copies(); err != nil {
		return err
	}
	var sieves []*sieve
	for i := range c.source.Against {
		s, err := c.source.Against[i].sieve(c.source.ctx)
		if err != nil {
			return &BadAgainst{i, err}
		}
		sieves = append(sieves, s)
	}
	found, err := c.sift(sieves)
	if err != nil {
		return err
	}
	sets := make([]*rowSet, len(sieves))
	for i, s := range sieves {
		x := c.newRowSet()
		for _, f := range found[i] {
			for _, row := range f.rows {
				x.add(row)
			}
			for _, e := range f.each {
				if s.counts[e.gram].Load() <= int32(s.MaxMatches) {
					x.add(e.row)
				}
			}
		}
		x.keep(c.uncleanPath(s.Against), uncleanMagic, c.Rows)
		sets[i] = x
	}
	c.unclean = c.newUnclean(sets)
	return nil
}

// BadAgainst is an error of a set of Source.Against.
type BadAgainst struct {
	Of  int
	Err error
}

func (e *BadAgainst) Error() string { return e.Err.Error() }

func (e *BadAgainst) Unwrap() error { return e.Err }

// AgainstBytes is what the n-grams of documents of so many words take in memory at most.
func AgainstBytes(words int64) int64 { return ngram.Bytes(words) }

// sieve reads the documents and indexes their n-grams.
func (a *Against) sieve(ctx context.Context) (*sieve, error) {
	s := &sieve{Against: a, index: ngram.New(a.N)}
	add := s.index.Adder()
	err := a.Read(ctx, func(text string) bool {
		add.Text(text)
		add.End()
		return !s.index.Full()
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading what to keep out of the training data: %w", err)
	case s.index.Full():
		return nil, fmt.Errorf("%s has more than %d n-grams, the most that are kept in memory: decontaminate against "+
			"fewer documents", a.Name, ngram.MostGrams)
	case s.index.Grams() == 0:
		return nil, fmt.Errorf("no document of %s has %d words or more, so none could be found in others", a.Name,
			min(a.N, ngram.LeastWhole))
	}
	if a.MaxMatches > 0 {
		s.counts = make([]atomic.Int32, s.index.Grams())
	}
	return s, nil
}

// sift looks for the n-grams of the sieves in all documents to train on, several pieces at a time. For each sieve, it
// returns what each worker found.
func (c *Corpus) sift(sieves []*sieve) (found [][]*caught, err error) {
	found = make([][]*caught, len(sieves))
	err = c.inParallel(func(w *Corpus) func(p piece) error {
		bases := w.newRowBases()
		var grams [][]uint32
		var mine []*caught
		var scanners []*ngram.Scanner
		for i, s := range sieves {
			x := &caught{}
			mine, found[i] = append(mine, x), append(found[i], x)
			grams = append(grams, nil)
			scanners = append(scanners, s.index.Finder(func(g uint32) { grams[i] = append(grams[i], g) }))
		}
		return func(p piece) error {
			docs, err := w.load(p)
			if err == nil {
				err = w.single(p, docs)
			}
			if err != nil {
				return err
			}
			for r := range docs {
				d := &docs[r]
				if d.flaw != sound || !w.belongs(d, Train) {
					continue
				}
				text, ok, err := w.compared(d)
				if err != nil {
					return w.bad(p, r, err)
				}
				if !ok {
					continue
				}
				for i, s := range sieves {
					scanners[i].Text(text)
					scanners[i].End()
					mine[i].take(s, bases.row(p, r), grams[i])
					grams[i] = grams[i][:0]
				}
			}
			return nil
		}
	})
	return found, err
}

// take notes the n-grams that were found in a document.
func (x *caught) take(s *sieve, row int64, grams []uint32) {
	switch {
	case len(grams) == 0:
	case s.counts == nil:
		x.rows = append(x.rows, row)
	default:
		slices.Sort(grams)
		for _, g := range slices.Compact(grams) {
			if s.counts[g].Add(1) <= int32(s.MaxMatches) { // beyond that, the n-gram does not count
				x.each = append(x.each, sharing{row, g})
			}
		}
	}
}
