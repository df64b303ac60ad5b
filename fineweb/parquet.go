package fineweb

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/parquet-go/parquet-go"
)

type parquetShard struct {
	source *Source
	file   file
	pq     *parquet.File
	rows   []int64
	cols   []column
	hasID  bool
}

// column is one that the run needs: where it is and what to do with a value.
type column struct {
	name  string
	index int
	use   func(d *document, v parquet.Value)
}

// openParquet reads the footer and finds the columns; the others are never read.
func openParquet(s *Source, path string) (sh shard, err error) {
	defer guard(&err)
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if sh == nil {
			f.Close()
		}
	}()
	pq, err := parquet.OpenFile(f, f.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("not a readable parquet file: %w", err)
	}
	p := &parquetShard{source: s, file: f, pq: pq}
	for _, g := range pq.RowGroups() {
		if g.NumRows() < 0 || g.NumRows() > 1<<31 {
			return nil, fmt.Errorf("damaged footer: a row group claims %d rows", g.NumRows())
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

func (p *parquetShard) Close() error { return p.file.Close() }

func (p *parquetShard) read(group int) (docs []document, err error) {
	defer guard(&err)
	docs = make([]document, p.rows[group])
	chunks := p.pq.RowGroups()[group].ColumnChunks()
	for _, c := range p.cols {
		if c.index >= len(chunks) {
			return nil, fmt.Errorf("column %s is missing from the row group", c.name)
		}
		if err := readColumn(chunks[c.index], docs, c.use); err != nil {
			return nil, fmt.Errorf("column %s: %w", c.name, err)
		}
	}
	if !p.hasID {
		for i := range docs {
			docs[i].id = contentID(docs[i].text)
		}
	}
	return docs, nil
}

// readColumn visits the values of a column page by page. It takes exactly as many as the row group
// has rows: a damaged page header may promise any number.
func readColumn(chunk parquet.ColumnChunk, docs []document, use func(*document, parquet.Value)) error {
	pages := chunk.Pages()
	defer pages.Close()
	var values [256]parquet.Value
	row := 0
	for {
		page, err := pages.ReadPage()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		r := page.Values()
		for {
			n, err := r.ReadValues(values[:])
			if row+n > len(docs) {
				parquet.Release(page)
				return fmt.Errorf("holds more values than the %d rows of its group", len(docs))
			}
			for _, v := range values[:n] {
				use(&docs[row], v)
				row++
			}
			if err == io.EOF || n == 0 {
				break
			}
			if err != nil {
				parquet.Release(page)
				return err
			}
		}
		parquet.Release(page)
	}
	if row != len(docs) {
		return fmt.Errorf("holds %d values for the %d rows of its group", row, len(docs))
	}
	return nil
}
