package checkpoint

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// safetensorsFile is a file with a header and a number of bytes after it.
func safetensorsFile(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	return append(b, make([]byte, data)...)
}

func claim(n uint64, rest string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, n), rest...)
}

// headers are files that Open takes, where says is empty, or refuses with that in the error. The safetensors package
// (0.8.0) decides the same about each, but for those that are marked as ours.
var headers = []struct {
	name string
	file []byte
	says string
	ours bool
}{
	{"one", safetensorsFile(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8), "", false},
	{"none", safetensorsFile(`{}`, 0), "", false},
	{"padded", safetensorsFile(`{}   `, 0), "", false},
	{"scalar", safetensorsFile(`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, 4), "", false},
	{"of no elements", safetensorsFile(`{"a":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), "", false},
	{"header not in order", safetensorsFile(`{"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 3), "", false},
	{"unread dtype", safetensorsFile(`{"a":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,3]}}`, 3), "", false},
	{"four bits", safetensorsFile(`{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}`, 2), "", false},
	{"metadata", safetensorsFile(`{"__metadata__":{"format":"pt"}}`, 0), "", false},
	{"name of any characters", safetensorsFile(`{"../a\u001b[2J":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), "", false},
	{"field that is not known", safetensorsFile(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":null}}`, 1), "", false},

	{"overlap", safetensorsFile(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}`, 6), "tensor b begins at byte 2, inside tensor a", false},
	{"same bytes", safetensorsFile(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 4), "inside tensor a", false},
	{"gap", safetensorsFile(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}}`, 5), "no tensor owns bytes 2 to 2", false},
	{"gap before the first", safetensorsFile(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3), "no tensor owns bytes 0 to 0", false},
	{"tail", safetensorsFile(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 3), "no tensor owns the last 1 bytes", false},
	{"tail of nothing", safetensorsFile(`{}`, 8), "no tensor owns the last 8 bytes", false},
	{"cut short", safetensorsFile(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 1), "cut short", false},
	{"twice", safetensorsFile(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), `"a" stands there twice`, false},
	{"twice the same", safetensorsFile(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), `"a" stands there twice`, true},
	{"twice, escaped", safetensorsFile(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), `"a" stands there twice`, false},
	{"dtype twice", safetensorsFile(`{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), `"dtype" stands there twice`, false},
	{"offsets from behind", safetensorsFile(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, 1), "before it begins", false},
	{"negative offsets", safetensorsFile(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}`, 1), "data_offsets", false},
	{"offsets of three", safetensorsFile(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}}`, 1), "data_offsets", false},
	{"offsets of one", safetensorsFile(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}}`, 0), "data_offsets", false},
	{"offsets beyond 64 bits", safetensorsFile(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551617]}}`, 1), "data_offsets", false},
	{"fractions", safetensorsFile(`{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}`, 1), "shape", false},
	{"negative dimensions", safetensorsFile(`{"a":{"dtype":"U8","shape":[-1,-1],"data_offsets":[0,1]}}`, 1), "shape", false},
	{"no dimension", safetensorsFile(`{"a":{"dtype":"U8","shape":[null],"data_offsets":[0,0]}}`, 0), "shape", false},
	{"no shape", safetensorsFile(`{"a":{"dtype":"U8","shape":null,"data_offsets":[0,1]}}`, 1), "shape", false},
	{"shape that overflows", safetensorsFile(`{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0), "more elements than any file", false},
	{"shape that overflows to 1", safetensorsFile(`{"a":{"dtype":"F32","shape":[4611686018427387905,4],"data_offsets":[0,16]}}`, 16), "more elements than any file", false},
	{"shape that overflows in bytes", safetensorsFile(`{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}`, 0), "more elements than any file", false},
	{"too few bytes for the shape", safetensorsFile(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4), "F32 [2] takes 64 bits, its data_offsets hold 4 bytes", false},
	{"unread dtype of the wrong size", safetensorsFile(`{"a":{"dtype":"I64","shape":[2],"data_offsets":[0,2]}}`, 2), "I64 [2] takes 128 bits", false},
	{"half a byte", safetensorsFile(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}`, 2), "F4 [3] takes 12 bits", false},
	{"unknown dtype", safetensorsFile(`{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,1]}}`, 1), `"F33" is not known`, false},
	{"no dtype", safetensorsFile(`{"a":{"shape":[1],"data_offsets":[0,1]}}`, 1), "dtype", false},
	{"DTYPE", safetensorsFile(`{"a":{"DTYPE":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), "dtype", false},
	{"no object", safetensorsFile(`{"a":7}`, 0), "tensor a", false},
	{"list", safetensorsFile(`[]`, 0), "does not begin with {", false},
	{"begins with a space", safetensorsFile(` {}`, 0), "does not begin with {", true}, // the format says it must begin with {
	{"something after", safetensorsFile(`{}{}`, 0), "not JSON", false},
	{"not JSON", safetensorsFile(`{"a"`, 0), "not JSON", false},
	{"not UTF-8", safetensorsFile("{\"a\xff\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1), "not UTF-8", false},
	{"metadata of numbers", safetensorsFile(`{"__metadata__":{"a":1}}`, 0), "__metadata__", false},
	{"metadata of null", safetensorsFile(`{"__metadata__":{"a":null}}`, 0), "__metadata__", false},
	{"nested", safetensorsFile(`{"a":`+strings.Repeat("[", 100000)+strings.Repeat("]", 100000)+`}`, 0), "not JSON", false},
	{"no header", []byte{1, 2, 3}, "no safetensors header", false},
	{"empty", nil, "no safetensors header", false},
	{"header of nothing", claim(0, ""), "no safetensors header", false},
	{"header beyond the file", claim(100, "{}"), "the header claims 100 bytes, the file has 10", false},
	{"header of 100 MB and a byte", claim(maxHeader+1, "{}"), "at most 100000000", false},
	{"header of 2^63", claim(1<<63, "{}"), "at most 100000000", false},
	{"header of 2^64 - 1", claim(1<<64-1, "{}"), "at most 100000000", false},
}

func TestHeaders(t *testing.T) {
	for i, c := range headers {
		path := filepath.Join(t.TempDir(), fmt.Sprintf("%d.safetensors", i))
		if err := os.WriteFile(path, c.file, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err == nil {
			f.Close()
		}
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.says != "" && err == nil:
			t.Errorf("%s is taken", c.name)
		case err != nil && (!strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path)):
			t.Errorf("%s: %q names neither the file nor %q", c.name, err, c.says)
		}
	}
}

func TestOpenFolder(t *testing.T) {
	one := func(name string) string {
		return string(safetensorsFile(fmt.Sprintf(`{%q:{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, name), 4))
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		says  string
	}{
		{"whole", map[string]string{"model.safetensors": one("a")}, ""},
		{"shards", map[string]string{IndexFile: `{"metadata":{},"weight_map":{"a":"x [1].safetensors","b":"y.safetensors"}}`,
			"x [1].safetensors": one("a"), "y.safetensors": one("b")}, ""},
		{"whole beside an index", map[string]string{"model.safetensors": one("a"), IndexFile: `{"weight_map":{"a":"gone.safetensors"}}`},
			""},
		{"whole beside a damaged index", map[string]string{"model.safetensors": one("a"), IndexFile: `{`}, "not JSON"},
		{"nothing", nil, "has neither"},
		{"outside", map[string]string{IndexFile: `{"weight_map":{"a":"../m/x.safetensors"}}`,
			"x.safetensors": one("a")}, "not the name of a file in the folder"},
		{"absolute", map[string]string{IndexFile: `{"weight_map":{"a":"/etc/passwd"}}`}, "not the name of a file in the folder"},
		{"the folder", map[string]string{IndexFile: `{"weight_map":{"a":"."}}`}, "not the name of a file in the folder"},
		{"the parent", map[string]string{IndexFile: `{"weight_map":{"a":".."}}`}, "not the name of a file in the folder"},
		{"escapes", map[string]string{IndexFile: `{"weight_map":{"a":"../\u001b[2J"}}`}, `\x1b[2J`},
		{"no name", map[string]string{IndexFile: `{"weight_map":{"a":""}}`}, "is not a name"},
		{"number", map[string]string{IndexFile: `{"weight_map":{"a":7}}`}, "is not a name"},
		{"missing shard", map[string]string{IndexFile: `{"weight_map":{"a":"x.safetensors"}}`}, "x.safetensors"},
		{"no map", map[string]string{IndexFile: `{}`}, "no weight_map"},
		{"empty map", map[string]string{IndexFile: `{"weight_map":{}}`}, "weight_map is empty"},
		{"named twice", map[string]string{IndexFile: `{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}`}, `"a" stands there twice`},
		{"in two shards", map[string]string{IndexFile: `{"weight_map":{"a":"x.safetensors","b":"y.safetensors"}}`,
			"x.safetensors": one("a"), "y.safetensors": one("a")}, "tensor a is in both"},
		{"in another shard", map[string]string{IndexFile: `{"weight_map":{"a":"y.safetensors","b":"x.safetensors"}}`,
			"x.safetensors": one("a"), "y.safetensors": one("b")}, "which does not hold it"},
		{"in none", map[string]string{IndexFile: `{"weight_map":{"a":"x.safetensors","b":"x.safetensors"}}`,
			"x.safetensors": one("a")}, "tensor b is in x.safetensors, which does not hold it"},
	} {
		dir := filepath.Join(t.TempDir(), "m[1]*?")
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		for n, s := range c.files {
			if err := os.WriteFile(filepath.Join(dir, n), []byte(s), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		f, err := OpenFolder(dir)
		if err == nil {
			f.Close()
		}
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

func TestWeightsAreARegularFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFolder(dir); err == nil || !strings.Contains(err.Error(), "is a pipe") {
		t.Errorf("a pipe: %v", err)
	}
	os.Remove(path)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFolder(dir); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := Open("/dev/zero"); err == nil || !strings.Contains(err.Error(), "is a device") {
		t.Errorf("a device: %v", err)
	}
}
