package fineweb

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// kept are the documents that a source keeps, by the digit that their text ends in.
func kept(t testing.TB, s Source) (string, error) {
	t.Helper()
	c, err := Open(context.Background(), s)
	if errors.As(err, &NoDocuments{}) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer c.Close()
	var b strings.Builder
	err = c.Texts(Train, func(text string) bool { b.WriteByte(text[len(text)-1]); return true })
	return b.String(), err
}

// testdata/types.parquet was written by pyarrow 26. Its six rows hold 1 to 5 and null in a column of each type, unless the case below says
// otherwise.
func TestFiltersCompareByValue(t *testing.T) {
	for _, c := range []struct{ filter, want string }{
		{"int8 >= 3", "234"}, {"int16 >= 3", "234"}, {"int32 >= 3", "234"}, {"int64 >= 3", "234"},
		{"uint8 >= 3", "234"}, {"uint16 >= 3", "234"}, {"uint32 >= 3", "234"}, {"uint64 >= 3", "234"},
		{"float16 >= 3", "234"}, {"float32 >= 3", "234"}, {"float64 >= 3", "234"}, {"float64 >= 2.5 && float64 < 4.5", "23"},
		{"uint_high32 > 2", "34"}, {"uint_high32 == 4294967295", "4"}, {"uint_high64 > 2", "34"},
		{"uint_high64 == 18446744073709551615", "4"}, {"uint_high64 == 9223372036854775808", "3"}, {"uint_high64 > 1e19", "4"},
		{"nan >= 3", "24"}, {"nan < 3", "015"}, {"nan != 3", "01345"}, {"nan == null", ""}, // 1, 2, 3, NaN, inf, -inf
		{"decimal32 >= 3", "234"}, {"decimal32 >= 2.99", "1234"}, {"decimal32 == 3.01", "3"}, // 1, 2.99, 3.00, 3.01, 99999.99
		{"decimal64 >= 3", "234"}, {"decimal64 < 0", "0"}, // -1, 2.999, 3, 3.001, 4
		{"decimal128 >= 3", "234"}, {"decimal128 == 99999999999999999999", "3"}, {"decimal128 < -99999999999999999998", "0"}, // ±(1e20-1), 2.9999, 3, 4
		{"decimal256 > 3", "34"}, {"decimal256 >= 9e39", "4"}, {"decimal256 == 10000000000000000000000000000000000000000", "4"},
		{"dictionary == 'a'", "03"}, {"dictionary in ['a', \"c\"]", "023"}, {"number_dictionary > 3", "34"}, {"!(dictionary in ['a'])", "124"},
		{"string > '3'", "34"}, {"large_string == '5'", "4"}, {"bool", "024"}, {"!bool", "13"}, {"bool == false", "13"},
		{"nulls == null", "012345"}, {"nulls > 3", ""}, {"int64 == null", "5"}, {"int64 != null", "01234"}, {"timestamp != null", "01234"},
		{"meta.score >= 3", "234"}, {"meta.lang == 'en'", "012345"}, {"a.b >= 3", "234"}, {"`a.b` >= 3", "234"},
		{"int64 > 3 || float64 < 2", "034"}, {"int64 > 3 || nulls > 1", "34"}, {"int64 < 9 && nulls > 1", ""}, {"!(int64 < 9 && nulls > 1)", ""},
		{"int64 == float64", "01234"}, {"int8 < decimal64", "1"}, {"length(text) == 10 && int8 in [2, 4.0]", "13"}, {"int8 in [2, null]", "1"}, {"int8 in [null]", ""}, {"!(int8 in [2, null])", ""}, {"int8 in [2, null] || int8 == null", "15"},
		{"dictionary in ['a', null]", "03"},
		{"startswith(text, 'doc') && endswith(text, '3')", "3"}, {"strcontains(text, 'ment 2')", "2"}, {"matches(text, '[13]$')", "13"}, {"lower(dictionary) == 'b'", "14"},
		{"3 <= int8", "234"}, {"(int8 >= 3) == true", "234"}, {"int8 >= 30", ""}, {"int8 < -1 || int16 < -1", ""},
		{"5 >= id || id > 13.5", "4"}, {"false", ""}, {"1 == 2", ""}, {"1 == null || true", "012345"},
	} {
		got, err := kept(t, Source{Format: "parquet", Patterns: []string{"testdata/types.parquet"}, Filter: c.filter})
		if err != nil || got != c.want {
			t.Errorf("%s keeps %q (%v), want %q", c.filter, got, err, c.want)
		}
	}
}

func TestFiltersRefuse(t *testing.T) {
	for filter, says := range map[string]string{
		"string >= 3": `column "string" is of type string: text cannot be compared with a number`, "large_string > 1": "large_string", "dictionary == 1": "dictionary",
		"bool > 1": `column "bool" is of type bool`, "bool > false": "does not order", "int8 == 'a'": `column "int8" is of type int8`, "timestamp > 3": `column "timestamp" is of type timestamp`, "date > '2024'": "type date",
		"list > 1": `column "list" is a list`, "meta > 1": "name one of meta.score, meta.lang", "nope > 1": `no column "nope"; it has text, id`, "int8": "not a condition", "3": "not a condition",
		"int8 > 1 && string": "&& stands between conditions", "!string": "!", "int8 in ['a']": "list", "string in [1]": "list", "length(int8) > 1": "length takes text",
		"int8 >": "ends where a value is expected", "int8 = 3": "write == for =", "int8 > 1 and int8 < 3": "write && for and", "not bool": "write ! for not", "int8 <> 3": "write != for <>",
		"string == 'a": "never closed", "foo(text) == 1": "there is no function foo", "int8 > 1)": "an operator is expected before", "(int8 > 1": ") is expected", "int8 > 1) || (int8 < 9": "an operator is expected",
		"int8 in 3": "followed by a list", "matches(text, '(')": "missing closing )", "int8 in [1, 'a']": "of one kind", "'a' == 'a' == 'a'": "an operator is expected",
		strings.Repeat("(", 1000) + "bool" + strings.Repeat(")", 1000): "nests", strings.Repeat("!", 1000) + "bool": "nests", strings.Repeat("x", 1<<17) + " > 1": "bytes long", "matches(text, 'a{1001}{1001}')": "repeat", "int8 > 1e999": "\"1e999\" is too large: numbers go up to 1.8e+308", "int8 > -1e400": "too large", "int8 > 1x": "expected",
	} {
		got, err := kept(t, Source{Format: "parquet", Patterns: []string{"testdata/types.parquet"}, Filter: filter})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60s keeps %q; error %v does not say %q", filter, got, err, says)
		}
	}
}

// TestFiltersOfLines compares the filters of JSON lines with those of parquet.
func TestFiltersOfLines(t *testing.T) {
	dir := t.TempDir()
	lines := `{"text":"document 0","score":1,"meta":{"lang":"en"},"language":"en","dump":"A"}
{"text":"document 1","score":2.5,"meta":{"lang":"de"},"language":"de","dump":"B"}

{"text":"document 2","score":3,"meta":{},"a.b":true,"language":"fr","dump":"A"}
{"text":"document 3","score":null,"meta":null,"language":null}
{"text":"document 4","int_score":4,"token_count":100}
{"text":"document 5","score":9223372036854775808,"int_score":2.0,"token_count":1e2}`
	write(t, filepath.Join(dir, "a.jsonl"), lines)
	four, hundred := int64(2), int64(100)
	for _, c := range []struct {
		s    Source
		want string
	}{
		{Source{Filter: "score >= 2.5"}, "125"}, {Source{Filter: "score > 9223372036854775807"}, "5"}, {Source{Filter: "meta.lang == 'de'"}, "1"}, {Source{Filter: "a.b"}, "2"},
		{Source{Filter: "score == null"}, "34"}, {Source{Filter: "meta != null"}, "012"}, {Source{MinIntScore: &four}, "45"}, {Source{MaxTokenCount: &hundred, MinTokenCount: &hundred}, "45"},
		{Source{Languages: []string{"en", "fr"}}, "02"}, {Source{Dumps: []string{"B"}}, "1"}, {Source{Filter: "score < 'a'"}, "line 1: the filter does not fit it: \"score\" is a number; it is compared with text"},
		{Source{Filter: "meta > 3"}, "a list or an object"}, {Source{Filter: "text > 3", SkipErrors: true}, ""},
	} {
		c.s.Format, c.s.Dir, c.s.Patterns = "jsonl", dir, []string{"a.jsonl"}
		got, err := kept(t, c.s)
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s keeps %q, want %q", c.s.conditions(), got, c.want)
		}
	}
}

// TestOldAnnotations: DuckDB and older writers give converted types alone.
func TestOldAnnotations(t *testing.T) {
	old := func(physical format.Type, c deprecated.ConvertedType, precision, scale int32) columnType {
		return typeOf(&format.SchemaElement{Type: thrift.New(physical), ConvertedType: thrift.New(c), Precision: thrift.New(precision), Scale: thrift.New(scale)})
	}
	for _, c := range []struct {
		typ  columnType
		v    parquet.Value
		name string
		want value
	}{
		{old(format.Int32, deprecated.Uint8, 0, 0), parquet.Int32Value(255), "uint8", value{kind: integer, i: 255}},
		{old(format.Int32, deprecated.Uint32, 0, 0), parquet.Int32Value(-1), "uint32", value{kind: integer, i: 1<<32 - 1}},
		{old(format.Int64, deprecated.Int64, 0, 0), parquet.Int64Value(-1), "int64", value{kind: integer, i: -1}},
		{old(format.ByteArray, deprecated.Decimal, 9, 2), parquet.ByteArrayValue([]byte{0xff, 0x38}), "decimal(9, 2)", value{kind: integer, i: -2}},
		{old(format.ByteArray, deprecated.Decimal, 9, 2), parquet.ByteArrayValue([]byte{0x00, 0xff}), "decimal(9, 2)", value{kind: fraction, f: 2.55}},
		{old(format.ByteArray, deprecated.Decimal, 9, 2), parquet.ByteArrayValue(nil), "decimal(9, 2)", value{kind: integer}},
		{old(format.Int32, deprecated.Date, 0, 0), parquet.Int32Value(5), "date", value{kind: nested}},
		{old(format.ByteArray, deprecated.UTF8, 0, 0), parquet.ByteArrayValue([]byte("a")), "string", value{kind: words, s: "a"}},
	} {
		if got := c.typ.read(c.v); c.typ.name != c.name || got != c.want {
			t.Errorf("%s: %+v, want %s: %+v", c.typ.name, got, c.name, c.want)
		}
	}
}

func TestFloat16(t *testing.T) {
	for bits, want := range map[uint16]float64{0x3c00: 1, 0xc200: -3, 0x7bff: 65504, 0x0001: math.Ldexp(1, -24), 0x0400: math.Ldexp(1, -14), 0x8000: 0, 0x7c00: math.Inf(1), 0xfc00: math.Inf(-1)} {
		if got := float16([]byte{byte(bits), byte(bits >> 8)}); got != want {
			t.Errorf("%#04x is %g, want %g", bits, got, want)
		}
	}
	if !math.IsNaN(float16([]byte{1, 0x7c})) {
		t.Error("0x7c01 is not NaN")
	}
}

func TestOrder(t *testing.T) {
	n := []value{{kind: fraction, f: math.Inf(-1)}, {kind: fraction, f: -1e30}, {kind: integer, i: math.MinInt64}, {kind: integer, i: -1}, {kind: fraction, f: -0.5}, {kind: integer},
		{kind: fraction, f: 0.5}, {kind: integer, i: 1<<53 + 1}, {kind: fraction, f: 1<<53 + 2}, {kind: integer, i: math.MaxInt64}, {kind: fraction, f: 1 << 63}, {kind: large, n: new(big.Int).SetUint64(1<<63 + 1)}, {kind: fraction, f: math.Inf(1)}}
	for i, a := range n {
		for j, b := range n {
			if c, ok := order(a, b); !ok || c != compare(int64(i), int64(j)) {
				t.Errorf("%+v and %+v: %d, %t", a, b, c, ok)
			}
		}
	}
}

// TestGroupsAreSkipped counts what is read where the footer says that no row can be kept.
func TestGroupsAreSkipped(t *testing.T) {
	dir := t.TempDir()
	all := rows(4000)
	for i := range all {
		all[i].IntScore = int64(i / 1000)
		all[i].Text += strings.Repeat(fmt.Sprint(i, " "), 200)
	}
	path := filepath.Join(dir, "a.parquet")
	if err := WriteParquet(path, all, 1000); err != nil {
		t.Fatal(err)
	}
	read := func(filter string) (docs, bytes int64) {
		s := &reading{Source{Format: "parquet", TextColumn: "text", IDColumn: "id", Filter: filter}, context.Background()}
		f, err := openLocal(s, path)
		if err != nil {
			t.Fatal(err)
		}
		counted := &countingFile{file: f}
		sh, err := openParquet(s, counted, "a.parquet")
		if err != nil {
			t.Fatal(err)
		}
		defer sh.Close()
		counted.bytes = 0
		for g, n := range sh.groups() {
			list, err := sh.read(g, 0, n)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range list {
				if !d.drop {
					docs++
				}
			}
		}
		return docs, counted.bytes
	}
	_, whole := read("int_score >= 0")
	docs, part := read("int_score >= 3 && language != 'xx'")
	if docs != 1000 || part > whole/3 {
		t.Errorf("%d documents from %d of %d bytes, want 1000 from a quarter", docs, part, whole)
	}
	if docs, part := read("int_score > 3"); docs != 0 || part != 0 {
		t.Errorf("%d documents from %d bytes, want none", docs, part)
	}
}

type countingFile struct {
	file
	bytes int64
}

func (c *countingFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.file.ReadAt(p, at)
	c.bytes += int64(n)
	return n, err
}

func TestTypesThatChange(t *testing.T) {
	dir := t.TempDir()
	type a struct {
		Text  string `parquet:"text"`
		ID    string `parquet:"id"`
		Score int64  `parquet:"score"`
	}
	type b struct {
		Text  string  `parquet:"text"`
		ID    int64   `parquet:"id"`
		Score float64 `parquet:"score"`
	}
	type c struct {
		Text string `parquet:"text"`
	}
	if err := errorsOf(parquet.WriteFile(filepath.Join(dir, "1.parquet"), []a{{"document 1", "a", 3}}), parquet.WriteFile(filepath.Join(dir, "2.parquet"), []b{{"document 2", 7, 3.5}}),
		parquet.WriteFile(filepath.Join(dir, "3.parquet"), []c{{"document 3"}})); err != nil {
		t.Fatal(err)
	}
	s := Source{Format: "parquet", Dir: dir, Patterns: []string{"[12].parquet"}, Filter: "score >= 3"}
	corpus := open(t, s)
	said := strings.Join(corpus.Warnings, "\n")
	for _, w := range []string{`column "score" is of type int64 in`, "1.parquet and of type double in", "2.parquet", `column "id" is of type string`} {
		if !strings.Contains(said, w) {
			t.Errorf("%q does not say %s", said, w)
		}
	}
	if got, err := kept(t, s); err != nil || got != "12" {
		t.Errorf("keeps %q, %v", got, err)
	}
	s.Patterns, s.SkipErrors = []string{"*.parquet"}, true
	if _, err := Open(context.Background(), s); err == nil || !strings.Contains(err.Error(), `3.parquet: has no column "score"`) {
		t.Errorf("a file without the column: %v", err)
	}
	s.Filter = ""
	if c := open(t, s); !slices.ContainsFunc(c.Warnings, func(w string) bool { return strings.Contains(w, "missing") && strings.Contains(w, "3.parquet") }) {
		t.Errorf("%q does not say that ids are missing", c.Warnings)
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// FuzzFilter: no text of a filter panics, and what is parsed is evaluated.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"a == 'b' && (c >= 3 || !d)", "a in ['x', null]", "length(a) > 3", "`a b` != null", "matches(a, 'x+')", "a<b", "((", "'\\'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, err := parseFilter(s)
		if err != nil || x == nil {
			return
		}
		for _, v := range []value{{}, {kind: truth, i: 1}, {kind: integer, i: 3}, {kind: fraction, f: math.NaN()}, {kind: words, s: "x"}, {kind: nested}} {
			row := make([]value, len(x.columns))
			kinds := make([]valueKind, len(x.columns))
			for i := range row {
				row[i], kinds[i] = v, v.kind
				if v.number() {
					kinds[i] = fraction
				}
			}
			_, wrong := x.typed(kinds)
			if _, err := x.keeps(row); err != nil && wrong == nil {
				t.Fatalf("%s of %+v: %v, though the types fit", s, v, err)
			}
		}
		x.root.possible(func(int) (extent, bool) { return extent{value{kind: integer}, value{kind: integer, i: 5}}, true })
	})
}

// testdata/twice.parquet, written by pyarrow 26, has two columns of one name: neither is the one that is meant.
func TestColumnsOfOneName(t *testing.T) {
	_, err := kept(t, Source{Format: "parquet", Patterns: []string{"testdata/twice.parquet"}, TextColumn: "text"})
	if err == nil || !strings.Contains(err.Error(), `has 2 columns named "text"`) {
		t.Errorf("%v", err)
	}
}
