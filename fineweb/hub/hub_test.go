package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"stepflow/fineweb/web"
)

const sha = "0123456789abcdef0123456789abcdef01234567"

// revisions are the paths by which the hub is asked for commits: each revision is one name, escaped once.
var revisions = map[string]bool{"/api/datasets/a/b/revision/main": true,
	"/api/datasets/a/b/revision/refs%2Fpr%2F1":            true,
	"/api/datasets/a/b/revision/refs%2Fconvert%2Fparquet": true, "/api/datasets/a/b/revision/feature%2Fx%20y": true,
	"/api/datasets/old/revision/main": true}

// hub serves a repository of files, two a page, to whoever has the token; files come from another host, as the
// hub's do.
func hub(t *testing.T, files map[string]string) {
	t.Helper()
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Authorization") != "" {
			t.Error("the store got the token")
		}
		w.Header().Set("ETag", `"x"`)
		http.ServeContent(w, q, "", time.Time{}, strings.NewReader(files[strings.TrimPrefix(q.URL.Path, "/")]))
	}))
	t.Cleanup(store.Close)
	other := strings.Replace(store.URL, "127.0.0.1", "localhost", 1)
	var names []string
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Authorization") != "Bearer t0ken" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch p := q.URL.Path; {
		case revisions[q.URL.EscapedPath()]:
			json.NewEncoder(w).Encode(map[string]string{"sha": sha})
		case strings.HasPrefix(p, "/api/datasets/a/b/tree/"+sha) || strings.HasPrefix(p, "/api/datasets/old/tree/"+sha):
			_, dir, _ := strings.Cut(p, sha)
			dir = strings.TrimPrefix(dir, "/")
			var in []map[string]any
			for _, n := range names {
				if dir == "" || strings.HasPrefix(n, dir+"/") {
					in = append(in, map[string]any{"type": "file", "path": n, "size": len(files[n]), "oid": "git" + files[n],
						"lfs": map[string]any{"oid": "sha-" + files[n]}})
				}
			}
			in = append(in, map[string]any{"type": "directory", "path": "sub"})
			from := 0
			fmt.Sscan(q.URL.Query().Get("cursor"), &from)
			to := min(from+2, len(in))
			if to < len(in) {
				w.Header().Set("Link", fmt.Sprintf(`<%s%s?recursive=true&cursor=%d>; rel="next"`, s.URL, q.URL.EscapedPath(), to))
			}
			json.NewEncoder(w).Encode(in[from:to])
		case strings.HasPrefix(p, "/datasets/a/b/resolve/"+sha+"/"):
			http.Redirect(w, q, other+"/"+strings.TrimPrefix(q.URL.EscapedPath(), "/datasets/a/b/resolve/"+sha+"/"),
				http.StatusFound)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	t.Setenv("HF_ENDPOINT", s.URL+"/")
	t.Setenv("HF_HOME", t.TempDir())
	t.Setenv("HF_HUB_CACHE", "")
	t.Setenv("HF_HUB_OFFLINE", "")
	t.Setenv("HF_TOKEN", "t0ken")
}

var repository = map[string]string{"README.md": "hello", "sample/10BT/000.parquet": "first",
	"sample/10BT/001.parquet": "second", "sample/10BT/001.txt": "no", "sample/100BT/000.parquet": "no"}

func TestListAndOpen(t *testing.T) {
	hub(t, repository)
	c := &web.Client{}
	for _, address := range []string{"hf://datasets/a/b/sample/10BT/*.parquet",
		"hf://datasets/a/b@" + sha + "/sample/10?T/*.parquet"} {
		list, err := List(context.Background(), c, address)
		want := []web.Entry{{Address: "hf://datasets/a/b@" + sha + "/sample/10BT/000.parquet", ID: "sha-first"},
			{Address: "hf://datasets/a/b@" + sha + "/sample/10BT/001.parquet", ID: "sha-second"}}
		if err != nil || !slices.Equal(list, want) {
			t.Fatalf("%s: %v, %v", address, list, err)
		}
		f, err := Open(context.Background(), c, list[1].Address)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size())); err != nil || string(b) != "second" {
			t.Errorf("%q, %v", b, err)
		}
	}
	// The token may lie in the file that the hub's tools write.
	t.Setenv("HF_TOKEN", "")
	if err := os.WriteFile(filepath.Join(os.Getenv("HF_HOME"), "token"), []byte("t0ken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := List(context.Background(), c, "hf://datasets/a/b/*"); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// Names of files and revisions are escaped once, and a name that is there wins over the pattern that it is too.
func TestNames(t *testing.T) {
	files := map[string]string{"a b/c[1].parquet": "literal", "a b/c1.parquet": "matched",
		"a b/100%25.parquet": "percent", "a b/what?#.parquet": "mark", "x.y/_SUCCESS": "", "x.y/_old.parquet": "old",
		"x.y/d.parquet": "new", "x.y/e/f/d.parquet": "deep", "x.y/_temporary/d.parquet": "temporary",
		"{a,b}/*.parquet": "star"}
	hub(t, files)
	c := &web.Client{}
	for address, want := range map[string][]string{
		"hf://datasets/a/b/a b/c[1].parquet":                       {"literal"},
		`hf://datasets/a/b/a b/c\[1\].parquet`:                     {"literal"},
		"hf://datasets/a/b/a b/c[12].parquet":                      {"matched"},
		"hf://datasets/a/b/a b/100%25.parquet":                     {"percent"},
		"hf://datasets/a/b/a b/what?#.parquet":                     {"mark"},
		"hf://datasets/a/b/{a,b}/*.parquet":                        {"star"},
		"hf://datasets/a/b/x.y/*.parquet":                          {"aside old", "new"},
		"hf://datasets/a/b/x.y/*":                                  {"new"},
		"hf://datasets/a/b/x.y/**/d.parquet":                       {"aside temporary", "new", "deep"},
		"hf://datasets/a/b/x.y/_temporary/*":                       {"temporary"},
		"hf://datasets/a/b//x.y/./d.parquet":                       {"new"},
		"hf://datasets/a/b@refs/convert/parquet/x.y/d.parquet":     {"new"},
		"hf://datasets/a/b@refs%2Fconvert%2Fparquet/x.y/d.parquet": {"new"},
		"hf://datasets/a/b@~parquet/x.y/d.parquet":                 {"new"},
		"hf://datasets/a/b@refs/pr/1/x.y/d.parquet":                {"new"},
		"hf://datasets/a/b@refs%2Fpr%2F1/x.y/d.parquet":            {"new"},
		"hf://datasets/a/b@feature%2Fx%20y/x.y/d.parquet":          {"new"},
		"hf://datasets/old@main/x.y/d.parquet":                     {"new"},
		"hf://datasets/a/b@" + sha + "/**/e/**/*.parquet":          {"deep"},
		"hf://datasets/a/b/**/*.parquet": {"percent", "matched", "literal", "mark", "aside old",
			"aside temporary", "new", "deep", "star"},
	} {
		list, err := List(context.Background(), c, address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		var got []string
		for _, e := range list {
			text := strings.TrimPrefix(e.ID, "sha-")
			if e.Aside != "" {
				text = "aside " + text
			} else if strings.Contains(e.Address, "/a/b@") {
				f, err := Open(context.Background(), c, e.Address)
				if err != nil {
					t.Errorf("%s: %v", e.Address, err)
					continue
				}
				b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
				if err != nil || string(b) != text {
					t.Errorf("%s: %q, %v", e.Address, b, err)
				}
			}
			got = append(got, text)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, not %q", address, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	hub(t, repository)
	c := &web.Client{}
	for address, want := range map[string]string{
		"hf://datasets/a/b/none/*.parquet": "matches none of the files at revision " + sha,
		"hf://datasets/a/none/*.parquet":   "404",
		"hf://datasets/a":                  "write hf://datasets/ORG/NAME/PATH",
		"hf://datasets/a/b":                "names no file",
		"hf://datasets/a/b@/x":             "names no revision",
		"hf://datasets/a/b/../../x":        "names no revision or path",
		"hf://datasets/a/b/x**":            "alone between slashes",
		"hf://datasets/a/b@feature/x/y":    "404 Not Found. In a revision with slashes, write each as %2F",
		"hf://datasets/a/b@feature%zz/y":   "%2F stands for a slash",
		"hf://datasets/a/b@refs/pr/1/no/y": "write each as %2F",
	} {
		if _, err := List(context.Background(), c, address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
	t.Setenv("HF_TOKEN", "wrong")
	_, err := List(context.Background(), c, "hf://datasets/a/b/*.md")
	if err == nil || !strings.Contains(err.Error(), "accept its terms") || !strings.Contains(err.Error(),
		"HF_TOKEN") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("a gated repository: %v", err)
	}
}

// What Hugging Face's tools downloaded is used, offline too.
func TestCache(t *testing.T) {
	hub(t, repository)
	dir := filepath.Join(os.Getenv("HF_HOME"), "hub", "datasets--a--b")
	file, blob := filepath.Join(dir, "snapshots", sha, "sample", "10BT", "000.parquet"),
		filepath.Join(dir, "blobs", "sha-first")
	for name, text := range map[string]string{blob: "cached", filepath.Join(dir, "refs", "main"): sha} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.Symlink(blob, file)); err != nil {
		t.Fatal(err)
	}
	list, err := List(context.Background(), &web.Client{}, "hf://datasets/a/b/sample/10BT/*.parquet")
	if err != nil || len(list) != 2 || Cached(list[0].Address) != file || Cached(list[1].Address) != "" {
		t.Fatalf("%v, %v: %q", list, err, Cached(list[0].Address))
	}
	t.Setenv("HF_HUB_OFFLINE", "1")
	offline, err := List(context.Background(), nil, "hf://datasets/a/b/sample/10BT/*.parquet")
	if err != nil || !slices.Equal(offline, list[:1]) {
		t.Errorf("offline: %v, %v", offline, err)
	}
	if _, err := Open(context.Background(), nil, list[1].Address); !errors.Is(err,
		web.ErrUnreachable) || !strings.Contains(err.Error(), "HF_HUB_OFFLINE") {
		t.Errorf("offline, not cached: %v", err)
	}
	if _, err := List(context.Background(), nil, "hf://datasets/a/c/*"); !errors.Is(err,
		web.ErrUnreachable) || !strings.Contains(err.Error(), "HF_HUB_OFFLINE") {
		t.Errorf("offline, no repository: %v", err)
	}
}

func TestFollowing(t *testing.T) {
	t.Setenv("HF_ENDPOINT", "https://hub.example")
	if _, err := following(`<https://elsewhere.example/x>; rel="next"`); err == nil {
		t.Error("the token would go to another host")
	}
	if next, err := following(`<https://hub.example/p>; rel="prev", <https://hub.example/n>; rel="next"`); err != nil || next != "https://hub.example/n" {
		t.Errorf("%q, %v", next, err)
	}
}

// A list that leads back to a page before is an error, not one without end.
func TestRoundabout(t *testing.T) {
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?cursor=%d>; rel="next"`, s.URL, q.URL.EscapedPath(),
			len(q.URL.Query().Get("cursor"))))
		fmt.Fprint(w, `[{"type": "file", "path": "x", "oid": "1"}]`)
	}))
	t.Cleanup(s.Close)
	t.Setenv("HF_ENDPOINT", s.URL)
	t.Setenv("HF_HUB_OFFLINE", "")
	if _, err := List(context.Background(), &web.Client{}, "hf://datasets/a/b@"+sha+"/*"); err == nil || !strings.Contains(err.Error(), "leads back to a page before") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("hf://datasets/a/b@main/x/*.parquet")
	f.Add("hf://a/b")
	f.Add("hf://datasets/a/b@refs/convert/parquet/x")
	f.Add("hf://datasets/a/b@refs%2Fconvert%2Fparquet/x")
	f.Add("hf://datasets/a@~parquet/x")
	f.Add("hf://datasets/a/b@x%2520y//z/")
	f.Add("hf://0@refs//convert/0")
	f.Fuzz(func(t *testing.T, s string) {
		r, file, err := Parse(s)
		if err != nil {
			return
		}
		if again, f2, err := Parse(r.Address(file)); err != nil || again != r || f2 != file {
			t.Errorf("%q: %+v %q became %+v %q, %v", s, r, file, again, f2, err)
		}
		if bytes.Contains([]byte(filepath.Join("cache", r.Name)), []byte("..")) && !strings.Contains(s, "..") {
			t.Errorf("%q leaves its folder", s)
		}
	})
}
