package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func put(t *testing.T, path, text string, perm os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), perm); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, perm); err != nil {
		t.Fatal(err)
	}
}

// names lists a folder.
func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestWriteKeepsModesAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	for _, perm := range []os.FileMode{0o600, 0o640, 0o755, 0o666} {
		f := filepath.Join(dir, "f")
		put(t, f, "old", perm)
		var during os.FileMode
		err := Write(f, func(w io.Writer) error {
			for _, n := range names(t, dir) {
				if st, err := os.Stat(filepath.Join(dir, n)); err == nil && Temporary(n) {
					during = st.Mode().Perm()
				}
			}
			_, err := io.WriteString(w, "new")
			return err
		})
		st, e := os.Stat(f)
		if err != nil || e != nil || read(t, f) != "new" {
			t.Fatal(err, e)
		}
		if st.Mode().Perm() != perm {
			t.Errorf("%v became %v", perm, st.Mode().Perm())
		}
		if during&^perm != 0 {
			t.Errorf("while it was written, %v was %v", perm, during)
		}
	}
	f := filepath.Join(dir, "f")
	if _, err := (UserFile{Path: f, Private: true, Ours: func(io.Reader) bool { return true }}).Write([]byte("secret")); err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(f); st.Mode().Perm() != 0o600 {
		t.Errorf("a private file is %v", st.Mode().Perm())
	}
	if n := names(t, dir); len(n) != 1 {
		t.Errorf("left over: %v", n)
	}
}

func TestWriteFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "theirs")
	put(t, outside, "theirs", 0o600)
	link := filepath.Join(dir, "state.json")
	for _, at := range []string{link, link + ".tmp"} {
		if err := os.Symlink(outside, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteFile(link, []byte("ours")); err != nil {
		t.Fatal(err)
	}
	if read(t, outside) != "theirs" || read(t, link) != "ours" {
		t.Error("a planted link was followed")
	}
	if err := WriteTo(link+".tmp", func(io.Writer) error { return nil }); err == nil || read(t, outside) != "theirs" {
		t.Errorf("a new file was written through a link: %v", err)
	}
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	f := filepath.Join(dir, "f")
	put(t, f, "old", 0o644)
	boom := errors.New("boom")
	if err := Write(f, func(w io.Writer) error { io.WriteString(w, "ne"); return boom }); !errors.Is(err, boom) {
		t.Errorf("fill's error became %v", err)
	}
	for _, op := range []string{"create", "rename"} {
		Before = func(o, _ string) error {
			if o == op {
				return boom
			}
			return nil
		}
		t.Cleanup(func() { Before = nil })
		if err := WriteFile(f, []byte("new")); !errors.Is(err, boom) {
			t.Errorf("%s: %v", op, err)
		}
	}
	if n := names(t, dir); len(n) != 1 || read(t, f) != "old" {
		t.Errorf("after failures: %v, %q", n, read(t, f))
	}
}

func TestMkdirAllSyncsEveryParent(t *testing.T) {
	dir := t.TempDir()
	var ops []string
	Before = func(op, path string) error {
		rel, _ := filepath.Rel(dir, path)
		ops = append(ops, op+" "+rel)
		return nil
	}
	t.Cleanup(func() { Before = nil })
	if err := MkdirAll(filepath.Join(dir, "a", "b"), 0o777); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(ops, ", "), "sync .., mkdir a, sync ., mkdir a/b, sync a"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	ops = nil
	if err := MkdirAll(filepath.Join(dir, "a", "b"), 0o777); err != nil || len(ops) > 0 {
		t.Errorf("of a folder that is there: %v %v", ops, err)
	}
	lasting.Clear() // another process finds what one that was killed has made
	if err := MkdirAll(filepath.Join(dir, "a", "b"), 0o777); err != nil || strings.Join(ops, ", ") != "sync a" {
		t.Errorf("of a folder that another process left: %v %v", ops, err)
	}
	put(t, filepath.Join(dir, "f"), "x", 0o644)
	if err := MkdirAll(filepath.Join(dir, "f", "g"), 0o777); err == nil {
		t.Error("a folder was made below a file")
	}
}

func TestRenameAndRemoveSyncTheirFolders(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"a", "b"} {
		os.Mkdir(filepath.Join(dir, d), 0o777)
	}
	put(t, filepath.Join(dir, "a", "f"), "x", 0o644)
	var synced []string
	Before = func(op, path string) error {
		if op == "sync" {
			synced = append(synced, filepath.Base(path))
		}
		return nil
	}
	t.Cleanup(func() { Before = nil })
	if err := Rename(filepath.Join(dir, "a", "f"), filepath.Join(dir, "b", "f")); err != nil || fmt.Sprint(synced) != "[b a]" {
		t.Errorf("rename synced %v: %v", synced, err)
	}
	synced = nil
	for range 2 { // the second time there is nothing
		if err := Remove(filepath.Join(dir, "b", "f")); err != nil {
			t.Error(err)
		}
	}
	if fmt.Sprint(synced) != "[b]" {
		t.Errorf("remove synced %v", synced)
	}
}

// isOurs takes files that begin with "ours".
func isOurs(r io.Reader) bool {
	b, _ := io.ReadAll(io.LimitReader(r, 4))
	return string(b) == "ours"
}

func TestUserFile(t *testing.T) {
	dir := t.TempDir()
	at := func(n string) string { return filepath.Join(dir, n) }
	u := func(n string) UserFile {
		return UserFile{Path: n, Ours: isOurs, Refusal: "exists and is not one of ours"}
	}

	put(t, at("theirs"), "theirs", 0o644)
	put(t, at("empty"), "", 0o600)
	put(t, at("old"), "ours 1", 0o640)
	os.Mkdir(at("folder"), 0o777)
	os.Symlink("old", at("link"))
	os.Symlink("folder/new", at("dangling"))
	os.Symlink("loop", at("loop"))
	os.Symlink("theirs", at("to-theirs"))
	os.Link(at("old"), at("hard"))

	for _, n := range []string{at("theirs"), at("to-theirs"), at("folder"), at("folder") + "/", at("none") + "/", at("none/f"), at("loop")} {
		if err := u(n).Check(); err == nil {
			t.Errorf("%s passes the check", n)
		}
		if _, err := u(n).Write([]byte("ours 2")); err == nil {
			t.Errorf("%s was written", n)
		}
	}
	if read(t, at("theirs")) != "theirs" {
		t.Error("a file of the user's was overwritten")
	}
	for _, n := range []string{"empty", "link", "dangling", "new"} {
		if err := u(at(n)).Check(); err != nil {
			t.Errorf("%s: %v", n, err)
		}
		if stream, err := u(at(n)).Write([]byte("ours " + n)); err != nil || stream {
			t.Errorf("%s: %v %v", n, stream, err)
		}
		if got := read(t, at(n)); got != "ours "+n {
			t.Errorf("%s holds %q", n, got)
		}
	}
	if read(t, at("hard")) != "ours link" || read(t, at("folder/new")) != "ours dangling" {
		t.Error("what a link leads to was not written")
	}
	for n, want := range map[string]os.FileMode{"empty": 0o600, "old": 0o640} {
		if st, _ := os.Stat(at(n)); st.Mode().Perm() != want {
			t.Errorf("%s is %v now", n, st.Mode().Perm())
		}
	}
	for _, n := range []string{"link", "dangling"} {
		if st, _ := os.Lstat(at(n)); st.Mode()&os.ModeSymlink == 0 {
			t.Errorf("%s is not a link any more", n)
		}
	}
	if stream, err := u("/dev/null").Write([]byte("ours")); err != nil || !stream {
		t.Errorf("/dev/null: %v %v", stream, err)
	}
	for _, n := range names(t, dir) {
		if Temporary(n) {
			t.Errorf("left over: %s", n)
		}
	}
}

func TestUserFileThatChangesMeanwhile(t *testing.T) {
	f := filepath.Join(t.TempDir(), "f")
	put(t, f, "first", 0o644)
	same := UserFile{Path: f, Refusal: "changed", Ours: func(r io.Reader) bool { b, _ := io.ReadAll(r); return bytes.Equal(b, []byte("first")) }}
	t.Cleanup(func() { Before = nil })
	Before = func(op, _ string) error {
		if op == "create" {
			put(t, f, "edited", 0o644)
		}
		return nil
	}
	if _, err := same.Write([]byte("second")); err == nil || read(t, f) != "edited" {
		t.Errorf("an edit was lost: %v", err)
	}
}
