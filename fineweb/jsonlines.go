package fineweb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"stepflow/foreign"
)

// jsonlShard is a file of JSON lines.
type jsonlShard struct {
	spans
	source *reading
	file   file
	row    *jsonRow
}

// openJSONL finds where each group of lines starts, in one pass.
func openJSONL(s *reading, f file, name string) (shard, error) {
	row, err := jsonRowOf(s)
	if err != nil {
		return nil, err
	}
	f, err = s.unpacked(f, name)
	if err != nil {
		return nil, err
	}
	j := &jsonlShard{source: s, file: f, row: row}
	if err := j.index(); err != nil {
		closeUnpacked(f)
		return nil, err
	}
	return j, nil
}

func (j *jsonlShard) index() error {
	start, err := textStart(j.file)
	if err != nil {
		return err
	}
	var lines int64
	err = partsOf(j.file, start, []byte("\n"), func(at, end int64, line []byte) error {
		if end == j.file.Size() && at == end {
			return nil // behind the last newline
		}
		if lines == 0 && bytes.HasPrefix(bytes.TrimLeft(line, " \t\r"), []byte("[")) {
			return errors.New(`the file is a JSON list, not one object a line; jq -c '.[]' makes such lines of it`)
		}
		if lines == 0 {
			if err := endsInReturns(j.file, start, end); err != nil {
				return err
			}
		}
		j.add(at, min(end+1, j.file.Size()), lines)
		lines++
		return nil
	})
	if err != nil {
		return err
	}
	return damageOf(j.file, j.source, fmt.Sprintf("line %d", max(1, lines)))
}

// warning tells of a file whose end could not be decompressed.
func (j *jsonlShard) warning() string {
	if u, ok := j.file.(*unpackedFile); ok && u.Damage != "" {
		return u.Damage + ": what comes before is used"
	}
	return ""
}

func (j *jsonlShard) Close() error { return j.file.Close() }

func (j *jsonlShard) place(group int, row int64) string {
	return fmt.Sprintf("line %d", j.number(group, row)+1)
}

// read decodes lines of a group.
func (j *jsonlShard) read(group int, from, n int64) ([]document, error) {
	docs := make([]document, n)
	return docs, j.spans.read(j.file, group, from, n, nextLine, func(i, _ int64, line []byte) {
		if line == nil {
			docs[i].fail(errTooLong)
		} else {
			j.row.read(&docs[i], line)
		}
	})
}

var errReturns = errors.New(`its lines end with carriage returns alone: end them with newlines, as tr '\r' '\n' does`)

// endsInReturns reports that in the first line of a file, up to a newline, there are several that a carriage return ends.
func endsInReturns(f file, from, to int64) error {
	head := make([]byte, min(to-from, window))
	if _, err := io.ReadFull(io.NewSectionReader(f, from, int64(len(head))), head); err != nil {
		return err
	}
	first, rest, ok := bytes.Cut(head, []byte("\r"))
	if ok && len(bytes.TrimSpace(rest)) > 0 && json.Valid(first) {
		return errReturns
	}
	return nil
}

// jsonRow is what is read of a line: the text, the id, and what the filter compares.
type jsonRow struct {
	text, id string
	filter   *filter
}

func jsonRowOf(s *reading) (*jsonRow, error) {
	f, err := parseFilter(s.conditions())
	if err != nil {
		return nil, err
	}
	return &jsonRow{text: s.TextColumn, id: s.IDColumn, filter: f}, nil
}

// read makes a document of a line. A blank line is passed over; one that cannot be read has a flaw.
func (r *jsonRow) read(d *document, line []byte) {
	if line = bytes.TrimSpace(line); len(line) == 0 {
		d.drop = true
		return
	}
	if !utf8.Valid(line) {
		d.fail(errNotUTF8)
		return
	}
	if !json.Valid(line) {
		if first, rest, ok := bytes.Cut(line, []byte("\r")); ok && len(bytes.TrimSpace(rest)) > 0 && json.Valid(first) {
			d.fail(errReturns)
			return
		}
		var none any
		d.fail(fmt.Errorf("it is not JSON: %w", json.Unmarshal(line, &none)))
		return
	}
	if line[0] != '{' {
		d.fail(errors.New("it is not a JSON object"))
		return
	}
	fields, _ := fieldsOf(line)
	if r.filter != nil {
		row := make([]value, len(r.filter.columns))
		for i, c := range r.filter.columns {
			raw, _ := lookUp(fields, c)
			v, err := valueOf(raw)
			if err != nil {
				d.fail(fmt.Errorf("field %q: %w", c, err))
				return
			}
			row[i] = v
		}
		keep, err := r.filter.keeps(row)
		if err != nil {
			d.fail(fmt.Errorf("the filter does not fit it: %w", err))
			return
		}
		if d.drop = !keep; d.drop {
			return
		}
	}
	raw, ok := lookUp(fields, r.text)
	if !ok {
		d.fail(fmt.Errorf("it has no field %q", r.text))
		return
	}
	v, err := valueOf(raw)
	switch {
	case err != nil:
		d.fail(fmt.Errorf("field %q: %w", r.text, err))
		return
	case v.kind != words && v.kind != null:
		d.fail(fmt.Errorf("field %q holds %s, not text", r.text, kindNames[v.kind]))
		return
	}
	d.text = v.s
	raw, _ = lookUp(fields, r.id)
	if v, err = valueOf(raw); err != nil {
		d.fail(fmt.Errorf("field %q: %w", r.id, err))
		return
	}
	d.id = v.idText()
}

// What is looked at of JSON lines to find the fields that their source names.
const (
	absentBytes = 16 << 20
	absentLines = 1 << 14
)

// absent looks for the fields that the source names, in the lines of all files until each was met. One that no line has is an error, as a
// column is that a parquet file has not, and of the id a warning; where there are more lines than are looked at it is a warning.
func (c *Corpus) absent() (notes []string, err error) {
	wanted := map[string]string{}
	var names, have []string
	want := func(name, why string) {
		if wanted[name] == "" {
			names = append(names, name)
		}
		wanted[name] += why
	}
	lines, size, whole := 0, int64(0), true
	place := ""
	for i, sh := range c.shards {
		j, ok := sh.(*jsonlShard)
		if !ok {
			continue
		}
		if len(wanted) == 0 && lines == 0 {
			want(j.row.text, "text_column")
			if j.row.filter != nil {
				for _, name := range j.row.filter.columns {
					want(name, "a filter")
				}
			}
			if j.row.id != usualID {
				want(j.row.id, "id_column")
			}
		}
		for g, n := range j.groups() {
			for from := int64(0); from < n && len(names) > 0; from += docsPerSpan {
				if lines >= absentLines || size >= absentBytes {
					whole = false
					break
				}
				err := j.spans.read(j.file, g, from, min(docsPerSpan, n-from), nextLine, func(_, number int64, line []byte) {
					lines++
					size += int64(len(line))
					fields, ok := fieldsOf(line)
					if whole = whole && ok; !ok {
						return
					}
					if have == nil && len(fields) > 0 {
						have, place = slices.Sorted(maps.Keys(fields)), fmt.Sprintf("%s, line %d", Shown(c.files[i]), number+1)
					}
					names = slices.DeleteFunc(names, func(name string) bool { _, has := lookUp(fields, name); return has })
				})
				if err != nil {
					return nil, nil // where it is read for use it is said
				}
			}
		}
	}
	var errs []error
	for _, name := range names {
		if have == nil {
			break // there is no line to read
		}
		of := "no line"
		if !whole {
			of = fmt.Sprintf("none of the first %d lines", lines)
		}
		text := fmt.Sprintf("%s of %s has a field %q (%s); %s has %s", of, strings.Join(c.source.Shown(), ", "), foreign.Shown(name), wanted[name], place, foreign.Shown(strings.Join(have, ", ")))
		if wanted[name] == "id_column" {
			text += "; a hash of the text serves as the id where there is none"
		}
		if whole && wanted[name] != "id_column" {
			errs = append(errs, wrongColumns{errors.New(text)})
		} else {
			notes = append(notes, text)
		}
	}
	return notes, errors.Join(errs...)
}

// fieldsOf reads the fields of a line; ok is false where it cannot be read, and true for a blank one, which has none.
func fieldsOf(line []byte) (fields map[string][]byte, ok bool) {
	if line == nil { // it is too long
		return nil, false
	}
	if line = bytes.TrimSpace(line); len(line) == 0 {
		return nil, true
	}
	if !json.Valid(line) || line[0] != '{' {
		return nil, false
	}
	fields = map[string][]byte{}
	walkObject(line, func(name string, raw []byte) { fields[name] = raw })
	return fields, true
}

// nextLine cuts the next line off some.
func nextLine(rest []byte) (line, more []byte, passed int64) {
	line, more, _ = bytes.Cut(rest, []byte("\n"))
	if len(more) == 0 {
		more = nil
	}
	return line, more, 0
}

// lookUp finds a field by its name, or by a path of names with dots between them.
func lookUp(fields map[string][]byte, path string) (raw []byte, ok bool) {
	if raw, ok = fields[path]; ok {
		return raw, true
	}
	for at := strings.IndexByte(path, '.'); at >= 0; {
		if raw, ok := fields[path[:at]]; ok && len(raw) > 0 && raw[0] == '{' {
			inner := map[string][]byte{}
			walkObject(raw, func(name string, raw []byte) { inner[name] = raw })
			if raw, ok := lookUp(inner, path[at+1:]); ok {
				return raw, true
			}
		}
		next := strings.IndexByte(path[at+1:], '.')
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return nil, false
}

// walkObject visits the fields of a JSON object, which is valid; of a name that stands twice the last counts.
func walkObject(b []byte, visit func(name string, raw []byte)) {
	at := 1
	skip := func(set string) {
		for at < len(b) && strings.IndexByte(set, b[at]) >= 0 {
			at++
		}
	}
	for {
		if skip(" \t\r\n,"); at >= len(b) || b[at] == '}' {
			return
		}
		from := at
		at = endOfValue(b, at)
		var name string
		if err := json.Unmarshal(b[from:at], &name); err != nil {
			return
		}
		skip(" \t\r\n:")
		from = at
		at = endOfValue(b, at)
		visit(name, b[from:at])
	}
}

// endOfValue is where a valid JSON value ends that begins at a byte.
func endOfValue(b []byte, at int) int {
	depth := 0
	for at < len(b) {
		switch b[at] {
		case '"':
			for at++; at < len(b) && b[at] != '"'; at++ {
				if b[at] == '\\' {
					at++
				}
			}
			at++
		case '{', '[':
			depth++
			at++
			continue
		case '}', ']':
			depth--
			at++
		default: // a number or a word, or what stands between the values of a list or an object
			from := at
			for at < len(b) && strings.IndexByte(`"{}[],: `+"\t\r\n", b[at]) < 0 {
				at++
			}
			if at == from {
				at++
				continue
			}
		}
		if depth == 0 {
			return min(at, len(b))
		}
	}
	return len(b)
}
