package fineweb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Documents of JSON lines and of text stand in groups of so many, or of so many bytes, whatever is reached first; a longer document is a
// group of its own. Where every few of them begin is kept, so that a piece of a group is read without the rest.
const (
	docsPerGroup  = 1024
	bytesPerGroup = pieceBytes
	docsPerSpan   = 32
	bytesPerSpan  = 256 << 10
)

// maxDocument bounds a document, and a line of a JSON-lines file, in bytes.
const maxDocument = 256 << 20

// span is a few documents that stand one behind the other in a file: lines, or what stands between separators.
type span struct {
	at, end int64 // bytes
	first   int64 // number of its first line or part in the file, from 0
	docs    int64
}

// spans are those of a file, in groups.
type spans struct {
	all    []span
	starts []int   // of each group, among the spans
	rows   []int64 // documents of each group
}

// add puts a document behind the last.
func (s *spans) add(at, end, number int64) {
	k, g := len(s.all)-1, len(s.rows)-1
	if g < 0 || s.rows[g] == docsPerGroup || end-s.all[s.starts[g]].at > bytesPerGroup {
		s.starts, s.rows = append(s.starts, len(s.all)), append(s.rows, 0)
		k, g = -1, g+1
	}
	if s.rows[g]++; k >= 0 && s.all[k].docs < docsPerSpan && end-s.all[k].at <= bytesPerSpan {
		s.all[k].end, s.all[k].docs = end, s.all[k].docs+1
		return
	}
	s.all = append(s.all, span{at, end, number, 1})
}

func (s *spans) groups() []int64 { return s.rows }

// rest are the spans of a group from the one on that holds a row, and the rows before it.
func (s *spans) rest(group int, row int64) (list []span, before int64) {
	end := len(s.all)
	if group+1 < len(s.starts) {
		end = s.starts[group+1]
	}
	for list = s.all[s.starts[group]:end]; len(list) > 1 && before+list[0].docs <= row; list = list[1:] {
		before += list[0].docs
	}
	return list, before
}

// number is that of a row's line or part, if none is left out between the first of its span and it.
func (s *spans) number(group int, row int64) int64 {
	list, before := s.rest(group, row)
	return list[0].first + row - before
}

// read visits rows of a group in order, with their number and bytes, which next cuts off the rest of a span; nil are those of one that is
// too long.
func (s *spans) read(f io.ReaderAt, group int, from, n int64, next func(rest []byte) (doc, more []byte, number int64), visit func(i int64, number int64, doc []byte)) error {
	list, row := s.rest(group, from)
	for ; row < from+n; list = list[1:] {
		x := list[0]
		if x.end-x.at > maxDocument+2 {
			visit(row-from, x.first, nil)
			row++
			continue
		}
		b := make([]byte, x.end-x.at)
		if _, err := io.ReadFull(io.NewSectionReader(f, x.at, x.end-x.at), b); err != nil {
			return fmt.Errorf("reading %d bytes from byte %d on: %w", len(b), x.at, err)
		}
		number := x.first
		for i := range x.docs {
			if b == nil {
				return fmt.Errorf("the file changed: %d documents where %d were", i, x.docs)
			}
			var doc []byte
			var passed int64
			doc, b, passed = next(b)
			if row >= from && row < from+n {
				visit(row-from, number+passed, doc)
			}
			number += passed + 1
			row++
		}
		if b != nil {
			return fmt.Errorf("the file changed: more than %d documents where %d were", x.docs, x.docs)
		}
	}
	return nil
}

// window is how much of a file is searched at a time.
const window = 1 << 20

// partsOf calls visit with the bytes that each part of a file takes, from a byte on, and with the part itself if it is short; nil if it is
// longer than a window. Parts stand between separators. It holds two windows at most, and reads each byte once.
func partsOf(f file, from int64, separator []byte, visit func(at, end int64, part []byte) error) error {
	size := f.Size()
	var buf []byte // the bytes from base on
	base, part := from, from
	searched := 0 // of buf
	for next := from; ; {
		for {
			i := bytes.Index(buf[searched:], separator)
			if i < 0 {
				break
			}
			end := base + int64(searched+i)
			if err := visit(part, end, within(buf, base, part, end)); err != nil {
				return err
			}
			searched += i + len(separator)
			part = base + int64(searched)
		}
		if next == size {
			return visit(part, size, within(buf, base, part, size))
		}
		searched = max(searched, len(buf)-len(separator)+1)
		keep := searched
		if k := int(part - base); k >= 0 && len(buf)-k <= window { // a short part, as far as it goes
			keep = min(keep, k)
		}
		rest := copy(buf, buf[keep:])
		base, searched, buf = base+int64(keep), searched-keep, buf[:rest]
		n := int(min(window, size-next))
		buf = slices.Grow(buf, n)[:rest+n]
		if _, err := io.ReadFull(io.NewSectionReader(f, next, int64(n)), buf[rest:]); err != nil {
			return fmt.Errorf("reading %d bytes from byte %d on: %w", n, next, err)
		}
		next += int64(n)
	}
}

func within(buf []byte, base, at, end int64) []byte {
	if at < base || end-at > window {
		return nil
	}
	return buf[at-base : end-base]
}

// prefixes are what a file may begin with that says what it is: a byte order mark of UTF-8, which is not part of its text, or something
// that is not UTF-8 at all.
var prefixes = []struct{ bytes, what string }{
	{"\xff\xfe\x00\x00", "UTF-32"}, {"\x00\x00\xfe\xff", "UTF-32"}, {"\xff\xfe", "UTF-16"}, {"\xfe\xff", "UTF-16"},
	{"\xfd7zXZ\x00", "xz"}, {"BZh", "bzip2"}, {"PK\x03\x04", "zip"}, {"PAR1", "parquet"},
}

// textStart is where the text of a file begins.
func textStart(f file) (int64, error) {
	head := make([]byte, min(8, f.Size()))
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(len(head))), head); err != nil {
		return 0, err
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		return 3, nil
	}
	for _, p := range prefixes {
		if !bytes.HasPrefix(head, []byte(p.bytes)) || p.what == "bzip2" && (len(head) < 4 || head[3] < '1' || head[3] > '9') {
			continue
		}
		switch p.what {
		case "UTF-16", "UTF-32":
			return 0, fmt.Errorf("the file is %s, by its byte order mark: convert it to UTF-8", p.what)
		case "parquet":
			return 0, errors.New("the file is parquet: read it with a data block of that type")
		}
		return 0, fmt.Errorf("the file is compressed with %s, which is not read: decompress it, or compress it with gzip or zstd", p.what)
	}
	return 0, nil
}

// jsonlShard is a file of JSON lines.
type jsonlShard struct {
	spans
	source *Source
	file   file
	row    *jsonRow
}

// openJSONL finds where each group of lines starts, in one pass.
func openJSONL(s *Source, f file, name string) (shard, error) {
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
	next := func(rest []byte) (line, more []byte, passed int64) {
		line, more, _ = bytes.Cut(rest, []byte("\n"))
		if len(more) == 0 {
			more = nil
		}
		return line, more, 0
	}
	return docs, j.spans.read(j.file, group, from, n, next, func(i, _ int64, line []byte) {
		if line == nil {
			docs[i].fail(errTooLong)
		} else {
			j.row.read(&docs[i], line)
		}
	})
}

// jsonRow is what is read of a line: the text, the id, and what the filter compares.
type jsonRow struct {
	text, id string
	filter   *filter
}

func jsonRowOf(s *Source) (*jsonRow, error) {
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
		var none any
		d.fail(fmt.Errorf("it is not JSON: %w", json.Unmarshal(line, &none)))
		return
	}
	if line[0] != '{' {
		d.fail(errors.New("it is not a JSON object"))
		return
	}
	fields := map[string][]byte{}
	walkObject(line, func(name string, raw []byte) { fields[name] = raw })
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
