package fineweb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"stepflow/fineweb/web"
)

type parquetShard struct {
	source *reading
	file   file
	pq     *parquet.File
	rows   []int64
	cols   []column
	filter *filter

	open  []*columnReader // of the group that is being read, beside cols
	group int
	next  int64 // row

	walked map[[2]int]bool // whose pages' headers were read, by row group and column
}

// column is one that the run needs: where it is, what its values are, and what they are for.
type column struct {
	name     string
	index    int
	typ      columnType
	filter   int // place in the filter's columns; -1 if it is not compared
	id, text bool
}

// wrongColumns is an error of what the data block asks for, which no on_error passes over.
type wrongColumns struct{ error }

func (w wrongColumns) Unwrap() error { return w.error }

// openParquet reads the footer and finds the columns; the others are never read.
func openParquet(s *reading, f file, _ string) (sh shard, err error) {
	defer guard(&err)
	p, err := readParquet(s, f)
	if err != nil {
		return nil, err
	}
	if err := p.choose(); err != nil {
		return nil, wrongColumns{err}
	}
	return p, nil
}

// readParquet reads the footer.
func readParquet(s *reading, f file) (*parquetShard, error) {
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
	return p, nil
}

// choose finds the columns that are read: those of the filter first, since what it drops needs no text.
func (p *parquetShard) choose() (err error) {
	if p.filter, err = parseFilter(p.source.conditions()); err != nil {
		return err
	}
	var errs []error
	if p.filter != nil {
		kinds := make([]valueKind, len(p.filter.columns))
		for i, name := range p.filter.columns {
			c, err := p.column(name)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			c.filter, kinds[i] = i, c.typ.kind
			p.cols = append(p.cols, c)
		}
		if len(errs) == 0 {
			if at, err := p.filter.typed(kinds); err != nil && at >= 0 {
				errs = append(errs, fmt.Errorf("column %q is of type %s: %w", p.cols[at].name, p.cols[at].typ.name,
					err))
			} else if err != nil {
				errs = append(errs, err)
			}
		}
	}
	use := func(c column) *column {
		for i := range p.cols {
			if p.cols[i].index == c.index {
				return &p.cols[i]
			}
		}
		c.filter = -1
		p.cols = append(p.cols, c)
		return &p.cols[len(p.cols)-1]
	}
	id, err := p.column(p.source.IDColumn)
	if err == nil {
		use(id).id = true
	} else if p.source.Format == "fineweb_edu" {
		errs = append(errs, err)
	}
	text, err := p.column(p.source.TextColumn)
	switch {
	case err != nil:
		errs = append(errs, err)
	case text.typ.name != "string" && text.typ.kind != null:
		errs = append(errs, fmt.Errorf("column %q is of type %s: it does not hold strings", text.name, text.typ.name))
	default:
		use(text).text = true
	}
	return errors.Join(errs...)
}

// column finds a column by its name, or by the names of those it lies in, with dots between them.
func (p *parquetShard) column(name string) (column, error) {
	leaf, ok := p.pq.Schema().Lookup(name)
	var have []string
	same := 0
	for _, path := range p.pq.Schema().Columns() {
		dotted := strings.Join(path, ".")
		if have = append(have, dotted); dotted != name {
			continue
		}
		if same++; !ok {
			leaf, ok = p.pq.Schema().Lookup(path...)
		}
	}
	if same > 1 {
		return column{}, fmt.Errorf("has %d columns named %q: rename one", same, name)
	}
	if !ok {
		var inside []string
		for _, path := range p.pq.Schema().Columns() {
			if l, _ := p.pq.Schema().Lookup(path...); strings.HasPrefix(strings.Join(path, "."), name+".") {
				inside, leaf.MaxRepetitionLevel = append(inside, strings.Join(path, ".")),
					max(leaf.MaxRepetitionLevel, l.MaxRepetitionLevel)
			}
		}
		if len(inside) > 0 && leaf.MaxRepetitionLevel == 0 {
			return column{}, fmt.Errorf("column %q holds others, not one value a row: name one of %s",
				name, strings.Join(inside, ", "))
		} else if len(inside) > 0 {
			return column{}, fmt.Errorf("column %q is a list, not one value a row", name)
		}
		return column{}, fmt.Errorf("has no column %q; it has %s", name, strings.Join(have, ", "))
	}
	if leaf.MaxRepetitionLevel > 0 {
		return column{}, fmt.Errorf("column %q is a list, not one value a row", name)
	}
	return column{name: name, index: leaf.ColumnIndex, typ: p.typeOf(leaf.ColumnIndex), filter: -1}, nil
}

// typeOf is the type of a column by its place among the leaves of the schema.
func (p *parquetShard) typeOf(index int) columnType {
	n := 0
	for i := range p.pq.Metadata().Schema {
		e := &p.pq.Metadata().Schema[i]
		if e.NumChildren.V > 0 || i == 0 {
			continue
		}
		if n == index {
			return typeOf(e)
		}
		n++
	}
	return columnType{name: "unknown", kind: nested, read: func(parquet.Value) value { return value{kind: nested} }}
}

type usedType struct{ column, typ string }

// types are those of the columns that are read, and of an id that is not there.
func (p *parquetShard) types() (list []usedType) {
	id := false
	for _, c := range p.cols {
		list = append(list, usedType{c.name, "of type " + c.typ.name})
		id = id || c.id
	}
	if !id {
		list = append(list, usedType{p.source.IDColumn, missingID})
	}
	return list
}

// missingID stands for the type of an id that is not there.
const missingID = "missing, so that a hash of the text serves for it,"

// pieceRows is how many rows of a group are read at a time: as many as hold pieceBytes of text on average.
func (p *parquetShard) pieceRows(group int) int64 {
	rows := p.rows[group]
	for _, c := range p.cols {
		meta := &p.pq.Metadata().RowGroups[group]
		if !c.text || c.index >= len(meta.Columns) || rows == 0 {
			continue
		}
		m := &meta.Columns[c.index].MetaData
		size := max(m.TotalUncompressedSize, m.SizeStatistics.UnencodedByteArrayDataBytes, 1)
		return max(1, min(pieceRows, int64(float64(pieceBytes)/float64(size)*float64(rows))))
	}
	return pieceRows
}

func (p *parquetShard) groups() []int64 { return p.rows }

func (p *parquetShard) Close() error {
	p.leave()
	return p.file.Close()
}

// read goes on where the last call ended, or seeks. Where errors are passed over, the rows of a page that cannot be
// read have a flaw.
func (p *parquetShard) read(group int, from, n int64) (docs []document, err error) {
	docs = make([]document, n)
	if !p.possible(group) {
		for i := range docs {
			docs[i].drop = true
		}
		return docs, nil
	}
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
	row := make([]value, p.compared()*len(docs))
	if p.filter != nil && p.compared() == 0 { // the filter is a constant
		if err := p.apply(docs, row); err != nil {
			return nil, err
		}
	}
	for i := range p.open {
		if err := p.readColumn(i, docs, row); err != nil {
			return nil, err
		}
	}
	if p.next += n; p.next == p.rows[group] {
		for i, c := range p.open {
			if err := c.end(); err != nil {
				return nil, p.inColumn(i, err)
			}
		}
		p.leave()
	}
	return docs, nil
}

// compared is the number of columns that the filter compares.
func (p *parquetShard) compared() int {
	if p.filter == nil {
		return 0
	}
	return len(p.filter.columns)
}

// inColumn says where an error lies.
func (p *parquetShard) inColumn(i int, err error) error {
	return fmt.Errorf("column %s, page %d: %w", p.cols[i].name, p.open[i].number, err)
}

// readColumn reads a column of documents, and its values that the filter compares into row, which has those of all
// documents, one after the other. With the last column that is compared, documents are dropped.
func (p *parquetShard) readColumn(i int, docs []document, row []value) error {
	c, col, width := p.open[i], &p.cols[i], p.compared()
	use := func(at int, v parquet.Value) {
		d := &docs[at]
		if d.drop || d.flaw != sound {
			return
		}
		if col.filter < 0 && !col.id { // text is copied once
			if b := v.ByteArray(); len(b) > maxDocument {
				d.fail(errTooLong)
			} else {
				d.text = c.text(b)
			}
			return
		}
		var x value
		if !v.IsNull() {
			x = col.typ.read(v)
		}
		if col.filter >= 0 {
			row[at*width+col.filter] = x
		}
		if col.id {
			d.id = x.idText()
		}
		if col.text {
			d.text = x.s
		}
	}
	lost := func(at, n int, err error) {
		for k := range docs[at : at+n] {
			docs[at+k].fail(p.inColumn(i, err))
		}
	}
	if err := c.read(len(docs), p.source.passes, use, lost); err != nil {
		return p.inColumn(i, err)
	}
	if col.filter == width-1 && width > 0 {
		return p.apply(docs, row)
	}
	return nil
}

// apply drops the documents that the filter does not keep.
func (p *parquetShard) apply(docs []document, row []value) error {
	width := len(p.filter.columns)
	for i := range docs {
		if docs[i].flaw != sound {
			continue
		}
		keep, err := p.filter.keeps(row[i*width : (i+1)*width])
		if err != nil {
			return err
		}
		docs[i].drop = !keep
	}
	return nil
}

// possible reports whether the filter may keep a row of a group, by the footer's least and largest values of signed
// integers and floats.
func (p *parquetShard) possible(group int) bool {
	if p.filter == nil {
		return true
	}
	return p.filter.root.possible(func(at int) (x extent, ok bool) {
		c, chunks := &p.cols[at], p.pq.Metadata().RowGroups[group].Columns
		if c.index >= len(chunks) {
			return x, false
		}
		m := &chunks[c.index].MetaData
		least, ok1 := plainNumber(c.typ.name, m.Statistics.MinValue)
		most, ok2 := plainNumber(c.typ.name, m.Statistics.MaxValue)
		return extent{least, most}, ok1 && ok2
	})
}

// plainNumber reads a value of a chunk's statistics.
func plainNumber(typ string, b []byte) (v value, ok bool) {
	switch {
	case (typ == "int8" || typ == "int16" || typ == "int32") && len(b) == 4:
		return value{kind: integer, i: int64(int32(binary.LittleEndian.Uint32(b)))}, true
	case typ == "int64" && len(b) == 8:
		return value{kind: integer, i: int64(binary.LittleEndian.Uint64(b))}, true
	case typ == "float" && len(b) == 4:
		return value{kind: fraction, f: float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))}, true
	case typ == "double" && len(b) == 8:
		return value{kind: fraction, f: math.Float64frombits(binary.LittleEndian.Uint64(b))}, true
	}
	return v, false
}

func (p *parquetShard) enter(group int, from int64) error {
	chunks := p.pq.RowGroups()[group].ColumnChunks()
	p.group, p.next = group, from
	for _, c := range p.cols {
		if c.index >= len(chunks) {
			return fmt.Errorf("column %s is missing from the row group", c.name)
		}
		meta := &p.pq.Metadata().RowGroups[group].Columns[c.index]
		r := &columnReader{headers: headersOf(p.file, &meta.MetaData), chunk: chunks[c.index]}
		p.open = append(p.open, r)
		var index parquet.OffsetIndex
		if from > 0 {
			var err error
			if index, err = p.index(group, c, meta, r); err != nil && !p.source.passes(err) {
				return fmt.Errorf("column %s: %w", c.name, err)
			}
		}
		if err := r.start(from, index); err != nil {
			return fmt.Errorf("column %s, row %d: %w", c.name, from, err)
		}
	}
	return nil
}

// index is where the pages of a column lie in a group: by the file's page index, else by the pages' headers, which are
// read once. It is nil where those cannot be read or do not add up to the group's rows; the pages before a row are then
// read to get there.
func (p *parquetShard) index(
	group int, c column, meta *format.ColumnChunk, r *columnReader,
) (parquet.OffsetIndex, error) {
	_, remote := p.file.(*web.File)
	chunk, ok := r.chunk.(*parquet.FileColumnChunk)
	here := [2]int{group, c.index}
	// The headers of remote files cost more than they are worth.
	if has := meta.OffsetIndexOffset != 0; !ok || has && (remote || p.walked[here]) {
		index, err := r.chunk.OffsetIndex()
		if err != nil || index.NumPages() == 0 {
			return nil, err
		}
		return index, nil
	}
	h := *r.headers
	pages, rows, err := h.locations()
	if err != nil {
		return nil, err
	}
	if p.walked == nil {
		p.walked = map[[2]int]bool{}
	}
	if p.walked[here] = true; meta.OffsetIndexOffset != 0 {
		return p.index(group, c, meta, r)
	}
	if rows != p.rows[group] {
		return nil, nil
	}
	b, err := thrift.Marshal(&thrift.CompactProtocol{}, &format.OffsetIndex{PageLocations: pages})
	if err != nil {
		return nil, err
	}
	meta.OffsetIndexOffset, meta.OffsetIndexLength = 1, int32(len(b)) // anything but 0, for a file that has none
	index, err := chunk.OffsetIndexFrom(anywhere(b))
	if err != nil {
		return nil, err
	}
	return index, nil
}

// anywhere reads the same bytes at every offset.
type anywhere []byte

func (b anywhere) ReadAt(p []byte, _ int64) (int, error) { return copy(p, b), nil }

func (p *parquetShard) leave() {
	for _, c := range p.open {
		c.close()
	}
	p.open = nil
}
