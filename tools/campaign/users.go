//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func users() []act {
	return []act{
		{name: "user: links planted in the state", do: plantedLinks},
		{name: "user: files in the export", do: filesInExport},
		{name: "user: pipeline moved", do: moved},
		{name: "user: blocks renamed", do: renamed},
		{name: "user: data touched", do: touched},
		{name: "user: another state, the same export", do: otherState},
	}
}

func allActs() (list []act) {
	for _, l := range [][]act{kills(), faults(), damages(), races(), networks(), users()} {
		list = append(list, l...)
	}
	return list
}

// plantedLinks puts symbolic links to a user's files where stepflow is going to write.
func plantedLinks(t *trial) error {
	s, err := t.choose(true)
	if err != nil {
		return err
	}
	had := t.kept()
	name := []string{
		"lock", "state.json", "state.json.tmp", "run.json", "run.json.tmp", "blocks", "blocks/stage.seed",
		"blocks/stage.seed/metrics.jsonl",
		"blocks/stage.final/metrics.jsonl", "blocks/stage.final/step-00000060.tmp",
		"blocks/stage.seed/step-00000004", "blocks/tokenizer.bpe.docs/tokenizer.tmp",
		"../out/model", "../out/.stepflow-export-1", "../../cache", "../../cache/tokens",
	}[t.rng.IntN(16)]
	path := filepath.Join(t.state(), name)
	target := filepath.Join(t.dir, "outside", "victim.txt")
	if t.rng.IntN(2) == 0 {
		target = filepath.Join(t.dir, "outside", "model")
	}
	rel, _ := filepath.Rel(t.dir, path)
	to, _ := filepath.Rel(t.dir, target)
	t.note("%s becomes a link to %s", rel, to)
	aside := filepath.Join(t.dir, "aside")
	was := os.Rename(path, aside) == nil
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(target, path)); err != nil {
		return err
	}
	if !strings.HasSuffix(name, ".tmp") {
		t.metrics = true
	}
	if err := t.look(s.whole); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	back := remedy{"the link is taken away", func() error {
		err := os.Remove(path)
		if was {
			err = os.Rename(aside, path)
		}
		return err
	}}
	x := expectation{had: had, slack: checkpointEvery, remedies: []remedy{back}}
	p := t.apply()
	if err := errors.Join(p.sane(), t.outside()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if p.code == 0 { // it was replaced, not followed; what it stood for may have to be made again
		if err := t.redone(p, x); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSymlink != 0 {
			if err := back.do(); err != nil {
				return err
			}
		}
		x = expectation{had: t.kept(), remedies: x.remedies}
	}
	if err := t.settle(x); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// filesInExport puts a user's files into the exported folder and has it written again.
func filesInExport(t *trial) error {
	if err := t.begin(t.lab.starts[len(t.lab.starts)-1]); err != nil {
		return err
	}
	had := t.kept()
	model := filepath.Join(t.w, "out", "model")
	name := []string{"README.md", ".git/HEAD", "model-00001-of-00002.safetensors",
		"adapter/config.json", "config.json.orig", "tokenizer.model"}[t.rng.IntN(6)]
	path := filepath.Join(model, name)
	text := []byte("written by a user\n")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644)); err != nil {
		return err
	}
	t.note("the user writes %s into the exported folder", name)
	args := []string{"-var", "shard=16 kB"}
	if t.rng.IntN(2) == 0 {
		args = append(args, "-auto-approve")
	}
	p := t.apply(args...)
	if err := errors.Join(p.sane(), t.outside()); err != nil {
		return err
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, text) {
		return fmt.Errorf("export took away or changed %s, which a user put there (exit code %d)", name, p.code)
	}
	if s := p.said(); p.code != 0 && !strings.Contains(s, strings.SplitN(name, "/", 2)[0]) {
		return fmt.Errorf("the error does not name the user's %s: %s", name, first(s))
	}
	if err := os.RemoveAll(filepath.Join(model, strings.SplitN(name, "/", 2)[0])); err != nil {
		return err
	}
	err := t.settle(expectation{had: had})
	t.detected = t.detected || p.code != 0
	return err
}

// moved carries the pipeline's folder elsewhere.
func moved(t *trial) error {
	if _, err := t.choose(true); err != nil {
		return err
	}
	had := t.kept()
	elsewhere := filepath.Join(t.dir, "elsewhere")
	if err := errors.Join(os.Mkdir(elsewhere, 0o755), os.Rename(t.w, filepath.Join(elsewhere, "w2"))); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join("elsewhere", "w2"), t.w); err != nil {
		return err
	}
	if t.rng.IntN(2) == 0 { // and reached by another path
		t.note("the folder was moved, and is reached by a link")
	} else {
		t.note("the folder was moved, and its old path is another's")
		if err := errors.Join(os.Remove(t.w), os.Rename(filepath.Join(t.dir, "elsewhere"), t.w), os.Rename(filepath.Join(t.w, "w2"), filepath.Join(t.dir, "w3")),
			os.Remove(t.w), os.Rename(filepath.Join(t.dir, "w3"), t.w)); err != nil {
			return err
		}
	}
	return t.settle(expectation{had: had})
}

// renamed gives blocks other names.
func renamed(t *trial) error {
	if _, err := t.choose(true); err != nil {
		return err
	}
	had := t.kept()
	path := filepath.Join(t.w, "main.hcl")
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	s := string(b)
	for _, r := range [][2]string{{"seed", "first"}, {"final", "last"}, {"docs", "text"}, {"adapter", "lora"}} {
		if t.rng.IntN(2) == 0 {
			continue
		}
		t.note("%s is renamed to %s", r[0], r[1])
		for _, form := range []string{
			`"%s" {`, `stage.%s`, `evaluate.perplexity.%s`, `evaluate.generation.%s`,
			`data.jsonl.%s`, `tokenizer.bpe.%s`, `peft.relora.%s`,
		} {
			s = strings.ReplaceAll(s, fmt.Sprintf(form, r[0]), fmt.Sprintf(form, r[1]))
		}
	}
	if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
		return err
	}
	t.renamed, t.metrics = true, true
	p := t.apply()
	if err := errors.Join(p.sane(), t.outside()); err != nil {
		return err
	}
	other := map[string]string{"stage.first": "stage.seed", "stage.last": "stage.final"}
	for stage, from := range p.first {
		if was, ok := other[stage]; ok {
			stage = was
		}
		if from-1 < had[stage] {
			return fmt.Errorf("%s had %d steps; after a renaming it was trained from step %d", stage, had[stage], from)
		}
	}
	if p.code != 0 {
		return fmt.Errorf("apply after a renaming ends with %d: %s", p.code, first(p.said()))
	}
	got := filepath.Join(t.w, "out", "model")
	for name, want := range t.ref.exported {
		if h, err := hashFile(filepath.Join(got, name)); err != nil || h != want {
			return fmt.Errorf("exported %s differs after a renaming: %v", name, err)
		}
	}
	if q := t.run("plan", "-detailed-exitcode", "w"); q.code != 0 {
		return fmt.Errorf("a plan after a renaming and an apply ends with %d: %s", q.code, first(q.stdout()))
	}
	return nil
}

// touched gives data another time, or writes the same bytes again.
func touched(t *trial) error {
	if _, err := t.choose(true); err != nil {
		return err
	}
	had := t.kept()
	list, err := filepath.Glob(filepath.Join(t.w, "data", "*"))
	if err != nil {
		return err
	}
	for _, path := range append(list, filepath.Join(t.w, "main.hcl")) {
		switch t.rng.IntN(3) {
		case 0:
			when := time.Now().Add(-time.Duration(t.rng.IntN(1e6)) * time.Second)
			err = os.Chtimes(path, when, when)
		case 1:
			var b []byte
			if b, err = os.ReadFile(path); err == nil {
				err = errors.Join(os.Remove(path), os.WriteFile(path, b, 0o644))
			}
		}
		if err != nil {
			return err
		}
	}
	return t.settle(expectation{had: had})
}

// otherState runs with another state folder, whose export would replace the first one's model.
func otherState(t *trial) error {
	if err := t.begin(t.lab.starts[len(t.lab.starts)-1]); err != nil {
		return err
	}
	had := t.kept()
	p := t.apply("-state-dir", "state2", "-var", "shard=16 kB")
	if err := errors.Join(p.sane(), t.outside()); err != nil {
		return err
	}
	for name, want := range t.ref.exported {
		if h, err := hashFile(filepath.Join(t.w, "out", "model", name)); err != nil || h != want {
			return fmt.Errorf("a run with another state replaced the exported %s without a question", name)
		}
	}
	if p.code == 0 {
		return errors.New("a run with another state exports to the first one's folder, and says nothing")
	}
	err := t.settle(expectation{had: had})
	t.detected = true
	return err
}
