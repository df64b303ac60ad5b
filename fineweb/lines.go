package fineweb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Documents of JSON lines and of text stand in groups of so many, or of so many bytes, whatever is reached first; a
// longer document is a group of its own. Where every few of them begin is kept, so that a piece of a group is read
// without the rest.
const (
	docsPerGroup  = 1024
	bytesPerGroup = pieceBytes
	docsPerSpan   = 32
	bytesPerSpan  = 256 << 10
)

// maxDocument bounds a document, and a line of a JSON-lines file, in bytes.
const maxDocument = 256 << 20

// span is a few documents that stand one after the other in a file: lines, or what stands between separators.
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

// add puts a document after the last.
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

// read visits rows of a group in order, with their number and bytes, which next cuts off the rest of a span; nil are
// those of one that is too long.
func (s *spans) read(
	f io.ReaderAt, group int, from, n int64,
	next func(rest []byte) (doc, more []byte, number int64),
	visit func(i int64, number int64, doc []byte),
) error {
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

// partsOf calls visit with the bytes that each part of a file takes, from a byte on, and with the part itself if it is
// short; nil if it is longer than a window. Parts stand between separators. It holds two windows at most, and reads
// each byte once.
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

// prefixes are what a file may begin with that says what it is: a byte order mark of UTF-8, which is not part of its
// text, or something that is not UTF-8 at all.
var prefixes = []struct{ bytes, what string }{
	{"\xff\xfe\x00\x00", "UTF-32"}, {"\x00\x00\xfe\xff", "UTF-32"}, {"\xff\xfe", "UTF-16"}, {"\xfe\xff", "UTF-16"},
	{"\xfd7zXZ\x00", "xz"}, {"BZh", "bzip2"}, {"PK\x03\x04", "zip"}, {"PAR1", "parquet"},
}

// wideText names the encoding of a text without a byte order mark in which ASCII has bytes of 0 beside it; "" for
// UTF-8. Text in UTF-8 has hardly any such bytes, and none in a pattern.
func wideText(head []byte) string {
	const least = 2 // characters
	broken := bytes.Count(bytes.ToValidUTF8(bytes.ReplaceAll(head, []byte("\uFFFD"), nil), []byte("\uFFFD")),
		[]byte("\uFFFD"))
	for _, e := range []struct {
		name string
		size int
		text int // the byte of a character that is not 0
	}{{"UTF-32LE", 4, 0}, {"UTF-32BE", 4, 3}, {"UTF-16LE", 2, 0}, {"UTF-16BE", 2, 1}} {
		units := len(head) / e.size
		narrow, zeros := 0, 0 // characters of ASCII; others that hold a 0 where those have none
		for i := range units {
			unit := head[i*e.size : (i+1)*e.size]
			high := bytes.Count(unit, []byte{0}) - bytes.Count(unit[e.text:e.text+1], []byte{0})
			switch {
			case unit[e.text] == 0 && high < e.size-1:
				zeros++
			case high == e.size-1 && unit[e.text] != 0:
				narrow++
			}
		}
		// Of Chinese only some characters are ASCII.
		if units >= least && zeros*16 < units && (narrow*4 > units || narrow >= 4 && broken >= 4) {
			return e.name
		}
	}
	return ""
}

// textStart is where the text of a file begins.
func textStart(f file) (int64, error) {
	head := make([]byte, min(4096, f.Size()))
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(len(head))), head); err != nil {
		return 0, err
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		return 3, nil
	}
	for _, p := range prefixes {
		if !bytes.HasPrefix(head, []byte(p.bytes)) || p.what == "bzip2" &&
			(len(head) < 4 || head[3] < '1' || head[3] > '9') {
			continue
		}
		switch p.what {
		case "UTF-16", "UTF-32":
			return 0, fmt.Errorf("the file is %s, by its byte order mark: convert it to UTF-8", p.what)
		case "parquet":
			return 0, errors.New("the file is parquet: read it with a data block of that type")
		}
		return 0, fmt.Errorf("the file is compressed with %s, which is not read: decompress it, or compress it with "+
			"gzip or zstd", p.what)
	}
	if wide := wideText(head); wide != "" {
		return 0, fmt.Errorf("the file looks like %s without a byte order mark, by its bytes of 0: convert it to "+
			"UTF-8, as iconv -f %s -t UTF-8 does", wide, wide)
	}
	return 0, nil
}
