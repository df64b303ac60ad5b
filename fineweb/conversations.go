package fineweb

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"os"
	"strconv"
)

// FormatConversations is the format of data whose documents are rows with whatever they hold: JSON objects, of which a
// Tuning makes tokens.
const FormatConversations = "conversations"

// conversationShard is a file of rows: JSON lines, a JSON list, or parquet, of which a copy as JSON lines is kept, since
// its rows are read in any order.
type conversationShard struct {
	*jsonRecords
	row    *jsonRow
	copied bool // of parquet
}

func openConversations(s *reading, f file, name string) (shard, error) {
	row, err := jsonRowOf(s)
	if err != nil {
		return nil, err
	}
	row.whole = true
	copied := FormatOf(name) == "parquet"
	if copied {
		if f, err = s.asLines(f, name); err != nil {
			return nil, err
		}
	}
	sh, err := openJSONRecords(s, f, name)
	if err != nil {
		return nil, err
	}
	return &conversationShard{sh.(*jsonRecords), row, copied}, nil
}

func (c *conversationShard) place(group int, row int64) string {
	if c.copied {
		return fmt.Sprintf("row %d", c.number(group, row))
	}
	return c.jsonRecords.place(group, row)
}

// read reads rows of a group; the text of each is its JSON object.
func (c *conversationShard) read(group int, from, n int64) ([]document, error) {
	docs := make([]document, n)
	return docs, c.spans.read(c.file, group, from, n, c.next, func(i, _ int64, text []byte) {
		if text == nil {
			docs[i].fail(errTooLong)
		} else {
			c.row.read(&docs[i], text)
		}
	})
}

// asLines is a parquet file as JSON lines: a copy that is made once and kept as those of compressed files are.
func (s *reading) asLines(f file, name string) (file, error) {
	lines := &packing{name: "parquet", strict: true, open: func(io.Reader) (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			records, err := openParquetRecords(s, f, name)
			if err == nil {
				err = s.writeLines(w, records)
			}
			w.CloseWithError(err)
		}()
		return r, nil
	}}
	what := fmt.Sprintf(" lines of rows 1 %t ", s.SkipErrors)
	return s.copied(f, name, what, func(key, path string, keep bool) (*os.File, error) {
		return s.unpack(f, lines, key, path, keep)
	})
}

// writeLines writes the rows of a file, one a line. Where errors are passed over, the line of one that cannot be read is no
// JSON, so that it is counted where it would be used.
func (s *reading) writeLines(to io.Writer, records recordShard) error {
	w := bufio.NewWriterSize(to, 1<<16)
	var line []byte
	for g := range records.groups() {
		var failed error
		err := records.rows(g, func(row int64, o Object, err error) bool {
			if err != nil && !s.SkipErrors {
				failed = fmt.Errorf("%s: %w", records.place(g, row), err)
				return false
			}
			line = append(line[:0], "unreadable"...)
			if err == nil {
				line = appendJSON(line[:0], o)
			}
			_, failed = w.Write(append(line, '\n'))
			return failed == nil && s.ended() == nil
		})
		for _, e := range []error{failed, err, s.ended()} {
			if e != nil {
				return e
			}
		}
	}
	return w.Flush()
}

// appendJSON writes a value of a record. What is not read is null.
func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case Object:
		b = append(b, '{')
		for i, f := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendJSON(b, f.Name), ':')
			b = appendJSON(b, f.Value)
		}
		return append(b, '}')
	case List:
		b = append(b, '[')
		for i, x := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, x)
		}
		return append(b, ']')
	case int64:
		return strconv.AppendInt(b, v, 10)
	case *big.Int:
		return v.Append(b, 10)
	case string, bool, float64:
		if text, err := json.Marshal(v); err == nil { // NaN has no JSON
			return append(b, text...)
		}
	}
	return append(b, "null"...)
}
