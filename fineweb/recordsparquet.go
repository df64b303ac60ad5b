package fineweb

import (
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
)

// parquetRecords puts rows together of the columns of a parquet file, as Dremel's levels have it: of each value, how many of
// the repeated fields around it are those of the value before, and how many of the optional and repeated fields on its
// path are there. See "Dremel: Interactive Analysis of Web-Scale Datasets", Melnik et al. 2010, section 4.
type parquetRecords struct {
	*parquetShard
	root   *parquetField
	leaves []*parquetField // by the place of their columns

	values, bytes int   // of the row so far
	flaw          error // why the row cannot be used
}

func openParquetRecords(s *reading, f file, _ string) (sh recordShard, err error) {
	defer guard(&err)
	p, err := readParquet(s, f)
	if err != nil {
		return nil, err
	}
	r := &parquetRecords{parquetShard: p}
	schema := p.pq.Metadata().Schema
	if len(schema) == 0 {
		return nil, errors.New("damaged footer: it has no columns")
	}
	if r.root, schema, err = r.field(schema, 0, maxColumns); err != nil {
		return nil, err
	}
	r.root.shape = plainShape
	if len(schema) > 0 {
		return nil, fmt.Errorf("damaged footer: %d columns have no place", len(schema))
	}
	return r, nil
}

func (r *parquetRecords) place(group int, row int64) string {
	return fmt.Sprintf("row group %d, row %d", group, row)
}

// rows goes through the columns of a group side by side.
func (r *parquetRecords) rows(group int, visit func(row int64, o Object, err error) bool) (err error) {
	defer guard(&err)
	defer r.leave()
	if err := r.enter(group); err != nil {
		return err
	}
	for row := range r.groups()[group] {
		r.values, r.bytes, r.flaw = 0, 0, nil
		v, err := r.content(r.root, 0)
		if err == nil {
			err = r.rowEnds()
		}
		if err != nil {
			return fmt.Errorf("row %d: %w", row, err)
		}
		o, _ := v.(Object)
		if r.flaw != nil {
			o = nil
		}
		if !visit(row, o, r.flaw) {
			return nil
		}
	}
	for _, f := range r.leaves {
		if v, err := r.next(f); err != nil {
			return err
		} else if v != nil {
			return fmt.Errorf("column %s holds more values than its row group has rows", f.name)
		}
	}
	return nil
}

// enter begins the columns of a group.
func (r *parquetRecords) enter(group int) error {
	chunks := r.pq.RowGroups()[group].ColumnChunks()
	metas := r.pq.Metadata().RowGroups[group].Columns
	if len(chunks) < len(r.leaves) || len(metas) < len(r.leaves) {
		return fmt.Errorf("it has %d columns, and the schema %d", min(len(chunks), len(metas)), len(r.leaves))
	}
	for i, f := range r.leaves {
		f.ahead = nil
		f.column = &columnReader{headers: headersOf(r.file, &metas[i].MetaData), chunk: chunks[i]}
		if err := f.column.start(0, nil); err != nil {
			return fmt.Errorf("column %s: %w", f.name, err)
		}
	}
	return nil
}

func (r *parquetRecords) leave() {
	for _, f := range r.leaves {
		if f.column != nil {
			f.column.close()
		}
		f.column, f.ahead = nil, nil
	}
}

// next is the value of a column that comes next; nil at its end.
func (r *parquetRecords) next(f *parquetField) (*parquet.Value, error) {
	c := f.column
	for len(f.ahead) == 0 {
		if c.values == nil {
			if err := c.turn(); err == io.EOF {
				return nil, nil
			} else if err != nil {
				return nil, fmt.Errorf("column %s, page %d: %w", f.name, c.number, err)
			}
		}
		n, err := c.next(f.read[:])
		c.at += int64(n)
		f.ahead = f.read[:n]
		switch {
		case err == io.EOF || n == 0 && err == nil:
			if n > 0 {
				return &f.ahead[0], nil
			}
			c.values = nil
		case err != nil:
			return nil, fmt.Errorf("column %s, page %d: %w", f.name, c.number, err)
		}
	}
	return &f.ahead[0], nil
}

// rowEnds checks that the next value of every column begins another row.
func (r *parquetRecords) rowEnds() error {
	for _, f := range r.leaves {
		if v, err := r.next(f); err != nil {
			return err
		} else if v != nil && v.RepetitionLevel() != 0 {
			return fmt.Errorf("column %s does not fit the others: it repeats more often than they do", f.name)
		}
	}
	return nil
}

// value reads a field, which may be absent; repeated is how many repeated fields are around it.
func (r *parquetRecords) value(f *parquetField, repeated int) (any, error) {
	if !f.optional && !f.repeated {
		return r.content(f, repeated)
	}
	v, err := r.there(f, f.leaves[0])
	if err != nil {
		return nil, err
	}
	if absent := v.DefinitionLevel() < f.present; absent {
		for _, leaf := range f.leaves {
			if err := r.skip(f, leaf); err != nil {
				return nil, err
			}
		}
		if f.repeated {
			return List{}, nil
		}
		return nil, nil
	}
	if f.optional {
		return r.content(f, repeated)
	}
	list := List{}
	for {
		v, err := r.content(f, repeated+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if more, err := r.repeats(f, repeated+1); err != nil || !more {
			return list, err
		}
	}
}

// there is the next value of a column, which the field needs.
func (r *parquetRecords) there(f, leaf *parquetField) (*parquet.Value, error) {
	v, err := r.next(leaf)
	if v == nil && err == nil {
		err = fmt.Errorf("column %s ends before its row group", f.name)
	}
	return v, err
}

// skip passes over the value that says that a field is not there.
func (r *parquetRecords) skip(f, leaf *parquetField) error {
	v, err := r.there(f, leaf)
	if err != nil {
		return err
	}
	if v.DefinitionLevel() >= f.present {
		return fmt.Errorf("column %s does not fit the others: it has a value where they have none", leaf.name)
	}
	return r.use(leaf)
}

// repeats reports whether the next values of a field's columns are of another element of its list.
func (r *parquetRecords) repeats(f *parquetField, repeated int) (more bool, err error) {
	for i, leaf := range f.leaves {
		v, err := r.next(leaf)
		if err != nil {
			return false, err
		}
		again := v != nil && v.RepetitionLevel() == repeated
		if i > 0 && again != more || v != nil && v.RepetitionLevel() > repeated {
			return false, fmt.Errorf("column %s does not fit the others: its list is of another length", leaf.name)
		}
		more = again
	}
	return more, nil
}

// use moves on to the next value of a column.
func (r *parquetRecords) use(leaf *parquetField) error {
	leaf.ahead = leaf.ahead[1:]
	if r.values++; r.values > maxRowValues {
		return errManyValues
	}
	return nil
}

// content reads what a field holds, which is there.
func (r *parquetRecords) content(f *parquetField, repeated int) (any, error) {
	if f.fields == nil && f.typ.read != nil {
		return r.leaf(f)
	}
	switch f.shape {
	case listShape, directShape:
		return r.value(f.fields[0], repeated)
	case mapShape:
		return r.mapping(f.fields[0], repeated)
	}
	o := make(Object, len(f.fields))
	for i, child := range f.fields {
		v, err := r.value(child, repeated)
		if err != nil {
			return nil, err
		}
		o[i] = Field{child.name, v}
	}
	return o, nil
}

// mapping reads keys and values; keys that are not text leave it unread.
func (r *parquetRecords) mapping(entries *parquetField, repeated int) (any, error) {
	v, err := r.value(entries, repeated)
	if err != nil {
		return nil, err
	}
	o := Object{}
	for _, e := range v.(List) {
		entry := e.(Object)
		key, ok := entry[0].Value.(string)
		if !ok {
			return NotRead("map whose keys are not text"), nil
		}
		o = append(o, Field{key, entry[1].Value})
	}
	return o, nil
}

// leaf reads a value.
func (r *parquetRecords) leaf(f *parquetField) (any, error) {
	v, err := r.there(f, f)
	if err != nil {
		return nil, err
	}
	x, err := any(nil), error(nil)
	if !v.IsNull() {
		x = r.plain(f, *v)
	}
	if err = r.use(f); err == nil && r.bytes > maxDocument {
		err = errLargeRow
	}
	return x, err
}

func (r *parquetRecords) plain(f *parquetField, v parquet.Value) any {
	switch {
	case f.typ.kind == nested:
		return NotRead(f.typ.name)
	case f.typ.name != "string":
		return f.typ.read(v).plain()
	}
	b := v.ByteArray()
	if r.bytes += len(b); r.bytes > maxDocument {
		return nil
	}
	if utf8.Valid(b) {
		return f.column.text(b)
	}
	if f.isText {
		r.flaw = fmt.Errorf("column %s: %w", f.name, errNotUTF8)
	}
	return NotRead("binary")
}
