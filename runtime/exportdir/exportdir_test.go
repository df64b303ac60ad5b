package exportdir

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
)

// model is the files of an export: shards of one letter, and the rest.
func model(letter string, shards int) map[string]string {
	m := map[string]string{"config.json": "{}", "tokenizer.json": letter + " tokenizer"}
	for i := range shards {
		name := "model.safetensors"
		if shards > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, shards)
		}
		m[name] = fmt.Sprint(letter, i)
	}
	return m
}

func parts(m map[string]string) (list []checkpoint.Part) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, checkpoint.Bytes(name, []byte(m[name])))
	}
	return list
}

// tree reads all files of a folder, those of temporary folders left out; a link reads as where it leads.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if tmpName.MatchString(d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		rel, _ := filepath.Rel(dir, path)
		if d.Type()&fs.ModeSymlink != 0 {
			m[rel], err = os.Readlink(path)
			return err
		}
		b, err := os.ReadFile(path)
		m[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func open(t *testing.T, path string) *Folder {
	t.Helper()
	f, err := Open(path, Hashes{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func export(t *testing.T, path string, m map[string]string) error {
	t.Helper()
	f, err := Open(path, Hashes{})
	if err != nil {
		return err
	}
	return f.Write(Manifest{Stage: "stage.s", Recipe: "r"}, parts(m))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o777))
	must(t, os.WriteFile(path, []byte(text), 0o666))
}

// same compares what a folder holds with a model and files of the user's; the manifest is left out.
func same(t *testing.T, got, model, user map[string]string) bool {
	want := merge2(model, user)
	got = maps.Clone(got)
	delete(got, ManifestName)
	return maps.Equal(got, want)
}

func merge2(a, b map[string]string) map[string]string {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

func TestFilesOfTheUserStay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "out")
	must(t, export(t, dir, model("a", 3)))
	user := map[string]string{"README.md": "card", ".git/HEAD": "ref", "config.json.bak": "x", "sub/config.json": "x", "model-1-of-2.safetensors": "x", ".stepflow-export-mine": "x", ".stepflow-export-0123456789abcdef": "a file"}
	for n, s := range user {
		put(t, filepath.Join(dir, n), s)
	}
	must(t, os.Symlink("/etc", filepath.Join(dir, "link")))
	user["link"] = "/etc"
	must(t, os.Chmod(filepath.Join(dir, "tokenizer.json"), 0o600))
	for _, m := range []map[string]string{model("b", 2), model("c", 1), model("d", 4)} {
		must(t, export(t, dir, m))
		if got := tree(t, dir); !same(t, got, m, user) {
			t.Fatalf("the folder holds %v", got)
		}
	}
	if st, _ := os.Stat(filepath.Join(dir, "tokenizer.json")); st.Mode().Perm() != 0o600 {
		t.Errorf("a mode became %v", st.Mode())
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && tmpName.MatchString(e.Name()) {
			t.Errorf("left over: %s", e.Name())
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  bool // an export is there
		change func(t *testing.T, dir string)
		want   string
	}{
		{"files of the user", false, func(t *testing.T, dir string) { put(t, dir+"/notes", "x") }, "exists and was not written by an export: it holds notes"},
		{"a model of another's", false, func(t *testing.T, dir string) { put(t, dir+"/config.json", "{}") }, "it holds config.json"},
		{"many files", false, func(t *testing.T, dir string) {
			for i := range 9 {
				put(t, fmt.Sprintf("%s/f%d", dir, i), "x")
			}
		}, "it holds f0, f1, f2, f3, f4 and 4 more"},
		{"a manifest alone", false, func(t *testing.T, dir string) { put(t, dir+"/"+ManifestName, "{}") }, "damaged"},
		{"a changed file", true, func(t *testing.T, dir string) { put(t, dir+"/config.json", "{ }") }, "config.json in"},
		{"a changed file of equal size", true, func(t *testing.T, dir string) { put(t, dir+"/model-00001-of-00002.safetensors", "a9") }, "changed after the export"},
		{"a link in a file's place", true, func(t *testing.T, dir string) {
			must(t, os.Remove(dir+"/config.json"))
			put(t, dir+"/../theirs", "{}")
			must(t, os.Symlink("../theirs", dir+"/config.json"))
		}, "changed after the export"},
		{"a folder in a file's place", true, func(t *testing.T, dir string) {
			must(t, os.Remove(dir+"/config.json"))
			put(t, dir+"/config.json/x", "x")
		}, "changed after the export"},
		{"a shard of the user's", true, func(t *testing.T, dir string) { put(t, dir+"/model.safetensors", "x") }, "not written by an export and would be in its way"},
		{"a file in the way", true, func(t *testing.T, dir string) { put(t, dir+"/generation_config.json", "x") }, "not written by an export and would be in its way"},
		{"the manifest is no JSON", true, func(t *testing.T, dir string) { put(t, dir+"/"+ManifestName, "{") }, "damaged"},
		{"the manifest is a link", true, func(t *testing.T, dir string) {
			must(t, os.Rename(dir+"/"+ManifestName, dir+"/../m"))
			must(t, os.Symlink("../m", dir+"/"+ManifestName))
		}, "damaged"},
		{"the manifest names files of others", true, func(t *testing.T, dir string) {
			put(t, dir+"/"+ManifestName, `{"format_version":2,"recipe":"r","files":{"../theirs":{"size":1,"sha256":""}}}`)
		}, `exports write no "../theirs"`},
		{"a newer manifest", true, func(t *testing.T, dir string) {
			put(t, dir+"/"+ManifestName, `{"format_version":9,"recipe":"r","files":{}}`)
		}, "use the newer stepflow"},
		{"the manifest is gone", true, func(t *testing.T, dir string) { must(t, os.Remove(dir+"/"+ManifestName)) }, "was not written by an export"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			if c.first {
				must(t, export(t, dir, model("a", 2)))
			}
			c.change(t, dir)
			before := tree(t, filepath.Dir(dir))
			err := export(t, dir, model("b", 2))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it was refused with %v, want %q", err, c.want)
			}
			if after := tree(t, filepath.Dir(dir)); !maps.Equal(before, after) {
				t.Errorf("%v became %v", before, after)
			}
		})
	}
}

func TestLook(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	must(t, export(t, dir, model("a", 2)))
	must(t, os.Remove(dir+"/tokenizer.json"))
	put(t, dir+"/config.json", "{  }")
	put(t, dir+"/README.md", "x")
	put(t, dir+"/model.safetensors", "x")
	c, err := open(t, dir).Look()
	must(t, err)
	got := fmt.Sprint(slices.Sorted(maps.Keys(c.Ours)), c.Changed, c.Missing, c.InWay, c.Others, c.Listed, c.Cut)
	if want := "[model-00001-of-00002.safetensors model-00002-of-00002.safetensors] [config.json] [tokenizer.json] [model.safetensors] [README.md] true false"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestEarlyExportIsReplacedWithItsOwnNamesOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	for n, s := range merge2(model("a", 2), map[string]string{"README.md": "card", ManifestName: `{"stage":"stage.s","recipe":"r"}`}) {
		put(t, filepath.Join(dir, n), s)
	}
	c, err := open(t, dir).Look()
	must(t, err)
	if c.Listed || len(c.Unlisted) != 4 || fmt.Sprint(c.Others) != "[README.md]" {
		t.Errorf("an early export is %+v", c)
	}
	must(t, export(t, dir, model("b", 1)))
	if got := tree(t, dir); !same(t, got, model("b", 1), map[string]string{"README.md": "card"}) {
		t.Errorf("it became %v", got)
	}
}

func TestLinksStay(t *testing.T) {
	base := t.TempDir()
	target, link, dangling := filepath.Join(base, "target"), filepath.Join(base, "link"), filepath.Join(base, "dangling")
	must(t, os.Mkdir(target, 0o777))
	must(t, os.Symlink("target", link))
	must(t, os.Symlink("not/yet/there", dangling))
	for _, l := range []string{link, dangling} {
		must(t, export(t, l, model("a", 2)))
		must(t, export(t, l, model("b", 1)))
		if st, err := os.Lstat(l); err != nil || st.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("%s is not a link any more", l)
		}
		if got := tree(t, l+"/"); !same(t, got, model("b", 1), nil) {
			t.Errorf("%s leads to %v", l, got)
		}
	}
	put(t, filepath.Join(base, "file"), "x")
	must(t, os.Symlink("file", filepath.Join(base, "tofile")))
	must(t, os.Symlink("loop", filepath.Join(base, "loop")))
	for _, p := range []string{"file", "tofile", "file/out", "loop"} {
		if _, err := Open(filepath.Join(base, p), Hashes{}); err == nil {
			t.Errorf("%s can be exported to", p)
		}
	}
}

// copyDir copies a folder as it is, links as links.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	must(t, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		at := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(at, 0o777)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(at, b, 0o666)
	}))
}

// TestKilledAnywhere takes a copy of the folder before every change of the disk, which is what a kill there would leave,
// and looks at each: it never reads as a mixed model, nothing of the user's is touched, and the next apply makes it whole.
func TestKilledAnywhere(t *testing.T) {
	user := map[string]string{"README.md": "card", ".git/HEAD": "ref"}
	for _, c := range []struct {
		name     string
		old, new map[string]string
	}{
		{"first", nil, model("b", 2)},
		{"fewer shards", model("a", 3), model("b", 2)},
		{"same names", model("a", 2), model("b", 2)},
		{"another form", model("a", 2), map[string]string{"model-F16.gguf": "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := t.TempDir()
			dir := filepath.Join(base, "out")
			there := map[string]string{}
			if c.old != nil {
				must(t, export(t, dir, c.old))
				for n, s := range user {
					put(t, filepath.Join(dir, n), s)
				}
				there = user
			}
			var copies []string
			t.Cleanup(func() { durable.Before = nil })
			durable.Before = func(op, path string) error {
				at := filepath.Join(base, fmt.Sprintf("killed-%d", len(copies)))
				if _, err := os.Stat(dir); err == nil {
					copyDir(t, dir, at)
					copies = append(copies, at)
				}
				return nil
			}
			must(t, export(t, dir, c.new))
			durable.Before = nil
			if len(copies) < 12 {
				t.Fatalf("an export makes %d changes only", len(copies))
			}
			t.Run("then", func(t *testing.T) { // it ends when all have, which wait for the disk together
				for i, at := range copies {
					t.Run(fmt.Sprint(i), func(t *testing.T) {
						t.Parallel()
						afterKill(t, at, c.old, c.new, there)
					})
				}
			})
		})
	}
}

// afterKill looks at a folder in which an export in the place of old was killed, if old is not nil.
func afterKill(t *testing.T, at string, old, new, user map[string]string) {
	got := tree(t, at)
	delete(got, ManifestName)
	reads := slices.ContainsFunc(slices.Collect(maps.Keys(got)), keyFiles.MatchString)
	if reads && !same(t, got, old, user) && !same(t, got, new, user) {
		t.Fatalf("the folder reads as a model and holds %v", got)
	}
	f := open(t, at)
	look, err := f.Look()
	must(t, err)
	if err := f.Refuse(look); err != nil {
		t.Fatalf("what a kill left is refused: %v", err)
	}
	again := at + "-again"
	copyDir(t, at, again)
	must(t, open(t, again).Recover())
	got = tree(t, again)
	if !same(t, got, new, user) && !(old != nil && same(t, got, old, user)) && !(old == nil && len(got) == 0) {
		t.Fatalf("recovered, it holds %v", got)
	}
	must(t, export(t, at, model("c", 2))) // the next export need not be that one
	if got := tree(t, at); !same(t, got, model("c", 2), user) {
		t.Fatalf("after the next export: %v", got)
	}
}

// TestFailsAnywhere makes every change of the disk fail once: the old model or the new one is there, or the next export
// makes it whole.
func TestFailsAnywhere(t *testing.T) {
	boom := errors.New("boom")
	t.Cleanup(func() { durable.Before = nil })
	for n := 0; ; n++ {
		dir := filepath.Join(t.TempDir(), "out")
		must(t, export(t, dir, model("a", 2)))
		put(t, dir+"/README.md", "card")
		i := 0
		durable.Before = func(op, path string) error {
			i++
			if i-1 == n {
				return fmt.Errorf("%s %s: %w", op, path, boom)
			}
			return nil
		}
		err := export(t, dir, model("b", 1))
		durable.Before = nil
		if err == nil {
			if n < 20 {
				t.Fatalf("an export makes %d changes only", n)
			}
			return
		}
		if !errors.Is(err, boom) {
			t.Fatalf("change %d: %v", n, err)
		}
		user := map[string]string{"README.md": "card"}
		got := tree(t, dir)
		delete(got, ManifestName)
		reads := slices.ContainsFunc(slices.Collect(maps.Keys(got)), keyFiles.MatchString)
		if reads && !same(t, got, model("a", 2), user) && !same(t, got, model("b", 1), user) {
			t.Fatalf("change %d: the folder reads as a model and holds %v", n, got)
		}
		must(t, export(t, dir, model("c", 1)))
		if got := tree(t, dir); !same(t, got, model("c", 1), user) {
			t.Fatalf("change %d: after the next export: %v", n, got)
		}
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if tmpName.MatchString(e.Name()) {
				t.Fatalf("change %d: left over: %s", n, e.Name())
			}
		}
	}
}

// TestUserBetweenKillAndApply: what a user puts in the way of an export that was cut off is not lost.
func TestUserBetweenKillAndApply(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	must(t, export(t, dir, model("a", 2)))
	t.Cleanup(func() { durable.Before = nil })
	durable.Before = func(op, path string) error {
		if op == "rename" && filepath.Base(path) == "tokenizer.json" {
			return errors.New("killed")
		}
		return nil
	}
	if export(t, dir, model("b", 2)) == nil {
		t.Fatal("it was not stopped")
	}
	durable.Before = nil
	put(t, dir+"/config.json", "mine")
	if err := open(t, dir).Recover(); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("recovered with %v", err)
	}
	if err := export(t, dir, model("c", 2)); err == nil {
		t.Error("a file of the user's was replaced")
	}
	if tree(t, dir)["config.json"] != "mine" {
		t.Error("a file of the user's is lost")
	}
	must(t, os.Remove(dir+"/config.json"))
	must(t, open(t, dir).Recover())
	if got := tree(t, dir); !same(t, got, model("b", 2), nil) {
		t.Errorf("recovered, it holds %v", got)
	}
}

// TestCardGivesWay: a card of the user's, and one of ours that he changed, stay; ours is replaced and comes back.
func TestCardGivesWay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	with := func(letter string) map[string]string {
		m := model(letter, 1)
		m[CardName] = "card of " + letter
		return m
	}
	card := func(want string) {
		t.Helper()
		if got := tree(t, dir)[CardName]; got != want {
			t.Errorf("the card is %q, want %q", got, want)
		}
	}
	must(t, export(t, dir, with("a")))
	must(t, export(t, dir, with("b")))
	card("card of b")
	put(t, filepath.Join(dir, CardName), "edited")
	look, err := open(t, dir).Look()
	must(t, err)
	must(t, open(t, dir).Refuse(look))
	if !look.Card || len(look.Changed) > 0 || len(look.Missing) > 0 {
		t.Errorf("an edited card: %+v", look)
	}
	must(t, export(t, dir, with("c")))
	card("edited")
	must(t, export(t, dir, with("d")))
	card("edited")
	must(t, os.Remove(filepath.Join(dir, CardName)))
	must(t, export(t, dir, with("e")))
	card("card of e")
	must(t, export(t, dir, model("f", 1)))
	card("")
}
