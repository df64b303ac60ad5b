package fineweb

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/parquet-go/parquet-go"

	"stepflow/fineweb/web"
)

type parquetShard struct {
	source *Source
	file   file
	pq     *parquet.File
	rows   []int64
	cols   []column
	hasID  bool

	open  []*columnReader // of the group that is being read, beside cols
	group int
	next  int64 // row
}

// column is one that the run needs: where it is and what to do with a value.
type column struct {
	name  string
	index int
	use   func(d *document, v parquet.Value)
}

// openParquet reads the footer and finds the columns; the others are never read.
func openParquet(s *Source, f file, _ string) (sh shard, err error) {
	defer guard(&err)
	if err := checkFooter(f); err != nil {
		return nil, fmt.Errorf("not a readable parquet file: %w", err)
	}
	pq, err := parquet.OpenFile(f, f.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("not a readable parquet file: %w", err)
	}
	p := &parquetShard{source: s, file: f, pq: pq}
	for _, g := range pq.RowGroups() {
		if g.NumRows() < 0 || g.NumRows() > maxRows {
			return nil, fmt.Errorf("damaged footer: a row group claims %d rows; the most is %d", g.NumRows(), maxRows)
		}
		p.rows = append(p.rows, g.NumRows())
	}
	need := func(name string, use func(*document, parquet.Value)) error {
		leaf, ok := pq.Schema().Lookup(name)
		if !ok {
			var have []string
			for _, c := range pq.Schema().Columns() {
				have = append(have, strings.Join(c, "."))
			}
			return fmt.Errorf("has no column %q; it has %s", name, strings.Join(have, ", "))
		}
		if leaf.MaxRepetitionLevel > 0 {
			return fmt.Errorf("column %q is a list, not one value a row", name)
		}
		p.cols = append(p.cols, column{name, leaf.ColumnIndex, use})
		return nil
	}
	isBytes := func(name string) bool {
		leaf, ok := pq.Schema().Lookup(name)
		return ok && leaf.Node.Leaf() && (leaf.Node.Type().Kind() == parquet.ByteArray || leaf.Node.Type().Kind() == parquet.FixedLenByteArray)
	}
	var errs []error
	add := func(name string, use func(*document, parquet.Value)) {
		if err := need(name, use); err != nil {
			errs = append(errs, err)
		}
	}
	add(s.TextColumn, func(d *document, v parquet.Value) { d.text = string(v.ByteArray()) })
	if len(errs) == 0 && !isBytes(s.TextColumn) {
		errs = append(errs, fmt.Errorf("column %q does not hold strings", s.TextColumn))
	}
	if _, ok := pq.Schema().Lookup(s.IDColumn); ok || s.Format == "fineweb_edu" {
		p.hasID = true
		add(s.IDColumn, func(d *document, v parquet.Value) { d.id = v.String() })
	}
	if m := s.MinIntScore; m != nil {
		add("int_score", func(d *document, v parquet.Value) { d.drop = d.drop || v.IsNull() || v.Int64() < *m })
	}
	if m := s.MinScore; m != nil {
		add("score", func(d *document, v parquet.Value) { d.drop = d.drop || v.IsNull() || number64(v) < *m })
	}
	if m := s.MinLanguageScore; m != nil {
		add("language_score", func(d *document, v parquet.Value) { d.drop = d.drop || v.IsNull() || number64(v) < *m })
	}
	if m := s.MinTokenCount; m != nil {
		add("token_count", func(d *document, v parquet.Value) { d.drop = d.drop || v.IsNull() || v.Int64() < *m })
	}
	if len(s.Languages) > 0 {
		add("language", func(d *document, v parquet.Value) {
			for _, l := range s.Languages {
				if string(v.ByteArray()) == l {
					return
				}
			}
			d.drop = true
		})
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

func number64(v parquet.Value) float64 {
	switch v.Kind() {
	case parquet.Float:
		return float64(v.Float())
	case parquet.Double:
		return v.Double()
	}
	return float64(v.Int64())
}

func (p *parquetShard) groups() []int64 { return p.rows }

func (p *parquetShard) Close() error {
	p.leave()
	return p.file.Close()
}

// read goes on where the last call ended, or seeks: by the page index where the file has one, else past the
// pages before.
func (p *parquetShard) read(group int, from, n int64) (docs []document, err error) {
	defer guard(&err)
	defer func() {
		if err != nil {
			p.leave()
		}
	}()
	if p.open == nil || p.group != group || p.next != from {
		p.leave()
		if err := p.enter(group, from); err != nil {
			return nil, err
		}
	}
	docs = make([]document, n)
	for i, c := range p.open {
		if err := c.read(docs, p.cols[i].use); err != nil {
			return nil, fmt.Errorf("column %s, page %d: %w", p.cols[i].name, c.number, err)
		}
	}
	if p.next += n; p.next == p.rows[group] {
		for i, c := range p.open {
			if err := c.end(); err != nil {
				return nil, fmt.Errorf("column %s, page %d: %w", p.cols[i].name, c.number, err)
			}
		}
		p.leave()
	}
	if !p.hasID {
		for i := range docs {
			docs[i].id = contentID(docs[i].text)
		}
	}
	return docs, nil
}

func (p *parquetShard) enter(group int, from int64) error {
	chunks := p.pq.RowGroups()[group].ColumnChunks()
	p.group, p.next = group, from
	for _, c := range p.cols {
		if c.index >= len(chunks) {
			return fmt.Errorf("column %s is missing from the row group", c.name)
		}
		r := &columnReader{headers: headersOf(p.file, &p.pq.Metadata().RowGroups[group].Columns[c.index].MetaData)}
		if from > 0 {
			if _, remote := p.file.(*web.File); !remote { // of remote ones, reading the pages before costs more than it saves
				if err := r.headers.all(); err != nil {
					return fmt.Errorf("column %s: %w", c.name, err)
				}
			}
			r.headers = nil               // where the decoder goes on, it has not been
			chunks[c.index].OffsetIndex() // once known, seeking uses it; a file without one is read up to the row
		}
		r.pages = chunks[c.index].Pages()
		p.open = append(p.open, r)
		if from > 0 {
			if err := r.pages.SeekToRow(from); err != nil {
				return fmt.Errorf("column %s, row %d: %w", c.name, from, err)
			}
		}
	}
	return nil
}

func (p *parquetShard) leave() {
	for _, c := range p.open {
		c.close()
	}
	p.open = nil
}

// columnReader walks through the values of a column chunk, one page in memory at a time.
type columnReader struct {
	headers *pageHeaders // nil after seeking
	pages   parquet.Pages
	page    parquet.Page
	values  parquet.ValueReader
	number  int // of the page, from 1 where the reading began
}

// read visits as many values as there are documents. A damaged page header may promise any number.
func (c *columnReader) read(docs []document, use func(*document, parquet.Value)) error {
	var values [256]parquet.Value
	for row := 0; row < len(docs); {
		if c.values == nil {
			if err := c.turn(); err == io.EOF {
				return fmt.Errorf("the column ends %d values before its row group", len(docs)-row)
			} else if err != nil {
				return err
			}
		}
		n, err := c.values.ReadValues(values[:min(len(values), len(docs)-row)])
		for _, v := range values[:n] {
			use(&docs[row], v)
			row++
		}
		if err == io.EOF || n == 0 && err == nil {
			c.values = nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// turn goes on to the next page.
func (c *columnReader) turn() error {
	c.release()
	c.number++
	if c.headers != nil {
		if err := c.headers.next(); err != nil {
			return err
		}
	}
	page, err := c.pages.ReadPage()
	if err != nil {
		return err
	}
	c.page, c.values = page, page.Values()
	return nil
}

// end checks that the column holds no more values.
func (c *columnReader) end() error {
	var one [1]parquet.Value
	for {
		if c.values != nil {
			n, err := c.values.ReadValues(one[:])
			if n > 0 {
				return errors.New("the column holds more values than its row group has rows")
			}
			if err != nil && err != io.EOF {
				return err
			}
		}
		if err := c.turn(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (c *columnReader) release() {
	if c.page != nil {
		parquet.Release(c.page)
	}
	c.page, c.values = nil, nil
}

func (c *columnReader) close() {
	c.release()
	if c.pages != nil {
		c.pages.Close()
	}
}
