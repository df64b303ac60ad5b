package fineweb

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"stepflow/foreign"
)

// Records are the rows of a source as whole values, with whatever they hold, where a Corpus reads a text of each. One row is
// in memory at a time, and of parquet a page of each column. They serve one goroutine.
type Records struct {
	listing
	shards   []recordShard
	Count    int64    // rows of all files; of JSON lines, lines, of which blank ones are passed over
	Warnings []string // what is odd about the files, though they can be read
}

// Record is a row of a file.
type Record struct {
	Fields Object
	File   string // as it may be shown
	Place  string // in the file: "row group 0, row 12", "line 13" or "entry 13"
	Number int64  // among the rows that were visited, from 0
}

// Object holds the fields of a JSON object or of a struct of parquet, in the order in which they stand there. A value is
// nil, a bool, an int64, a *big.Int beyond those, a float64, a string, a List, an Object or a NotRead.
type Object []Field

// Field is a named value.
type Field struct {
	Name  string
	Value any
}

// List is a list of values.
type List []any

// NotRead stands for a value of a type that is not read, and names that type: "timestamp", or "binary" for bytes that
// are not text.
type NotRead string

// Get is the value of a field.
func (o Object) Get(name string) (v any, ok bool) {
	for _, f := range o {
		if f.Name == name {
			return f.Value, true
		}
	}
	return nil, false
}

// Names lists the names of the fields, in order.
func (o Object) Names() []string {
	names := make([]string, len(o))
	for i, f := range o {
		names[i] = f.Name
	}
	return names
}

// Bounds of a row: how many values it holds, and how deep they nest. Its bytes are bounded as those of a document.
const (
	maxRowValues  = 1 << 20
	maxRowNesting = 100
)

var (
	errManyValues = fmt.Errorf("the row holds more than %d values, the most that one may have", maxRowValues)
	errLargeRow   = fmt.Errorf("the row holds more than %d bytes, the most that one may have", maxDocument)
	errDeepRow    = fmt.Errorf("the values of the row nest more than %d deep", maxRowNesting)
)

// recordShard is an open file of rows.
type recordShard interface {
	// groups returns the number of rows of each group.
	groups() []int64
	// rows visits those of a group in order until visit returns false. A row that cannot be read is visited with
	// an error; the error that rows returns ends the group.
	rows(group int, visit func(row int64, o Object, err error) bool) error
	place(group int, row int64) string
	Close() error
}

// recordFormats opens a file of each format, by the last part of its name where the source says none.
var recordFormats = map[string]func(s *reading, f file, name string) (recordShard, error){
	"parquet": openParquetRecords,
	"jsonl":   openJSONRecords,
	"json":    openJSONRecords,
}

// OpenRecords lists the files and reads their structure. Of the source it uses Format ("parquet", "jsonl", or "" to go by
// the names of the files), Patterns and Dir, and what says how servers are asked. A file of JSON holds an object a line
// or one list of objects.
func OpenRecords(ctx context.Context, s Source) (*Records, error) {
	l, notes, err := listed(ctx, s)
	if err != nil {
		return nil, err
	}
	r := &Records{listing: l, shards: make([]recordShard, len(l.files)), Warnings: notes}
	shards, errs := openAll(l.files, r.open)
	var bad []error
	for i, sh := range shards {
		if errs[i] != nil {
			bad = append(bad, fmt.Errorf("%s: %w", Shown(l.files[i]), errs[i]))
			continue
		}
		r.shards[i] = sh
		for _, n := range sh.groups() {
			r.Count += n
		}
		if x, ok := sh.(interface{ warning() string }); ok && x.warning() != "" {
			r.Warnings = append(r.Warnings, Shown(l.files[i])+": "+x.warning())
		}
	}
	if err := l.source.ended(); err != nil {
		bad = []error{err}
	}
	if len(bad) == 0 && r.Count == 0 {
		bad = append(bad, NoDocuments{fmt.Errorf("%s holds no rows", strings.Join(s.Shown(), ", "))})
	}
	if len(bad) > 0 {
		r.Close()
		return nil, errors.Join(bad...)
	}
	return r, nil
}

// open opens a file of the list.
func (r *Records) open(i int) (recordShard, error) {
	name := r.files[i]
	format := r.source.Format
	if format == "" {
		if format = FormatOf(name); format == "" {
			format = strings.TrimPrefix(Ext(plainName(base(name))), ".")
		}
	}
	open := recordFormats[format]
	if open == nil {
		return nil, fmt.Errorf("rows are read from parquet, jsonl and json, not from %q", foreign.Shown(format))
	}
	f, err := r.source.openFile(name)
	if err != nil {
		return nil, err
	}
	sh, err := open(&r.source, f, name)
	if err != nil {
		f.Close()
		return nil, err
	}
	r.opened[i] = f
	return sh, nil
}

// All visits the rows, file by file. An error is a BadDocument, which says where; whoever goes on after it gets the next
// row, or where a group of parquet is damaged, the first of the next group.
func (r *Records) All() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		number, more := int64(0), true
		for i, sh := range r.shards {
			file := Shown(r.files[i])
			for g := range sh.groups() {
				err := sh.rows(g, func(row int64, o Object, err error) bool {
					at := Record{Fields: o, File: file, Place: sh.place(g, row), Number: number}
					if err != nil {
						err = &BadDocument{File: file, RowGroup: g, Row: int(row), Place: at.Place, Err: err}
					}
					number++
					more = yield(at, err)
					return more
				})
				if !more {
					return
				}
				if ended := r.source.ended(); ended != nil { // whatever a decoder made of it
					yield(Record{}, ended)
					return
				}
				if changed := r.unchanged(i); changed != nil {
					yield(Record{}, changed)
					return
				}
				if err != nil && !yield(Record{File: file}, &BadDocument{File: file, RowGroup: g, Row: -1, Err: err}) {
					return
				}
			}
		}
	}
}

// Close closes the files.
func (r *Records) Close() error {
	var errs []error
	for _, s := range r.shards {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}
