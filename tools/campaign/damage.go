//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// harm is a way to damage a file.
type harm struct {
	name string
	do   func(t *trial, path string, b []byte) error
}

var harms = []harm{
	{"a bit flipped", func(t *trial, path string, b []byte) error {
		if len(b) == 0 {
			return os.WriteFile(path, []byte("x"), 0o644)
		}
		i := t.rng.IntN(len(b))
		b[i] ^= 1 << t.rng.IntN(8)
		t.note("  byte %d of %d", i, len(b))
		return os.WriteFile(path, b, 0o644)
	}},
	{"bytes zeroed", func(t *trial, path string, b []byte) error {
		from := t.rng.IntN(len(b) + 1)
		clear(b[from:min(len(b), from+512)])
		return os.WriteFile(path, b, 0o644)
	}},
	{"cut short", func(t *trial, path string, b []byte) error {
		return os.WriteFile(path, b[:t.rng.IntN(len(b)+1)], 0o644)
	}},
	{"emptied", func(t *trial, path string, b []byte) error { return os.WriteFile(path, nil, 0o644) }},
	{"made longer", func(t *trial, path string, b []byte) error {
		return os.WriteFile(path, append(b, b[:min(len(b), 1+t.rng.IntN(64))]...), 0o644)
	}},
	{"removed", func(t *trial, path string, b []byte) error { return os.Remove(path) }},
	{"a folder in its place", func(t *trial, path string, b []byte) error {
		return errors.Join(os.Remove(path), os.Mkdir(path, 0o755))
	}},
	{"a dangling link in its place", func(t *trial, path string, b []byte) error {
		return errors.Join(os.Remove(path), os.Symlink(filepath.Join(t.dir, "nowhere"), path))
	}},
	{"another file of its kind in its place", func(t *trial, path string, b []byte) error {
		others, err := t.files(func(p string) bool { return p != path && filepath.Base(p) == filepath.Base(path) })
		if err != nil || len(others) == 0 {
			return errors.Join(err, os.WriteFile(path, []byte("{}\n"), 0o644))
		}
		other := others[t.rng.IntN(len(others))]
		t.note("  %s", other)
		o, err := os.ReadFile(other)
		return errors.Join(err, os.WriteFile(path, o, 0o644))
	}},
}

// scenes are what a file can belong to. Where several files stand for one another, all of them may be harmed.
var scenes = []struct {
	name    string
	belongs func(rel string) bool
}{
	{"state.json", func(r string) bool { return strings.HasPrefix(r, "w/.stepflow/state.json") }},
	{"checkpoint", func(r string) bool { return strings.Contains(r, "/step-") }},
	{"tokenizer and results", func(r string) bool {
		return strings.Contains(r, "/tokenizer/") || strings.Contains(r, "/result/") || strings.Contains(r, "/export/")
	}},
	{"metrics and events", func(r string) bool {
		return strings.HasSuffix(r, "metrics.jsonl") ||
			strings.Contains(r, "tfevents")
	}},
	{"run.json and lock", func(r string) bool {
		return strings.HasSuffix(r, "/run.json") ||
			strings.HasSuffix(r, "/lock")
	}},
	{"export", func(r string) bool { return strings.HasPrefix(r, "w/out/model/") }},
	{"cache", func(r string) bool { return strings.HasPrefix(r, "cache/") }},
}

func damages() (list []act) {
	for _, s := range scenes {
		list = append(list, act{name: "damage: " + s.name, do: func(t *trial) error { return t.damage(s.belongs) }})
	}
	return append(list, act{name: "damage: folders", do: removeFolder})
}

// files lists the regular files in the state, the export and the cache that are wanted.
func (t *trial) files(want func(path string) bool) (list []string, err error) {
	for _, root := range []string{t.state(), filepath.Join(t.w, "out", "model"), filepath.Join(t.dir, "cache")} {
		err = errors.Join(err, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && d.Type().IsRegular() && want(path) {
				list = append(list, path)
			}
			return err
		}))
	}
	return list, err
}

// damage harms one file of a kind, then looks at the state as a user would, and goes on.
func (t *trial) damage(belongs func(string) bool) error {
	s, err := t.choose(true)
	if err != nil {
		return err
	}
	list, err := t.files(func(path string) bool {
		rel, _ := filepath.Rel(t.dir, path)
		return belongs(rel)
	})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		if s.whole {
			return errors.New("the campaign finds no such file")
		}
		return t.settle(expectation{had: t.kept()})
	}
	had := t.kept()
	path := list[t.rng.IntN(len(list))]
	rel, _ := filepath.Rel(t.dir, path)
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	h := harms[t.rng.IntN(len(harms))]
	t.note("%s: %s", rel, h.name)
	if err := h.do(t, path, slices.Clone(b)); err != nil {
		return err
	}
	if strings.HasPrefix(rel, "w/.stepflow/state.json") && t.rng.IntN(3) == 0 {
		for _, other := range list { // its predecessor is gone as well
			if other != path {
				t.note("%s: removed", other)
				if err := os.Remove(other); err != nil {
					return err
				}
			}
		}
	}
	if t.metrics = strings.HasSuffix(path, "metrics.jsonl"); t.metrics && s.whole {
		if err := t.shown(path, b); err != nil {
			return fmt.Errorf("%s, %s: %w", rel, h.name, err)
		}
	}
	if err := t.look(s.whole); err != nil {
		return fmt.Errorf("%s, %s: %w", rel, h.name, err)
	}
	x := expectation{had: had, slack: checkpointEvery,
		names: []string{filepath.Base(path), filepath.Dir(rel), filepath.Base(filepath.Dir(path))}}
	if t.rng.IntN(2) == 0 {
		x.remedies = []remedy{{"the file is restored", func() error {
			return errors.Join(os.RemoveAll(path), os.WriteFile(path, b, info.Mode().Perm()),
				os.Chtimes(path, info.ModTime(), info.ModTime()))
		}}}
	}
	exported := strings.HasPrefix(rel, "w/out/model/") // a changed file there is the user's until he removes it
	if st, err := os.Lstat(path); err == nil && (exported || !st.Mode().IsRegular()) && len(x.remedies) == 0 {
		gone := path
		// Without its manifest no file there is known to be an export's.
		if strings.HasPrefix(filepath.Base(path), "stepflow_export") {
			gone = filepath.Dir(path)
		}
		x.remedies = []remedy{{"what is in the way is removed", func() error { return os.RemoveAll(gone) }}}
	}
	if err := t.settle(x); err != nil {
		return fmt.Errorf("%s, %s: %w", rel, h.name, err)
	}
	return nil
}

// shown wants damaged numbers of a stage to be left out, and to be told so.
func (t *trial) shown(path string, was []byte) error {
	if b, err := os.ReadFile(path); err == nil && bytes.HasPrefix(b, was) {
		return nil // nothing of it is gone
	}
	now, err := steps(path)
	if err == nil && now == t.ref.steps[filepath.Base(filepath.Dir(path))] {
		return nil // the damage is to what differs in every run
	}
	if p := t.run("watch", "-once", "w"); p.code == 0 && !strings.Contains(p.stdout(), "lacks the numbers") {
		return errors.New("stepflow watch shows the numbers and does not say that some are gone or damaged")
	}
	return nil
}

// look runs the commands that show a state: they may complain, but not crash, and not show what is not so.
func (t *trial) look(whole bool) error {
	for _, args := range [][]string{{"output", "-json", "-dir", "w"}, {"show", "-json", "-dir", "w"}, {"state", "check", "-dir", "w"},
		{"report", "-o", "report.html", "w"}, {"watch", "-once", "w"}, {"plan", "w"}}[:1+t.rng.IntN(6)] {
		p := t.run(args...)
		if err := p.sane(); err != nil {
			return err
		}
		if args[0] == "output" && whole && p.code == 0 && p.stdout() != t.ref.outputs {
			return fmt.Errorf("stepflow output shows %s for %s",
				strings.TrimSpace(p.stdout()), strings.TrimSpace(t.ref.outputs))
		}
	}
	return t.outside()
}

// removeFolder takes a whole folder away.
func removeFolder(t *trial) error {
	s, err := t.choose(true)
	if err != nil {
		return err
	}
	var list []string
	for _, pattern := range []string{
		".stepflow/blocks/*", ".stepflow/blocks/*/*", ".stepflow/blocks", "out/model", "../cache/*", "../cache/*/*",
	} {
		m, err := filepath.Glob(filepath.Join(t.w, pattern))
		if err != nil {
			return err
		}
		for _, dir := range m {
			if st, err := os.Stat(dir); err == nil && st.IsDir() {
				list = append(list, dir)
			}
		}
	}
	if len(list) == 0 {
		return t.settle(expectation{had: t.kept()})
	}
	dir := list[t.rng.IntN(len(list))]
	rel, _ := filepath.Rel(t.dir, dir)
	aside := filepath.Join(t.dir, "aside")
	t.note("%s: taken away", rel)
	if err := os.Rename(dir, aside); err != nil {
		return err
	}
	t.metrics = strings.Contains(rel, "blocks") && !strings.Contains(filepath.Base(rel), "step-")
	if err := t.look(s.whole); err != nil {
		return fmt.Errorf("%s: %w", rel, err)
	}
	x := expectation{had: t.kept(), slack: checkpointEvery} // of what is gone there is nothing left to ask about
	if t.rng.IntN(2) == 0 {
		x.remedies = []remedy{{"the folder is put back",
			func() error { return errors.Join(os.RemoveAll(dir), os.Rename(aside, dir)) }}}
	}
	if err := t.settle(x); err != nil {
		return fmt.Errorf("%s, taken away: %w", rel, err)
	}
	return nil
}
