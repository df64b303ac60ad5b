package fineweb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
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
			return nil // after the last newline
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

func (j *jsonlShard) warning() string { return damageWarning(j.file) }

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

// endsInReturns reports that in the first line of a file, up to a newline, there are several that a carriage return
// ends.
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
	whole    bool // the text is the line itself
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
	if err := r.fill(d, line); err != nil {
		d.fail(err)
	}
}

// fill reads what the filter keeps.
func (r *jsonRow) fill(d *document, line []byte) error {
	if err := isObject(line); err != nil {
		return err
	}
	fields, _ := fieldsOf(line)
	keep, err := r.keeps(fields)
	if d.drop = !keep; err != nil || d.drop {
		return err
	}
	if r.whole {
		if at := loneSurrogate(line); at >= 0 {
			return fmt.Errorf("%w: it holds %s, half of a surrogate pair", errNotUTF8, line[at:at+6])
		}
		d.text = string(line)
	} else if d.text, err = r.textOf(fields); err != nil {
		return err
	}
	raw, _ := lookUp(fields, r.id)
	v, err := valueOf(raw)
	if err != nil {
		return fmt.Errorf("field %q: %w", r.id, err)
	}
	d.id = v.idText()
	return nil
}

// textOf is the text of a document.
func (r *jsonRow) textOf(fields map[string][]byte) (string, error) {
	raw, ok := lookUp(fields, r.text)
	if !ok {
		return "", fmt.Errorf("it has no field %q", r.text)
	}
	v, err := valueOf(raw)
	if err != nil {
		return "", fmt.Errorf("field %q: %w", r.text, err)
	}
	if v.kind != words && v.kind != null {
		return "", fmt.Errorf("field %q holds %s, not text", r.text, kindNames[v.kind])
	}
	return v.s, nil
}

// isObject says why a line is not a JSON object.
func isObject(line []byte) error {
	if !utf8.Valid(line) {
		return errNotUTF8
	}
	if !json.Valid(line) {
		first, rest, ok := bytes.Cut(line, []byte("\r"))
		if ok && len(bytes.TrimSpace(rest)) > 0 && json.Valid(first) {
			return errReturns
		}
		var none any
		return fmt.Errorf("it is not JSON: %w", json.Unmarshal(line, &none))
	}
	if line[0] != '{' {
		return errors.New("it is not a JSON object")
	}
	return nil
}

// keeps reports whether the filter keeps an object.
func (r *jsonRow) keeps(fields map[string][]byte) (bool, error) {
	if r.filter == nil {
		return true, nil
	}
	row := make([]value, len(r.filter.columns))
	for i, c := range r.filter.columns {
		raw, _ := lookUp(fields, c)
		v, err := valueOf(raw)
		if err != nil {
			return false, fmt.Errorf("field %q: %w", c, err)
		}
		row[i] = v
	}
	keep, err := r.filter.keeps(row)
	if err != nil {
		return false, fmt.Errorf("the filter does not fit it: %w", err)
	}
	return keep, nil
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
