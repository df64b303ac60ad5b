package fineweb

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Files on a web server give the batches that they give on disk, in every format.
func TestWebGivesWhatTheDiskGives(t *testing.T) {
	dir := corpusDir(t)
	var lines, text strings.Builder
	for _, r := range rows(50) {
		lines.WriteString(`{"id":"` + r.ID + `","text":"` + r.Text + "\"}\n")
		text.WriteString(r.Text + "\n\n")
	}
	write(t, filepath.Join(dir, "d.jsonl"), lines.String())
	write(t, filepath.Join(dir, "d.txt"), text.String())
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	tk := tok(t)
	for format, names := range map[string][]string{"fineweb_edu": {"000.parquet", "001.parquet"}, "jsonl": {"d.jsonl"}, "text": {"d.txt"}} {
		batches := func(patterns []string) (list []*Batch) {
			s := source(dir)
			s.Format, s.Patterns, s.Separator = format, patterns, "\n\n"
			st, err := open(t, s).Stream(Train, tk, 16, Cursor{})
			if err != nil {
				t.Fatal(err)
			}
			for len(list) < 20 {
				b, err := st.Next(4)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, b)
			}
			return list
		}
		var addresses []string
		for _, n := range names {
			addresses = append(addresses, server.URL+"/"+n)
		}
		if !reflect.DeepEqual(batches(names), batches(addresses)) {
			t.Errorf("%s: other batches from the web", format)
		}
		id, err := Identity(addresses)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := Identity(addresses); again != id {
			t.Errorf("%s: the identity changes by itself", format)
		}
		path := filepath.Join(dir, names[0])
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, string(b)+" ")
		if changed, _ := Identity(addresses); changed == id {
			t.Errorf("%s: the identity is that of before", format)
		}
	}
	s := source(dir)
	for address, want := range map[string]string{server.URL + "/*.parquet": "name each of them", server.URL + "/none.parquet": "404", "s3://a/b": "only https://"} {
		s.Patterns = []string{address}
		if _, err := Open(s); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
