//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// reference is what a run makes that nothing happens to.
type reference struct {
	contents map[string]string // content ids by address, exports left out: they name the folder
	exported map[string]string // sha256 of the files
	outputs  string
	steps    map[string]string // metrics by stage: what does not depend on time
	names    map[string]bool   // every file in the pipeline's folder
}

// readReference reads the trial's folder.
func (t *trial) readReference() (*reference, error) {
	r := &reference{contents: map[string]string{}, exported: map[string]string{}, steps: map[string]string{},
		names: map[string]bool{}}
	b, err := os.ReadFile(filepath.Join(t.state(), "state.json"))
	if err != nil {
		return nil, err
	}
	var s struct {
		Blocks map[string]struct {
			Content string `json:"content"`
		} `json:"blocks"`
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	for a, b := range s.Blocks {
		if !strings.HasPrefix(a, "export.") {
			r.contents[a] = b.Content
		}
	}
	model := filepath.Join(t.w, "out", "model")
	entries, err := os.ReadDir(model)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "stepflow_export") { // what it says of the recipe may differ
			continue
		}
		if e.Name() == "README.md" {
			continue // the model card tells the addresses of data and the names of blocks, which acts change
		}
		if r.exported[e.Name()], err = hashFile(filepath.Join(model, e.Name())); err != nil {
			return nil, err
		}
	}
	p := t.run("output", "-json", "-dir", "w")
	if p.code != 0 {
		return nil, fmt.Errorf("stepflow output ended with %d: %s", p.code, p.stderr())
	}
	r.outputs = p.stdout()
	for _, stage := range stages {
		if t.metrics {
			break
		}
		if r.steps[stage], err = steps(filepath.Join(t.state(), "blocks", stage, "metrics.jsonl")); err != nil {
			return nil, err
		}
	}
	err = filepath.WalkDir(t.w, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(t.w, path)
		if !strings.Contains(rel, "tfevents") { // named by the time
			r.names[rel] = true
		}
		return err
	})
	return r, err
}

// steps is the part of metrics.jsonl that is the same in every run.
func steps(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		var m struct {
			Step   int     `json:"step"`
			Tokens int64   `json:"tokens"`
			Loss   float64 `json:"loss"`
			Norm   float64 `json:"grad_norm"`

			Values map[string]float64 `json:"values"` // of an evaluation between steps
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		if m.Step > 0 {
			fmt.Fprintln(&out, m.Step, m.Tokens, m.Loss, m.Norm, m.Values)
		}
	}
	return out.String(), nil
}

func hashFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:]), err
}

// kept gives, for each stage, the latest step of which a whole checkpoint lies on disk.
func (t *trial) kept() map[string]int {
	m := map[string]int{}
	for _, stage := range stages {
		folders, _ := filepath.Glob(filepath.Join(t.state(), "blocks", stage, "step-*"))
		for _, dir := range folders {
			var step int
			if _, err := fmt.Sscanf(filepath.Base(dir), "step-%d", &step); err == nil && intact(dir) {
				m[stage] = max(m[stage], step)
			}
		}
	}
	return m
}

// intact reports whether a folder holds what its manifest says.
func intact(dir string) bool {
	if strings.HasSuffix(dir, ".tmp") {
		return false
	}
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	var m struct {
		Files map[string]struct {
			SHA256 string `json:"sha256"`
		} `json:"files"`
	}
	if err != nil || json.Unmarshal(b, &m) != nil || len(m.Files) == 0 {
		return false
	}
	for name, f := range m.Files {
		if h, err := hashFile(filepath.Join(dir, name)); err != nil || h != f.SHA256 {
			return false
		}
	}
	return true
}

// remedy is what a user does after an error: it puts right what the error names.
type remedy struct {
	name string
	do   func() error
}

// expectation says what an act leaves to be gone on from.
type expectation struct {
	had      map[string]int // step of each stage that is safe on disk
	slack    int            // steps that may be trained again unasked: back to the checkpoint before a damaged one
	names    []string       // the error must contain one of these; empty for any error
	remedies []remedy
}

// settle goes on as a user would, until the pipeline has ended, and compares it with the reference.
func (t *trial) settle(x expectation) error {
	if err := t.outside(); err != nil {
		return err
	}
	before := t.kept()
	p := t.apply()
	if err := p.sane(); err != nil {
		return err
	}
	if p.code == 0 {
		return errors.Join(t.redone(p, x), t.same())
	}
	t.detected = true
	if err := t.refusal(p, x, before); err != nil {
		return err
	}
	if strings.Contains(p.said(), "state rebuild") && len(x.remedies) == 0 {
		x.remedies = []remedy{t.rebuild()}
	}
	for _, r := range x.remedies {
		t.note("remedy: %s", r.name)
		if err := r.do(); err != nil {
			return fmt.Errorf("remedy: %s: %w", r.name, err)
		}
		if p = t.apply(); p.code == 0 {
			return errors.Join(p.sane(), t.redone(p, x), t.same())
		}
	}
	if p = t.apply("-auto-approve"); p.code != 0 {
		return errors.Join(p.sane(), fmt.Errorf("no way back: apply -auto-approve ends with %d: %s",
			p.code, first(p.said())))
	}
	return errors.Join(p.sane(), t.same())
}

// rebuild is what the error about a damaged state offers: to make it again from what is on disk, or to take its
// predecessor.
func (t *trial) rebuild() remedy {
	file := filepath.Join(t.state(), "state.json")
	if _, err := os.Stat(file + ".backup"); err == nil && t.rng.IntN(2) == 0 {
		return remedy{"the state's predecessor",
			func() error { return errors.Join(os.RemoveAll(file), os.Rename(file+".backup", file)) }}
	}
	return remedy{"state rebuild", func() error {
		if p := t.run("state", "rebuild", "-dir", "w"); p.code != 0 {
			return fmt.Errorf("it ends with %d: %s", p.code, first(p.said()))
		}
		return os.RemoveAll(file + ".before-rebuild") // the old state, which is kept for the user
	}}
}

// refusal looks at an apply that did not go through: it says why, and took nothing away.
func (t *trial) refusal(p *proc, x expectation, before map[string]int) error {
	said := p.said()
	if strings.TrimSpace(said) == "" {
		return fmt.Errorf("apply ends with %d and says nothing", p.code)
	}
	if len(x.names) > 0 && !slices.ContainsFunc(x.names, func(n string) bool { return strings.Contains(said, n) }) {
		return fmt.Errorf("the error names none of %v: %s", x.names, first(p.said()))
	}
	after := t.kept()
	for stage, step := range before {
		if after[stage] < step {
			return fmt.Errorf("apply failed and took the checkpoint at step %d of %s with it: %s",
				step, stage, first(p.said()))
		}
	}
	return t.outside()
}

// redone is an error where steps were trained again that were safe.
func (t *trial) redone(p *proc, x expectation) error {
	for stage, step := range x.had {
		if from, ok := p.first[stage]; ok && from-1 < step-x.slack {
			return fmt.Errorf("%s had %d steps on disk and was trained from step %d without a question",
				stage, step, from)
		}
	}
	return nil
}

// outside looks after the user's own files.
func (t *trial) outside() error {
	fresh := t.lab.starts[0].dir
	for _, name := range []string{"w/notes.txt", "w/out/other.txt", "outside/victim.txt", "outside/model/weights.gz"} {
		want, err := os.ReadFile(filepath.Join(fresh, name))
		if err != nil {
			return err
		}
		path := filepath.Join(t.dir, name)
		if rest, ok := strings.CutPrefix(name, "w/"); ok {
			path = filepath.Join(t.w, rest)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
			return fmt.Errorf("the user's file %s is gone or changed: %v", name, err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(t.dir, "outside"))
	if err != nil || len(entries) != 2 {
		return fmt.Errorf("something was written beside the user's files in outside/: %v %v", entries, err)
	}
	return nil
}

// same compares a pipeline that has ended with the reference.
func (t *trial) same() error {
	if err := t.outside(); err != nil {
		return err
	}
	got, err := t.readReference()
	if err != nil {
		return fmt.Errorf("after the last apply: %w", err)
	}
	var errs []error
	if !t.renamed && t.ref != t.lab.remote {
		errs = append(errs, differ("content id of", t.ref.contents, got.contents))
	}
	errs = append(errs, differ("exported file", t.ref.exported, got.exported))
	if got.outputs != t.ref.outputs {
		errs = append(errs, fmt.Errorf("outputs are %s, were %s", got.outputs, t.ref.outputs))
	}
	if !t.metrics {
		errs = append(errs, differ("metrics of", t.ref.steps, got.steps))
	}
	kept, want := checkpoints(got.names), checkpoints(t.ref.names)
	for _, name := range slices.Sorted(maps.Keys(got.names)) {
		// An interrupted stage has checkpoints of its own: as many stay as of one that was not.
		block, _, is := checkpointOf(name)
		if !t.ref.names[name] && !t.renamed && !(is && len(kept[block]) <= len(want[block])) {
			errs = append(errs, fmt.Errorf("%s was left behind", name))
		}
	}
	if left, _ := os.ReadDir(t.temp()); len(left) > 0 {
		errs = append(errs, fmt.Errorf("%s was left in the temporary folder", left[0].Name()))
	}
	if p := t.run(append(append([]string{"plan", "-detailed-exitcode"}, t.vars...), "w")...); p.code != 0 {
		errs = append(errs, fmt.Errorf("a plan after the last apply ends with %d: %s", p.code, first(p.said())))
	}
	if p := t.run("state", "check", "-dir", "w"); p.code != 0 {
		errs = append(errs, fmt.Errorf("state check after the last apply ends with %d: %s",
			p.code, first(p.said()+p.stdout())))
	}
	return errors.Join(errs...)
}

// checkpointOf gives the block's folder of a file of a checkpoint, and the checkpoint.
func checkpointOf(name string) (block, step string, is bool) {
	block, rest, is := strings.Cut(name, "/step-")
	step, _, _ = strings.Cut(rest, "/")
	return block, step, is
}

// checkpoints lists the checkpoints by block.
func checkpoints(names map[string]bool) map[string]map[string]bool {
	all := map[string]map[string]bool{}
	for name := range names {
		if block, step, is := checkpointOf(name); is {
			if all[block] == nil {
				all[block] = map[string]bool{}
			}
			all[block][step] = true
		}
	}
	return all
}

func differ(what string, want, got map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[k]; !ok {
			return fmt.Errorf("%s %s is missing", what, k)
		} else if g != want[k] {
			return fmt.Errorf("%s %s differs from the reference's", what, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			return fmt.Errorf("%s %s is not in the reference", what, k)
		}
	}
	return nil
}

// brief is a loss on one line.
func brief(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	if n := len(lines); n > 3 {
		lines = append(lines[:3], fmt.Sprintf("and %d more", n-3))
	}
	return strings.Join(lines, "; ")
}

// first is the first line of what a command said, and the one after it.
func first(s string) string {
	lines := strings.SplitN(strings.TrimSpace(s), "\n", 3)
	return strings.Join(lines[:min(2, len(lines))], " | ")
}
