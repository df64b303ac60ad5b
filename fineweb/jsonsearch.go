package fineweb

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"stepflow/foreign"
)

// What is looked at of JSON lines to find the fields that their source names.
const (
	absentBytes = 16 << 20
	absentLines = 1 << 14
)

// absent looks for the fields that the source names, in the lines of all files until each was met. One that no line has
// is an error, as a column is that a parquet file has not, and of the id a warning; where there are more lines than are
// looked at it is a warning.
func (c *Corpus) absent() (notes []string, err error) {
	var s *fieldSearch
	for i, sh := range c.shards {
		j, ok := sh.(*jsonlShard)
		if !ok {
			continue
		}
		if s == nil {
			s = newFieldSearch(j.row)
		}
		if err := s.look(j, Shown(c.files[i])); err != nil {
			return nil, nil // where it is read for use it is said
		}
	}
	if s == nil {
		return nil, nil
	}
	return s.said(strings.Join(c.source.Shown(), ", "))
}

// fieldSearch is a search for fields in JSON lines.
type fieldSearch struct {
	names  []string          // of fields that were not met yet
	wanted map[string]string // by name, what names the field
	lines  int               // looked at
	size   int64             // of those, in bytes
	whole  bool              // all lines were looked at, and could be read
	have   []string          // fields of the first line that has any
	place  string            // of that line
}

// newFieldSearch looks for what a row reads. An id that nothing names may be missing.
func newFieldSearch(r *jsonRow) *fieldSearch {
	s := &fieldSearch{wanted: map[string]string{}, whole: true}
	want := func(name, why string) {
		if s.wanted[name] == "" {
			s.names = append(s.names, name)
		}
		s.wanted[name] += why
	}
	want(r.text, "text_column")
	if r.filter != nil {
		for _, name := range r.filter.columns {
			want(name, "a filter")
		}
	}
	if r.id != usualID {
		want(r.id, "id_column")
	}
	return s
}

// look goes through the lines of a file, as long as a field was not met and few lines were looked at.
func (s *fieldSearch) look(j *jsonlShard, file string) error {
	for g, n := range j.groups() {
		for from := int64(0); from < n && len(s.names) > 0; from += docsPerSpan {
			if s.lines >= absentLines || s.size >= absentBytes {
				s.whole = false
				break
			}
			err := j.spans.read(j.file, g, from, min(docsPerSpan, n-from), nextLine,
				func(_, number int64, line []byte) {
					s.line(file, number, line)
				})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// line takes away the names of the fields that a line has.
func (s *fieldSearch) line(file string, number int64, line []byte) {
	s.lines++
	s.size += int64(len(line))
	fields, ok := fieldsOf(line)
	if s.whole = s.whole && ok; !ok {
		return
	}
	if s.have == nil && len(fields) > 0 {
		s.have, s.place = slices.Sorted(maps.Keys(fields)), fmt.Sprintf("%s, line %d", file, number+1)
	}
	s.names = slices.DeleteFunc(s.names, func(name string) bool { _, has := lookUp(fields, name); return has })
}

// said is what is to be said of the fields that were not met.
func (s *fieldSearch) said(source string) (notes []string, err error) {
	if s.have == nil { // there is no line to read
		return nil, nil
	}
	of := "no line"
	if !s.whole {
		of = fmt.Sprintf("none of the first %d lines", s.lines)
	}
	var errs []error
	for _, name := range s.names {
		text := fmt.Sprintf("%s of %s has a field %q (%s); %s has %s",
			of, source, foreign.Shown(name), s.wanted[name], s.place, foreign.Shown(strings.Join(s.have, ", ")))
		if s.wanted[name] == "id_column" {
			text += "; a hash of the text serves as the id where there is none"
		}
		if s.whole && s.wanted[name] != "id_column" {
			errs = append(errs, wrongColumns{errors.New(text)})
		} else {
			notes = append(notes, text)
		}
	}
	return notes, errors.Join(errs...)
}
