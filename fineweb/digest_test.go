package fineweb

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stepflow/fineweb/web"
	"stepflow/foreign"
)

// settled makes times trusted at once.
func settled(t *testing.T) {
	old := settle
	settle = 0
	t.Cleanup(func() { settle = old })
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // more than the clock of a file system goes on by
}

func sumOf(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

func TestDigestsAreKept(t *testing.T) {
	settled(t)
	dir := t.TempDir()
	d := &Digests{Dir: filepath.Join(dir, "hashes")}
	path := filepath.Join(dir, "a [1]\n.bin")
	sum := func() string {
		t.Helper()
		s, err := d.Sum(context.Background(), path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	writeFile(t, path, "one")
	if sum() != sumOf("one") {
		t.Error(sum())
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.get(path, stamp(st)); got != sumOf("one") {
		t.Fatalf("%q is kept", got)
	}
	// What is kept is used: a hash put in its place is believed.
	d.put(path, stamp(st), sumOf("planted"))
	if sum() != sumOf("planted") {
		t.Error("the file is read again")
	}
	// Damage of any byte is seen.
	entry := d.entry(path)
	whole, err := os.ReadFile(entry)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		bad := append([]byte(nil), whole...)
		bad[i] ^= 1
		os.WriteFile(entry, bad, 0o644)
		if got := d.get(path, stamp(st)); got != "" {
			t.Fatalf("byte %d is flipped: %q", i, got)
		}
		os.WriteFile(entry, whole[:i], 0o644)
		if got := d.get(path, stamp(st)); got != "" {
			t.Fatalf("cut to %d bytes: %q", i, got)
		}
	}
	if sum() != sumOf("one") {
		t.Error(sum())
	}
	// Touched: read again, the same. Other bytes of the same size and time of modification: others.
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	d.put(path, stamp(st), sumOf("planted"))
	if sum() != sumOf("one") {
		t.Error("a touched file is not read again")
	}
	writeFile(t, path, "two")
	if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" && sum() != sumOf("two") {
		t.Error("other bytes with the old time of modification are not seen")
	}
	// No place to keep hashes is no error.
	for _, x := range []*Digests{{}, {Dir: filepath.Join(path, "nowhere")}} {
		if s, err := x.Sum(context.Background(), path); err != nil || s != sumOf("two") {
			t.Error(s, err)
		}
	}
}

func TestDigestsOfWhatWasJustWrittenAreNotKept(t *testing.T) {
	dir := t.TempDir()
	d := &Digests{Dir: filepath.Join(dir, "hashes")}
	path := filepath.Join(dir, "a")
	for _, text := range []string{"one", "two", "six"} { // faster than a file system's clock may go
		writeFile(t, path, text)
		if s, err := d.Sum(context.Background(), path); err != nil || s != sumOf(text) {
			t.Errorf("%s: %s, %v", text, s, err)
		}
	}
	if _, err := os.Stat(d.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("a hash is kept")
	}
}

func TestDigestsEnd(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	path := filepath.Join(dir, "a")
	writeFile(t, path, "one")
	if _, err := (&Digests{}).Sum(ctx, path); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	for p, says := range map[string]string{pipe: "is a pipe", dir: "is a folder", "/dev/zero": "is a device", filepath.Join(dir, "b"): "no such file"} {
		if _, err := (&Digests{}).All(context.Background(), []string{path, p}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestDigestsTogether(t *testing.T) {
	settled(t)
	dir := t.TempDir()
	var paths []string
	for i := range 20 {
		paths = append(paths, filepath.Join(dir, fmt.Sprint(i)))
		if err := os.WriteFile(paths[i], []byte(fmt.Sprint(i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			sums, err := (&Digests{Dir: filepath.Join(dir, "hashes")}).All(context.Background(), paths)
			for i := range paths {
				if err != nil || sums[i] != sumOf(fmt.Sprint(i)) {
					t.Errorf("%d: %s, %v", i, sums[i], err)
				}
			}
		}()
	}
	wait.Wait()
}

func TestCheckBlob(t *testing.T) {
	dir := t.TempDir()
	blobs, snapshot := filepath.Join(dir, "blobs"), filepath.Join(dir, "snapshots", "x")
	if err := errors.Join(os.Mkdir(blobs, 0o755), os.MkdirAll(snapshot, 0o755)); err != nil {
		t.Fatal(err)
	}
	git := func(text string) string {
		return fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(text), text)))
	}
	for name, c := range map[string]struct {
		blob, text string
		bad        bool
	}{
		"large":         {sumOf("weights"), "weights", false},
		"large damaged": {sumOf("weights"), "weighty", true},
		"small":         {git("config"), "config", false},
		"small damaged": {git("config"), "confix", true},
		"other":         {"some-name", "text", false},
	} {
		writeFile(t, filepath.Join(blobs, c.blob), c.text)
		link := filepath.Join(snapshot, name)
		if err := os.Symlink(filepath.Join("..", "..", "blobs", c.blob), link); err != nil {
			t.Fatal(err)
		}
		err := (&Digests{}).CheckBlob(context.Background(), link)
		if errors.Is(err, ErrBlob) != c.bad || err != nil && !c.bad {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Identity(t.Context(), []string{link}, nil); errors.Is(err, ErrBlob) != c.bad {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestIdentityIsNameAndContents: beyond 64 MiB too, times do not count and every byte does.
func TestIdentityIsNameAndContents(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	dir := t.TempDir()
	path := filepath.Join(dir, "d[1].txt")
	writeFile(t, path, "some text")
	if err := os.Truncate(path, 70<<20); err != nil {
		t.Fatal(err)
	}
	identity := func(path string) string {
		t.Helper()
		id, err := Identity(t.Context(), []string{path}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	before := identity(path)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if identity(path) != before {
		t.Error("a touched file is another")
	}
	elsewhere := filepath.Join(dir, "elsewhere", "d[1].txt")
	if err := errors.Join(os.Mkdir(filepath.Dir(elsewhere), 0o755), os.Rename(path, elsewhere)); err != nil {
		t.Fatal(err)
	}
	if identity(elsewhere) != before {
		t.Error("in another folder it is another file")
	}
	renamed := filepath.Join(dir, "e.txt")
	if err := os.Rename(elsewhere, renamed); err != nil {
		t.Fatal(err)
	}
	if identity(renamed) == before {
		t.Error("under another name it is the same file")
	}
	if err := os.Rename(renamed, path); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("x"), 35<<20)
	if err := errors.Join(err, f.Close(), os.Chtimes(path, st.ModTime(), st.ModTime())); err != nil {
		t.Fatal(err)
	}
	if identity(path) == before {
		t.Error("a byte in the middle does not count")
	}
}

// TestDamagedBlobIsFetchedAgain opens a file of the hub whose copy in the cache is damaged.
func TestDamagedBlobIsFetchedAgain(t *testing.T) {
	const commit, right = "0123456789012345678901234567890123456789", "one\ntwo\n"
	cache := t.TempDir()
	repo := filepath.Join(cache, "datasets--a--b")
	blobs, snapshot := filepath.Join(repo, "blobs"), filepath.Join(repo, "snapshots", commit)
	if err := errors.Join(os.MkdirAll(blobs, 0o755), os.MkdirAll(snapshot, 0o755), os.Symlink(filepath.Join("..", "..", "blobs", sumOf(right)), filepath.Join(snapshot, "f.txt"))); err != nil {
		t.Fatal(err)
	}
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asked++
		if q.URL.Path != "/datasets/a/b/resolve/"+commit+"/f.txt" {
			t.Errorf("asked for %s", q.URL)
		}
		http.ServeContent(w, q, "", time.Time{}, strings.NewReader(right))
	}))
	defer server.Close()
	for name, v := range map[string]string{"HF_HUB_CACHE": cache, "HF_ENDPOINT": server.URL, "HF_TOKEN": "", "HF_HOME": cache, foreign.CacheDirVariable: filepath.Join(cache, "ours")} {
		t.Setenv(name, v)
	}
	read := func() (string, error) {
		f, err := openHub(&reading{ctx: context.Background()}, &web.Client{}, "hf://datasets/a/b@"+commit+"/f.txt")
		if err != nil {
			return "", err
		}
		defer f.Close()
		b := make([]byte, f.Size())
		_, err = f.ReadAt(b, 0)
		return string(b), err
	}
	writeFile(t, filepath.Join(blobs, sumOf(right)), right)
	if text, err := read(); err != nil || text != right || asked != 0 {
		t.Errorf("%q, %v, asked %d times", text, err, asked)
	}
	writeFile(t, filepath.Join(blobs, sumOf(right)), "one\ntWo\n")
	if text, err := read(); err != nil || text != right || asked == 0 {
		t.Errorf("damaged: %q, %v, asked %d times", text, err, asked)
	}
	t.Setenv("HF_HUB_OFFLINE", "1")
	if text, err := read(); !errors.Is(err, ErrBlob) {
		t.Errorf("damaged, without the hub: %q, %v", text, err)
	}
}
