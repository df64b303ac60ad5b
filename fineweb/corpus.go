package fineweb

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"stepflow/fineweb/tokenizer"
)

// Corpus is an opened source. It is not safe for concurrent use; open one a goroutine.
type Corpus struct {
	listing
	part    string // its name in a mixture; "" where it is none of one
	keyed   *tokenizer.Tokenizer
	keys    []string // of the token cache with that tokenizer
	shards  []shard
	groups  [][]piece // of each row group, in order of files
	cut     cut
	tuning  *Tuning   // of conversations
	tokens  *binFiles // of files of tokens, once their tokenizer is known
	used    *tokenizer.Tokenizer
	Rows    int64 // 0 for files of tokens
	Skipped int64 // documents, damaged pieces' rows and whole files passed over by on_error = "skip"

	Warnings []string // what is odd about the files, though they can be read

	copies    *rowSet  // of documents, where they are left out; see Source.Deduplicate
	unclean   *unclean // documents that are left out for the sets of Source.Against
	dropped   int64    // documents that were looked at and no filter keeps, or that are left out
	elsewhere int64    // that belong to the other split
	allowance *allowance
}

// usualID is the id's column where none is named: it may be missing.
const usualID = "id"

// Open lists the files and reads their structure; no documents yet. Reading it, and waiting for servers, ends with ctx.
func Open(ctx context.Context, s Source) (*Corpus, error) {
	if s.TextColumn == "" {
		s.TextColumn = "text"
	}
	if s.IDColumn == "" {
		s.IDColumn = usualID
	}
	if formats[s.Format] == nil {
		return nil, fmt.Errorf("no data format %q", s.Format)
	}
	if err := CheckFilter(s.Filter); err != nil { // alone: a bracket too many would change what stands beside it
		return nil, err
	}
	l, notes, err := listed(ctx, s)
	if err != nil {
		return nil, err
	}
	c := &Corpus{listing: l, cut: usual, Warnings: notes}
	if err := c.openFiles(); err != nil {
		c.Close()
		return nil, err
	}
	if err := c.findColumns(); err != nil {
		c.Close()
		return nil, err
	}
	c.groups = apart(c.groups, func(g piece) int64 {
		most := min(c.cut.rows, max(leastRows, c.Rows/manyPieces))
		if p, ok := c.shards[g.file].(*parquetShard); ok {
			most = min(most, p.pieceRows(g.group))
		}
		return most
	})
	c.source.Source = c.source.pinned(c.files)
	return c, nil
}

// openFiles opens the files and counts their rows; on_error = "skip" passes over one that cannot be opened.
func (c *Corpus) openFiles() error {
	shards, errs := openAll(c.files, c.openFile)
	c.shards = shards
	var bad []error
	holds := false
	for i, sh := range shards {
		if errs[i] != nil && c.source.passes(errs[i]) {
			c.Skipped++
			continue
		}
		if errs[i] != nil {
			bad = append(bad, fmt.Errorf("%s: %w", Shown(c.files[i]), errs[i]))
			continue
		}
		for g, n := range sh.groups() {
			c.groups = append(c.groups, []piece{{i, g, 0, 0, n}})
			c.Rows += n
		}
		b, tokens := sh.(*binShard)
		holds = holds || c.Rows > 0 || tokens && b.bytes() > 0
	}
	c.Warnings = append(c.Warnings, c.oddities()...)
	if err := c.source.ended(); err != nil {
		return err
	}
	if len(bad) > 0 {
		return errors.Join(bad...)
	}
	if !holds {
		return fmt.Errorf("%s: the files hold no rows", strings.Join(c.source.Shown(), ", "))
	}
	return nil
}

// openFile opens a file of the list as its format says.
func (c *Corpus) openFile(i int) (shard, error) {
	f, err := c.source.openFile(c.files[i])
	if err != nil {
		return nil, err
	}
	sh, err := formats[c.source.Format](&c.source, f, c.files[i])
	if err != nil {
		f.Close()
		return nil, err
	}
	c.opened[i] = f
	return sh, nil
}

// findColumns gives an error where columns are not there, or where by the footers no row passes the filters.
func (c *Corpus) findColumns() error {
	notes, err := c.absent()
	c.Warnings = append(c.Warnings, notes...)
	if err != nil {
		return err
	}
	return c.impossible()
}

// oddities tells of columns that the files have in different types, or some of them not at all, and of files that end
// too early.
func (c *Corpus) oddities() (list []string) {
	type seen struct{ file, typ string }
	first := map[string]seen{}
	told := map[string]bool{}
	for i, sh := range c.shards {
		name := Shown(c.files[i])
		if p, ok := sh.(*parquetShard); ok {
			for _, x := range p.types() {
				before, ok := first[x.column]
				switch {
				case !ok:
					first[x.column] = seen{name, x.typ}
				case before.typ != x.typ && !told[x.column+x.typ]:
					told[x.column+x.typ] = true
					list = append(list, fmt.Sprintf("column %q is %s in %s and %s in %s",
						x.column, before.typ, before.file, x.typ, name))
				}
			}
		}
		if x, ok := sh.(interface{ warning() string }); ok && x.warning() != "" {
			list = append(list, name+": "+x.warning())
		}
	}
	if id := c.source.IDColumn; id != usualID && first[id].typ == missingID && !told[id+missingID] && len(told) == 0 {
		list = append(list, fmt.Sprintf("no file has a column %q (id_column): a hash of the text serves as the id", id))
	}
	return list
}

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

// read reads a piece, without the documents that are left out.
func (c *Corpus) read(p piece) ([]document, error) {
	if c.tokens != nil {
		docs, err := c.tokens.documents(p.file, p.from, p.rows, c.source.ValidationFraction > 0)
		for i := range docs {
			docs[i].hash = hashID(docs[i].id)
		}
		return docs, err
	}
	docs, err := c.load(p)
	if err == nil {
		err = c.leaveOut(p, docs)
	}
	return docs, err
}

// load reads a piece, counting it as skipped if it is damaged and that is allowed.
func (c *Corpus) load(p piece) ([]document, error) {
	docs, err := c.shards[p.file].read(p.group, p.from, p.rows)
	if err := c.unchanged(p.file); err != nil { // whatever a decoder made of it
		return nil, err
	}
	if err != nil {
		if err := c.source.ended(); err != nil { // whatever a decoder made of it
			return nil, err
		}
		if c.source.passes(err) { // they are counted where they would be used
			docs := make([]document, p.rows)
			for i := range docs {
				docs[i].fail(err)
				docs[i].hash = math.MaxUint64
			}
			return docs, nil
		}
		return nil, &BadDocument{File: Shown(c.files[p.file]), RowGroup: p.group, Row: -1, Err: err}
	}
	for i := range docs {
		d := &docs[i]
		if d.drop {
			d.text = ""
			continue
		}
		if d.flaw == sound && d.ids == nil {
			d.flaw = flawOf(d.text)
		}
		switch {
		case d.err != nil && !c.source.SkipErrors:
			return nil, c.flawed(p, i, d.err)
		case d.err != nil:
			d.hash = math.MaxUint64 // it belongs to no split: it is counted with the documents to train on
			continue
		case d.id == "":
			d.id = contentID(d.text)
		}
		d.hash = hashID(d.id)
	}
	return docs, nil
}

// belongs reports whether a document passes the filters and is part of a split.
func (c *Corpus) belongs(d *document, split Split) bool {
	return !d.drop && (split == All || c.source.held(d.hash) == (split == Validation))
}

// check reports whether a document belongs to the split and is sound; ok is false where it is left out.
func (c *Corpus) check(d *document, split Split, p piece, row int) (ok bool, err error) {
	if !c.belongs(d, split) {
		if d.drop {
			c.dropped++
		} else {
			c.elsewhere++
		}
		return false, nil
	}
	if d.flaw == sound {
		return true, nil
	}
	if c.source.SkipErrors {
		c.Skipped++
		return false, nil
	}
	return false, c.flawed(p, row, flaws[d.flaw])
}

// impossible says that by the footers of all files no row group holds a row that the filters keep.
func (c *Corpus) impossible() error {
	for i, sh := range c.shards {
		p, ok := sh.(*parquetShard)
		if sh == nil || c.opened[i] == nil {
			continue
		}
		if !ok || p.filter == nil {
			return nil
		}
		for g, n := range p.rows {
			if n > 0 && p.possible(g) {
				return nil
			}
		}
	}
	return NoDocuments{fmt.Errorf("no document of %s passes the filters%s; the least and largest values in its "+
		"footers say so", strings.Join(c.source.Shown(), ", "), c.source.quotedConditions())}
}

// Texts visits the texts of the documents of a split, or what is said in conversations, in file order until visit returns
// false.
func (c *Corpus) Texts(split Split, visit func(text string) bool) error {
	if c.source.Format == "bin" {
		return fmt.Errorf("%v hold tokens, not text", c.source.Shown())
	}
	return c.visit(split, func(d *document) (bool, error) {
		text, ok, err := c.compared(d)
		return err == nil && (!ok || visit(text)), err
	})
}

// visit gives the documents of a split to visit in file order until that returns false.
func (c *Corpus) visit(split Split, visit func(d *document) (bool, error)) error {
	return c.walk(split, false, visit)
}

// walk is visit which, if empties is set, takes empty documents for sound ones.
func (c *Corpus) walk(split Split, empties bool, visit func(d *document) (bool, error)) error {
	for _, group := range c.groups {
		for _, p := range group {
			docs, err := c.read(p)
			if err != nil {
				return err
			}
			if err := c.allowance.read(docs); err != nil {
				return err
			}
			for r := range docs {
				ok, err := empties && docs[r].flaw == empty && c.belongs(&docs[r], split), error(nil)
				if !ok {
					ok, err = c.check(&docs[r], split, p, r)
				}
				if err != nil {
					return err
				}
				if !ok {
					continue
				}
				if c.tokens != nil {
					if docs[r].ids, err = c.tokens.whole(docs[r].at); err != nil {
						return err
					}
				}
				if more, err := visit(&docs[r]); err != nil {
					return c.bad(p, r, err)
				} else if !more {
					return nil
				}
			}
		}
	}
	return nil
}
