package fineweb

import (
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// parquetField is a field of the schema.
type parquetField struct {
	name               string
	optional, repeated bool
	shape              shape
	fields             []*parquetField
	leaves             []*parquetField // below it, or itself

	index   int // of a leaf, its column
	typ     columnType
	isText  bool // it says so itself
	present int  // its definition level where it is there
	column  *columnReader
	read    [64]parquet.Value
	ahead   []parquet.Value // of read, those that were not used
}

// shape is what the children of a field make.
type shape uint8

const (
	plainShape  shape = iota // a struct, or of a leaf its value
	listShape                // a list: of what the only child holds
	mapShape                 // an object: of keys and values
	directShape              // the only child's value: what stands between a list and its elements
)

// field makes a tree of the first elements of a schema; rest are the others. Of the fields around it, present are
// optional or repeated.
func (r *parquetRecords) field(
	schema []format.SchemaElement, present, depth int,
) (f *parquetField, rest []format.SchemaElement, err error) {
	if len(schema) == 0 || depth == 0 {
		return nil, nil, errors.New("damaged footer: a column that it claims is missing")
	}
	e := &schema[0]
	f = &parquetField{name: e.Name}
	if e.RepetitionType.Valid {
		f.optional, f.repeated = e.RepetitionType.V == format.Optional, e.RepetitionType.V == format.Repeated
	}
	if f.optional || f.repeated {
		present++
	}
	f.present = present
	rest = schema[1:]
	if e.Type.Valid && e.NumChildren.V == 0 {
		f.index, f.typ = len(r.leaves), typeOf(e)
		_, text := e.LogicalType.Value.(*format.StringType)
		f.isText = text || e.ConvertedType.Valid && e.ConvertedType.V == deprecated.UTF8
		f.leaves = []*parquetField{f}
		r.leaves = append(r.leaves, f)
		return f, rest, nil
	}
	for range e.NumChildren.V {
		var child *parquetField
		if child, rest, err = r.field(rest, present, depth-1); err != nil {
			return nil, nil, err
		}
		f.fields, f.leaves = append(f.fields, child), append(f.leaves, child.leaves...)
	}
	if len(f.leaves) == 0 && len(r.leaves) > 0 {
		return nil, nil, fmt.Errorf("column %q holds no columns", f.name)
	}
	f.shape = f.shapeOf(e)
	return f, rest, nil
}

// shapeOf follows the rules of Parquet's LogicalTypes.md for lists and maps, the older forms of them included.
func (f *parquetField) shapeOf(e *format.SchemaElement) shape {
	if len(f.fields) != 1 || !f.fields[0].repeated {
		return plainShape
	}
	child := f.fields[0]
	is := func(c deprecated.ConvertedType) bool { return e.ConvertedType.Valid && e.ConvertedType.V == c }
	switch e.LogicalType.Value.(type) {
	case *format.ListType:
		return child.element(f.name)
	case *format.MapType:
		return child.entry()
	}
	switch {
	case is(deprecated.List):
		return child.element(f.name)
	case is(deprecated.Map), is(deprecated.MapKeyValue):
		return child.entry()
	}
	return plainShape
}

// element notes whether a list's repeated child is the element, or holds it.
func (f *parquetField) element(list string) shape {
	if len(f.fields) == 1 && !f.fields[0].repeated && f.name != "array" && f.name != list+"_tuple" {
		f.shape = directShape
	}
	return listShape
}

func (f *parquetField) entry() shape {
	if len(f.fields) != 2 {
		return listShape
	}
	return mapShape
}
