package fineweb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"stepflow/foreign"
)

// jsonRecords is a file of JSON: an object a line, or a list of objects.
type jsonRecords struct {
	spans
	file file
	list bool
}

func openJSONRecords(s *reading, f file, name string) (sh recordShard, err error) {
	if f, err = s.unpacked(f, name); err != nil {
		return nil, err
	}
	j := &jsonRecords{file: f}
	if err := j.index(s); err != nil {
		closeUnpacked(f)
		return nil, err
	}
	return j, nil
}

// index finds where each object stands.
func (j *jsonRecords) index(s *reading) error {
	start, err := textStart(j.file)
	if err != nil {
		return err
	}
	begin := make([]byte, min(window, j.file.Size()-start))
	if _, err := io.ReadFull(io.NewSectionReader(j.file, start, int64(len(begin))), begin); err != nil {
		return err
	}
	if rest := bytes.TrimLeft(begin, " \t\r\n"); len(rest) > 0 && rest[0] == '[' {
		j.list = true
		if err := j.entries(start + int64(len(begin)-len(rest)) + 1); err != nil {
			return err
		}
		return damageOf(j.file, s, "the list")
	}
	lines := &jsonlShard{source: s, file: j.file}
	err = lines.index()
	j.spans = lines.spans
	return err
}

// entries finds the entries of the list, the first of which begins at a byte, in one pass.
func (j *jsonRecords) entries(from int64) error {
	var scan entryScan
	buf := make([]byte, window)
	at, number := from, int64(0)
	for next := from; next < j.file.Size(); {
		b := buf[:min(window, j.file.Size()-next)]
		if _, err := io.ReadFull(io.NewSectionReader(j.file, next, int64(len(b))), b); err != nil {
			return err
		}
		for i := 0; i < len(b); i++ {
			if scan.closed {
				if !isSpace(b[i]) {
					return fmt.Errorf("after the end of its list, at byte %d, more follows", next+int64(i))
				}
				continue
			}
			if !scan.ends(b[i]) {
				continue
			}
			if end := next + int64(i) + 1; !scan.closed || scan.any { // a list may be empty
				j.add(at, end, number)
				at, number = end, number+1
			} else if number > 0 {
				return errors.New("its list ends with a comma")
			}
			scan.any = false
		}
		next += int64(len(b))
	}
	if !scan.closed {
		return fmt.Errorf("its list has no end: the file is cut off after entry %d", number)
	}
	return nil
}

// entryScan goes through the bytes of a list.
type entryScan struct {
	depth           int
	quoted, escaped bool
	any             bool // a byte of the entry other than white space was seen
	closed          bool // the list is
}

// ends reports whether a byte ends an entry: it is the comma after it, or the bracket that closes the list.
func (e *entryScan) ends(b byte) bool {
	switch {
	case e.quoted:
		switch {
		case e.escaped:
			e.escaped = false
		case b == '\\':
			e.escaped = true
		case b == '"':
			e.quoted = false
		}
		return false
	case b == ',' && e.depth == 0:
		return true
	case b == ']' && e.depth == 0:
		e.closed = true
		return true
	}
	switch b {
	case '"':
		e.quoted = true
	case '{', '[':
		e.depth++
	case '}', ']':
		e.depth = max(0, e.depth-1)
	}
	e.any = e.any || !isSpace(b)
	return false
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\r' || b == '\n' }

// nextEntry cuts the next entry off some.
func nextEntry(rest []byte) (entry, more []byte, passed int64) {
	var scan entryScan
	for i, b := range rest {
		if scan.ends(b) {
			if entry, more = rest[:i], rest[i+1:]; len(more) == 0 {
				more = nil
			}
			return entry, more, 0
		}
	}
	return rest, nil, 0
}

func (j *jsonRecords) warning() string { return damageWarning(j.file) }

func (j *jsonRecords) Close() error { return j.file.Close() }

func (j *jsonRecords) place(group int, row int64) string {
	if j.list {
		return fmt.Sprintf("entry %d", j.number(group, row)+1)
	}
	return fmt.Sprintf("line %d", j.number(group, row)+1)
}

// next cuts the next object off some.
func (j *jsonRecords) next(rest []byte) (object, more []byte, passed int64) {
	if j.list {
		return nextEntry(rest)
	}
	return nextLine(rest)
}

// rows reads few at a time, a span.
func (j *jsonRecords) rows(group int, visit func(row int64, o Object, err error) bool) error {
	more := true
	for row, n := int64(0), j.groups()[group]; row < n && more; {
		list, before := j.rest(group, row)
		some := before + list[0].docs - row
		err := j.read(j.file, group, row, some, j.next, func(i, _ int64, text []byte) {
			if !more {
				return
			}
			blank := text != nil && len(bytes.TrimSpace(text)) == 0
			if blank && !j.list {
				return
			}
			o, err := objectOf(text)
			more = visit(row+i, o, err)
		})
		if err != nil {
			return err
		}
		row += some
	}
	return nil
}

// objectOf reads an object as JSON writes it; nil is one that is too long.
func objectOf(text []byte) (Object, error) {
	if text == nil {
		return nil, errLargeRow
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return nil, errors.New("it is empty")
	}
	if err := isObject(text); err != nil {
		return nil, err
	}
	if at := loneSurrogate(text); at >= 0 {
		return nil, fmt.Errorf("%w: it holds %s, half of a surrogate pair", errNotUTF8, text[at:at+6])
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	r := jsonValues{d, maxRowValues}
	v, err := r.next(maxRowNesting)
	o, _ := v.(Object)
	return o, err
}

// jsonValues reads the values of a row.
type jsonValues struct {
	*json.Decoder
	left int // how many values may still come
}

func (r *jsonValues) next(depth int) (any, error) {
	if r.left--; r.left < 0 {
		return nil, errManyValues
	}
	if depth == 0 {
		return nil, errDeepRow
	}
	t, err := r.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Number:
		v := numberOf(t.String())
		if v.kind == fraction && math.IsInf(v.f, 0) {
			return nil, fmt.Errorf("it holds the number %s, which no float64 is near to", foreign.Shown(t.String()))
		}
		return v.plain(), nil
	case json.Delim:
		if t == '[' {
			list := List{}
			for r.More() {
				v, err := r.next(depth - 1)
				if err != nil {
					return nil, err
				}
				list = append(list, v)
			}
			_, err := r.Token()
			return list, err
		}
		return r.object(depth)
	}
	return t, nil // nil, a bool or a string
}

// object reads the fields of an object. Of a name that stands twice the last counts, as in Python's json.
func (r *jsonValues) object(depth int) (Object, error) {
	o, places := Object{}, map[string]int{}
	for r.More() {
		t, err := r.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		v, err := r.next(depth - 1)
		if err != nil {
			return nil, err
		}
		if at, twice := places[name]; twice {
			o[at].Value = v
			continue
		}
		places[name] = len(o)
		o = append(o, Field{name, v})
	}
	_, err := r.Token()
	return o, err
}
