package fineweb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// recordsOf reads all records of files, and the errors among them.
func recordsOf(t testing.TB, patterns ...string) (list []Record, errs []error) {
	t.Helper()
	r, err := OpenRecords(context.Background(), Source{Patterns: patterns})
	if err != nil {
		return nil, []error{err}
	}
	defer r.Close()
	for x, err := range r.All() {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, x)
	}
	return list, errs
}

// fieldsAlone are the fields of records.
func fieldsAlone(list []Record) (all []Object) {
	for _, r := range list {
		all = append(all, r.Fields)
	}
	return all
}

// The same rows, written by pyarrow as parquet in both versions of its pages and by Python's json as lines, are the same
// records, and those that encoding/json reads. See tools/parity/records_fixture.py.
func TestRecords(t *testing.T) {
	lines, errs := recordsOf(t, "testdata/records.jsonl")
	if errs != nil || len(lines) != 120 {
		t.Fatal(len(lines), errs)
	}
	if at := lines[3]; at.Place != "line 4" || at.Number != 3 || at.File != "testdata/records.jsonl" {
		t.Errorf("%+v", at)
	}
	b, err := os.ReadFile("testdata/records.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		var want any
		if err := json.Unmarshal([]byte(line), &want); err != nil {
			t.Fatal(err)
		}
		if got := unordered(lines[i].Fields); !reflect.DeepEqual(got, want) {
			t.Fatalf("line %d:\n%v\n%v", i+1, got, want)
		}
	}
	for _, name := range []string{"records.parquet", "records_v2.parquet"} {
		rows, errs := recordsOf(t, "testdata/"+name)
		if errs != nil {
			t.Fatal(name, errs)
		}
		for i := range lines {
			if !reflect.DeepEqual(rows[i].Fields, lines[i].Fields) {
				t.Fatalf("%s, %s:\n%v\n%v", name, rows[i].Place, rows[i].Fields, lines[i].Fields)
			}
		}
		if last := rows[len(rows)-1]; len(rows) != 120 || !strings.HasPrefix(last.Place, "row group ") {
			t.Errorf("%s: %d rows, the last in %s", name, len(rows), last.Place)
		}
	}
}

// unordered is a value as encoding/json has it.
func unordered(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case List:
		list := []any{}
		for _, x := range v {
			list = append(list, unordered(x))
		}
		return list
	case Object:
		m := map[string]any{}
		for _, f := range v {
			m[f.Name] = unordered(f.Value)
		}
		return m
	}
	return v
}

// A list of objects gives the records that the same objects give line by line, whatever stands between them.
func TestRecordsOfList(t *testing.T) {
	dir := t.TempDir()
	b, err := os.ReadFile("testdata/records.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	var all []string
	for range 40 { // more than a window
		all = append(all, lines...)
	}
	write(t, filepath.Join(dir, "a.jsonl"), strings.Join(all, "\n"))
	write(t, filepath.Join(dir, "b.json"), "\ufeff \n[\n "+strings.Join(all, " ,\r\n  ")+"\n]\n\n")
	want, errs := recordsOf(t, dir+"/a.jsonl")
	got, more := recordsOf(t, dir+"/b.json")
	if errs != nil || more != nil {
		t.Fatal(errs, more)
	}
	if len(want) != 40*120 || !reflect.DeepEqual(fieldsAlone(got), fieldsAlone(want)) {
		t.Errorf("%d records of a list, %d of lines", len(got), len(want))
	}
	if got[7].Place != "entry 8" {
		t.Error(got[7].Place)
	}
}

// The fields keep their order, a name that stands twice has the last value, and large numbers keep their digits.
func TestRecordsOfJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.jsonl")
	write(t, path, `{"b":1,"a":{"z":null,"y":[true,-1.5e2]},"b":"two"}`+"\n\n"+`{"n":123456789012345678901234567890}`)
	list, errs := recordsOf(t, path)
	if errs != nil || len(list) != 2 {
		t.Fatal(list, errs)
	}
	want := Object{{"b", "two"}, {"a", Object{{"z", nil}, {"y", List{true, -150.0}}}}}
	if !reflect.DeepEqual(list[0].Fields, want) {
		t.Errorf("%v", list[0].Fields)
	}
	if n, _ := list[1].Fields.Get("n"); fmt.Sprint(n) != "123456789012345678901234567890" || list[1].Place != "line 3" {
		t.Errorf("%v in %s", n, list[1].Place)
	}
}

// What cannot be read is an error that says where, and the rows after it are still there.
func TestRecordErrors(t *testing.T) {
	dir := t.TempDir()
	deep := strings.Repeat(`{"a":`, 120) + "1" + strings.Repeat("}", 120)
	many := `{"a":[` + strings.Repeat("0,", maxRowValues) + `0]}`
	for _, c := range []struct {
		name, text string
		good       int
		want       string
	}{
		{"a.jsonl", "{\"a\":1}\n{\"a\":\n{\"a\":2}\n", 2, "a.jsonl, line 2: it is not JSON"},
		{"b.jsonl", "{\"a\":1}\n[1]\n", 1, "b.jsonl, line 2: it is not a JSON object"},
		{"c.jsonl", "{\"a\":\"\\ud800\"}\n", 0, "half of a surrogate pair"},
		{"d.jsonl", "{\"a\":\"\xff\"}\n", 0, "not valid UTF-8"},
		{"e.jsonl", deep + "\n{}\n", 1, "e.jsonl, line 1: the values of the row nest more than 100 deep"},
		{"f.jsonl", many + "\n{}\n", 1, "f.jsonl, line 1: the row holds more than 1048576 values"},
		{"g.json", "[{\"a\":1}, 5, {\"a\":2}]", 2, "g.json, entry 2: it is not a JSON object"},
		{"h.json", "[{\"a\":1}, {\"a\":", 0, "its list has no end: the file is cut off after entry 1"},
		{"i.json", "[{\"a\":1}] {}", 0, "after the end of its list, at byte 10, more follows"},
		{"j.json", "[]", 0, "holds no rows"},
		{"k.json", "[{\"a\":1},]", 0, "its list ends with a comma"},
		{"l.json", "[{},,{}]", 2, "l.json, entry 2: it is empty"},
		{"m.csv", "a,b", 0, `rows are read from parquet, jsonl and json, not from "csv"`},
		{"n.jsonl", "{\"a\":1e999}", 0, "it holds the number 1e999, which no float64 is near to"},
		{"o.parquet", "PAR1", 0, "o.parquet: not a readable parquet file"},
	} {
		write(t, filepath.Join(dir, c.name), c.text)
		list, errs := recordsOf(t, filepath.Join(dir, c.name))
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want) || len(list) != c.good {
			t.Errorf("%s: %d records, %v", c.name, len(list), errs)
		}
	}
}

// A column that says that it is text and is not makes an error of its row alone; bytes and times are not read.
func TestRecordsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.parquet")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	schema := parquet.NewSchema("x", parquet.Group{"text": parquet.String(), "image": parquet.Leaf(parquet.ByteArrayType),
		"when": parquet.Timestamp(parquet.Millisecond), "two": parquet.Repeated(parquet.String())})
	w := parquet.NewWriter(f, schema)
	for _, text := range []string{"one", "\xff", "three"} {
		row := map[string]any{"text": text, "image": []byte("\xff\xd8"), "when": int64(1), "two": []string{"a", "b"}}
		if err := w.Write(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	list, errs := recordsOf(t, path)
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "row group 0, row 1: column text: ") {
		t.Fatal(errs)
	}
	want := Object{{"image", NotRead("binary")}, {"text", "three"}, {"two", List{"a", "b"}}, {"when", NotRead("timestamp")}}
	if len(list) != 2 || !reflect.DeepEqual(list[1].Fields, want) {
		t.Errorf("%v", list)
	}
}

// FuzzRecords reads damaged files: rows or an error, no panic.
func FuzzRecords(f *testing.F) {
	for _, name := range []string{"records.parquet", "records_v2.parquet"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
	}
	f.Add([]byte("[{\"a\": [1, {}]}, {}]"), false)
	f.Fuzz(func(t *testing.T, b []byte, columns bool) {
		path := filepath.Join(t.TempDir(), map[bool]string{true: "x.parquet", false: "x.json"}[columns])
		write(t, path, string(b))
		r, err := OpenRecords(context.Background(), Source{Patterns: []string{path}})
		if err != nil {
			return
		}
		defer r.Close()
		n := int64(0)
		for _, err := range r.All() {
			if n++; err != nil || n > 1<<12 {
				return
			}
		}
		if n > r.Count {
			t.Errorf("%d records of %d", n, r.Count)
		}
	})
}
