package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/foreign"
	"stepflow/gpu"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/inference"
	"stepflow/runtime/program"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/runtime/words"
)

// target is a model to try: a folder, or what a stage of the pipeline has made so far.
type target struct {
	folder string
	what   string // which it is, for the user
}

// findTarget finds the model that an argument names. It takes no lock: a stage may be running.
func (a *app) findTarget(arg string) (t target, err error) {
	if st, err := os.Stat(arg); err == nil && st.IsDir() {
		if !isFile(filepath.Join(arg, checkpoint.ConfigFile)) {
			if pipeline, _ := filepath.Glob(filepath.Join(arg, "*.hcl")); len(pipeline) > 0 {
				return t, fmt.Errorf("%s is the folder of a pipeline: name a stage of it, as in -dir %s stage.NAME",
					foreign.Shown(arg), foreign.Shown(arg))
			}
		}
		return target{arg, foreign.Shown(arg)}, nil // opening it says what is missing
	}
	where, err := addr.Parse(arg)
	switch {
	case err == nil && where.Kind != "stage":
		return t, fmt.Errorf("%s is not a stage: name the stage that makes the model, or a folder", where)
	case err == nil:
	case strings.ContainsRune(arg, filepath.Separator):
		return t, fmt.Errorf("there is no folder %s", foreign.Shown(arg))
	default: // its name may do
		if where, err = addr.Parse("stage." + arg); err != nil {
			return t, fmt.Errorf("%s is neither a folder nor the address of a stage", foreign.Shown(arg))
		}
	}
	d, err := a.state()
	if err != nil {
		return t, err
	}
	b := d.State.Blocks[where.String()]
	if b == nil {
		return t, a.noStage(d.State, arg, where)
	}
	return stageTarget(d, where, b)
}

// noStage is the error for a stage that is not in the state.
func (a *app) noStage(s *state.State, arg string, where addr.Addr) error {
	if err := oneInstance(where.String(), s.Names()); err != nil {
		return err
	}
	cfg, _ := dsl.Load(a.dir, a.inputs())
	var names []string
	if cfg != nil {
		for _, b := range cfg.Blocks {
			if b.Addr.Kind != "stage" {
				continue
			}
			if b.Addr == where.Block() {
				if list := covered(s.Names(), b.Addr.String()); where.Key != "" && len(list) > 0 {
					return fmt.Errorf("%s has not run. Those that have are %s", where, words.Few(list))
				}
				return fmt.Errorf("%s has not run: apply trains it", where)
			}
			names = append(names, b.Addr.String())
		}
	}
	for _, n := range s.Names() {
		if strings.HasPrefix(n, "stage.") || strings.Contains(n, ".stage.") {
			names = append(names, n)
		}
	}
	hint := dsl.Suggest(arg, names)
	if hint == "" {
		hint = dsl.Suggest(where.String(), names)
	}
	return fmt.Errorf("%s is neither a folder nor a stage.%s", foreign.Shown(arg), hint)
}

// oneInstance is the error for an address of a repeated block, or of a module, where the address of one block is wanted. It names the
// blocks that are meant. For other addresses it is nil.
func oneInstance(given string, names []string) error {
	list := covered(names, given)
	switch what, err := addr.ParseAny(given); {
	case err != nil || len(list) == 0:
		return nil
	case what.IsModule():
		return fmt.Errorf("%s is a module: name a block of it, such as %s", given, words.Few(list))
	}
	return fmt.Errorf("%s is repeated: name one of its instances, %s", given, words.Few(list))
}

// stageTarget finds the result of a stage, or its latest checkpoint.
func stageTarget(d *state.Dir, where addr.Addr, b *state.Block) (t target, err error) {
	if b.Dir != "" {
		folder := filepath.Join(d.Path, b.Dir)
		if _, err := os.Stat(folder); err == nil {
			return target{folder, fmt.Sprintf("%s (its result)", where)}, nil
		}
	}
	root := filepath.Join(d.Path, results.Folder(where))
	steps, err := checkpoint.Steps(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	if len(steps) > 0 {
		return target{checkpoint.StepDir(root, steps[0]), fmt.Sprintf("%s (its checkpoint of step %d of %d)", where,
			steps[0], b.Steps)}, nil
	}
	if b.Dir != "" {
		return t, fmt.Errorf("the result of %s is not in %s: apply fetches it, or trains the stage again", where,
			filepath.Join(d.Path, b.Dir))
	}
	return t, fmt.Errorf("%s has no result yet, and no checkpoint: it is %s", where, b.Status)
}

// openTarget opens the model that an argument names, to compute in a precision: "auto" is the precision of its weights.
func (a *app) openTarget(arg, precision string) (m *inference.Model, what string, err error) {
	as, known := program.Precisions[precision]
	if !known && precision != "auto" {
		return nil, "", fmt.Errorf("-precision %q: it is fp32, bf16 or auto", precision)
	}
	if !known {
		as = gpu.InvalidDType
	}
	for range 2 { // a running stage may remove a checkpoint after it has written a later one
		var t target
		if t, err = a.findTarget(arg); err != nil {
			return nil, "", err
		}
		if m, err = inference.Open(t.folder, as); err == nil {
			return m, t.what, nil
		}
	}
	return nil, "", err
}
