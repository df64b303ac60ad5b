package fineweb

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// linesPerGroup is how many lines of a JSON-lines file are read at a time.
const linesPerGroup = 1000

// maxLine bounds one line of a JSON-lines file, in bytes.
const maxLine = 256 << 20

type jsonlShard struct {
	source *Source
	file   file
	rows   []int64
	starts []int64 // byte offset of each group, and the end
}

// openJSONL finds where each group of lines starts, in one pass.
func openJSONL(s *Source, f file, _ string) (shard, error) {
	j := &jsonlShard{source: s, file: f, starts: []int64{0}}
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, f.Size()), 1<<20)
	var at, lines int64
	for {
		chunk, err := r.ReadSlice('\n')
		at += int64(len(chunk))
		if len(chunk) > 0 && err != bufio.ErrBufferFull {
			lines++
		}
		if lines == linesPerGroup || errors.Is(err, io.EOF) && lines > 0 {
			j.rows = append(j.rows, lines)
			j.starts = append(j.starts, at)
			lines = 0
		}
		if errors.Is(err, io.EOF) {
			return j, nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return nil, err
		}
	}
}

func (j *jsonlShard) groups() []int64 { return j.rows }
func (j *jsonlShard) Close() error    { return j.file.Close() }

// read reads a group whole: it is never larger than a piece.
func (j *jsonlShard) read(group int, from, n int64) ([]document, error) {
	sc := bufio.NewScanner(io.NewSectionReader(j.file, j.starts[group], j.starts[group+1]-j.starts[group]))
	sc.Buffer(make([]byte, 0, 1<<16), maxLine)
	docs := make([]document, 0, j.rows[group])
	for sc.Scan() {
		line := group*linesPerGroup + len(docs) + 1
		d := document{drop: len(strings.TrimSpace(sc.Text())) == 0} // blank lines are no documents
		if !d.drop {
			var row map[string]json.RawMessage
			if err := json.Unmarshal(sc.Bytes(), &row); err != nil {
				return nil, fmt.Errorf("line %d: %w", line, err)
			}
			raw, ok := row[j.source.TextColumn]
			if !ok {
				return nil, fmt.Errorf("line %d has no field %q", line, j.source.TextColumn)
			}
			if err := json.Unmarshal(raw, &d.text); err != nil {
				return nil, fmt.Errorf("line %d: field %q: %w", line, j.source.TextColumn, err)
			}
			if raw, ok := row[j.source.IDColumn]; ok {
				d.id = strings.Trim(string(raw), `"`)
			} else {
				d.id = contentID(d.text)
			}
		}
		docs = append(docs, d)
	}
	if err := sc.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d is longer than %d bytes, the most that a line may have", group*linesPerGroup+len(docs)+1, maxLine)
	} else if err != nil {
		return nil, fmt.Errorf("line %d: %w", group*linesPerGroup+len(docs)+1, err)
	}
	if int64(len(docs)) != j.rows[group] {
		return nil, fmt.Errorf("the file changed: %d lines where %d were", len(docs), j.rows[group])
	}
	return docs[from : from+n], nil
}

// textShard is a plain file: one group whose documents stand between separators.
type textShard struct {
	source *Source
	file   file
	name   string
	rows   int64
}

func openText(s *Source, f file, name string) (shard, error) {
	t := &textShard{source: s, file: f, name: name}
	docs, err := t.documents()
	if err != nil {
		return nil, err
	}
	t.rows = int64(len(docs))
	return t, nil
}

func (t *textShard) groups() []int64 { return []int64{t.rows} }
func (t *textShard) Close() error    { return t.file.Close() }

func (t *textShard) read(_ int, from, n int64) ([]document, error) {
	docs, err := t.documents()
	if err != nil {
		return nil, err
	}
	if int64(len(docs)) != t.rows {
		return nil, fmt.Errorf("the file changed: %d documents where %d were", len(docs), t.rows)
	}
	return docs[from : from+n], nil
}

func (t *textShard) documents() ([]document, error) {
	b, err := io.ReadAll(io.NewSectionReader(t.file, 0, t.file.Size()))
	if err != nil {
		return nil, err
	}
	parts := []string{string(b)}
	if t.source.Separator != "" {
		parts = strings.Split(string(b), t.source.Separator)
	}
	docs := make([]document, 0, len(parts))
	for i, p := range parts {
		if len(parts) > 1 && strings.TrimSpace(p) == "" {
			continue
		}
		docs = append(docs, document{id: fmt.Sprintf("%s#%d", base(t.name), i), text: p})
	}
	return docs, nil
}
