package archive

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tarOf writes a tar of files, each by its name.
func tarOf(t testing.TB, list ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range list {
		text := "text of " + h.Name
		if h.Mode == 0 && h.Name != "" {
			h.Mode = 0o644
		}
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			h.Size = int64(len(text))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipOf(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipOf(t testing.TB, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, n := range names {
		f, err := w.Create(n)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(n, "/") {
			if _, err := io.WriteString(f, "text of "+n); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUnpack unpacks the same files from every format, and only once.
func TestUnpack(t *testing.T) {
	list := []tar.Header{{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}},
		{Name: "./", Typeflag: tar.TypeDir}, {Name: "sub/", Typeflag: tar.TypeDir}, {Name: "main.hcl"}, {Name: "sub/a.hcl"}}
	packed := tarOf(t, list...)
	for name, content := range map[string][]byte{"a.tar": packed, "a.tar.gz": gzipOf(t, packed), "A.TGZ": gzipOf(t, packed),
		"a.zip": zipOf(t, "sub/", "main.hcl", "sub/a.hcl")} {
		path, cache := write(t, name, content), filepath.Join(t.TempDir(), "deep", "cache")
		dir, err := Unpack(path, cache)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, file := range []string{"main.hcl", "sub/a.hcl"} {
			if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != "text of "+file {
				t.Errorf("%s: %s is %q, %v", name, file, got, err)
			}
		}
		if err := os.Remove(filepath.Join(dir, "main.hcl")); err != nil {
			t.Fatal(err)
		}
		again, err := Unpack(path, cache)
		if _, gone := os.Stat(filepath.Join(dir, "main.hcl")); again != dir || err != nil || gone == nil {
			t.Errorf("%s: unpacked again into %s, %v", name, again, err)
		}
		if left, _ := filepath.Glob(filepath.Join(cache, ".*")); len(left) > 0 {
			t.Errorf("%s left %v", name, left)
		}
	}
}

// TestRefuse unpacks nothing of an archive that leads elsewhere or is too large.
func TestRefuse(t *testing.T) {
	var large bytes.Buffer
	if err := tar.NewWriter(&large).WriteHeader(&tar.Header{Name: "a", Mode: 0o644, Size: mostUnpacked + 1}); err != nil {
		t.Fatal(err)
	}
	bomb := gzipOf(t, append(large.Bytes(), make([]byte, mostUnpacked+1)...))
	many := make([]string, mostEntries+1)
	for i := range many {
		many[i] = strings.Repeat("d", i%200+1) + "/"
	}
	file := func(name string) []byte { return tarOf(t, tar.Header{Name: "good"}, tar.Header{Name: name}) }
	for _, x := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"up.tar", file("../a"), "leads elsewhere"},
		{"root.tar", file("/etc/a"), "leads elsewhere"},
		{"inside.tar", file("a/../../b"), "leads elsewhere"},
		{"back.tar", file(`a\b`), "leads elsewhere"},
		{"long.tar", file(strings.Repeat("n", longestName+1)), "leads elsewhere"},
		{"deep.tar", file(strings.Repeat("d/", mostDepth+1) + "a"), "in more than 16 folders"},
		{"twice.tar", file("good"), "is in it twice"},
		{"link.tar", tarOf(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}), "not a regular file"},
		{"hard.tar", tarOf(t, tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}), "not a regular file"},
		{"pipe.tar", tarOf(t, tar.Header{Name: "p", Typeflag: tar.TypeFifo}), "not a regular file"},
		{"up.zip", zipOf(t, "good", "../a"), "leads elsewhere"},
		{"many.zip", zipOf(t, many...), "more than 10000 files"},
		{"bomb.tgz", bomb, "more than 256 MiB"},
		{"none.zip", []byte("PK"), "not a valid zip"},
		{"cut.tar.gz", gzipOf(t, file("a"))[:40], "unexpected EOF"},
	} {
		cache := t.TempDir()
		if dir, err := Unpack(write(t, x.name, x.content), cache); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: unpacked into %q, %v; want %q", x.name, dir, err, x.want)
		}
		if left, err := os.ReadDir(cache); err != nil || len(left) > 0 {
			t.Errorf("%s left %v, %v", x.name, left, err)
		}
	}
	if Is("a.hcl") || Is("zip") || !Is("x/a.ZIP") {
		t.Error("Is goes by something else than the end of a name")
	}
}

// FuzzUnpack looks for archives that write outside their folder, or what is not a file or a folder.
func FuzzUnpack(f *testing.F) {
	for i, content := range [][]byte{zipOf(f, "a/", "a/b"), tarOf(f, tar.Header{Name: "a"}), gzipOf(f, tarOf(f, tar.Header{Name: "../a"}))} {
		f.Add(i, content)
	}
	f.Fuzz(func(t *testing.T, format int, content []byte) {
		top := t.TempDir()
		path := filepath.Join(top, "in"+formats[uint(format)%uint(len(formats))].suffix)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		cache := filepath.Join(top, "cache")
		dir, err := Unpack(path, cache)
		above, _ := os.ReadDir(top)
		if len(above) > 2 {
			t.Fatalf("it wrote %v", above)
		}
		if inside, _ := os.ReadDir(cache); err == nil && (len(inside) != 1 || filepath.Dir(dir) != cache) || err != nil && len(inside) > 0 {
			t.Fatalf("it left %v, %v", inside, err)
		}
		_ = filepath.WalkDir(cache, func(name string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() && !e.Type().IsRegular() {
				t.Errorf("%s is %v", name, e.Type())
			}
			return nil
		})
	})
}
