package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
)

// operatorVersion changes when the meaning of an operator, a kernel or a default does, so that what older
// versions made is not taken for what this one would make.
const operatorVersion = "3"

// layoutOnly are attributes that change when and where things are saved, not what is made.
func layoutOnly(name string) bool {
	return name == "cache" || strings.HasPrefix(name, "train.checkpoint") || name == "description"
}

// fingerprint is the recipe id: the evaluated configuration, the ids of the inputs by role, the
// versions of operators. Addresses stay out of it: renaming a block does not change its recipe.
func (p *planner) fingerprint(a *Action) string {
	h := sha256.New()
	fmt.Fprintf(h, "stepflow %s %s %s %s\n", operatorVersion, a.Addr.Kind, a.Addr.Type, p.caps.Kind)
	names := make([]string, 0, len(a.hashed))
	for n := range a.hashed {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		v := a.hashed[n]
		if layoutOnly(n) {
			continue
		}
		if id, ok := p.refID(strings.Trim(v, `"`)); ok {
			v = "=" + id
		}
		fmt.Fprintf(h, "%s %q\n", n, v)
	}
	ids := make([]string, 0, len(a.Inputs))
	for _, id := range a.Inputs {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	fmt.Fprintln(h, ids)
	if a.Data != nil {
		fmt.Fprintf(h, "files %s\n", a.Data.Identity)
	}
	if a.Token != nil && a.Token.path != "" {
		fmt.Fprintf(h, "file %s\n", a.Token.hash)
	}
	if a.model != nil {
		fmt.Fprintf(h, "weights %s\n", a.model.hash)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// refID gives the id of the block an attribute's value names.
func (p *planner) refID(v string) (string, bool) {
	a, err := addr.Parse(v)
	if err != nil {
		a, err = addr.Parse(strings.TrimSuffix(v, ".validation"))
		if err != nil || a.Kind != "data" {
			return "", false
		}
	}
	id, ok := p.ids[a]
	if strings.HasSuffix(v, ".validation") {
		id += " validation"
	}
	return id, ok
}

// decide compares an action with the state and sets verb and reason.
func (p *planner) decide(a *Action) {
	a.Recipe = p.fingerprint(a)
	p.ids[a.Addr] = a.Recipe
	if a.Stage == nil && a.Evaluate == nil && a.Export == nil && (a.Token == nil || a.Token.path != "") {
		a.Verb, a.Why = Ready, ""
		return
	}
	old := p.state.Blocks[a.Addr.String()]
	switch {
	case old == nil:
		a.Verb, a.Why = Run, "it has not run yet"
	case old.Recipe != a.Recipe:
		a.Verb, a.Why = Run, p.difference(a, old)
		if a.Stage != nil && old.Step > 0 {
			a.Discards = old.Step
		}
	case old.Status == state.Done:
		if err := p.verify(filepath.Join(p.stateDir, old.Dir), old.Content); err != nil {
			a.Verb, a.Why = Run, fmt.Sprintf("what it made is gone or damaged: %v", err)
			p.resumable(a)
			break
		}
		if a.Export != nil {
			if err := a.Export.check(a.Recipe); err != nil {
				a.Verb, a.Why = Run, err.Error()
				break
			}
		}
		a.Verb, a.Why = UpToDate, ""
		p.ids[a.Addr] = old.Content
	case a.Stage != nil:
		a.Verb, a.Why = Run, "it was started and has no checkpoint yet"
		p.resumable(a)
	default:
		a.Verb, a.Why = Run, "it was started and did not end"
	}
	p.pending[a.Addr] = a.Verb == Run || a.Verb == Resume
	if a.Export != nil && a.Verb == Run {
		a.Replaces = a.Export.replaces(p.state.ID, a.Recipe)
	}
}

// resumable looks for the latest intact checkpoint of the same recipe.
func (p *planner) resumable(a *Action) {
	if a.Stage == nil {
		return
	}
	root := filepath.Join(p.stateDir, a.Dir())
	steps, err := checkpoint.Steps(root)
	if err != nil {
		a.Warnings = append(a.Warnings, err.Error())
	}
	for _, step := range steps {
		dir := checkpoint.StepDir(root, step)
		if err := p.verify(dir, ""); err != nil {
			a.Warnings = append(a.Warnings, fmt.Sprintf("the checkpoint at step %d is not used: %v", step, err))
			continue
		}
		ts, err := readTrainerState(dir)
		if err != nil || ts.Recipe != a.Recipe {
			continue
		}
		a.Verb, a.FromStep = Resume, step
		a.Why = fmt.Sprintf("it was interrupted; the checkpoint at step %d of %d is intact", step, a.Stage.Steps)
		return
	}
}

// verify hashes a folder's files, once a plan, and compares the content id unless it is empty.
func (p *planner) verify(dir, content string) error {
	key := dir + " " + content
	if err, ok := p.checked[key]; ok {
		return err
	}
	id, err := fineweb.Await(p.ctx, func() (string, error) {
		id, _, err := checkpoint.Check(dir)
		return id, err
	})
	if p.ctx.Err() != nil {
		return p.ctx.Err() // and nothing is known of the folder
	}
	if err == nil && content != "" && id != content {
		err = fmt.Errorf("%w: %s is not what the state recorded", checkpoint.ErrDamaged, dir)
	}
	p.checked[key] = err
	return err
}

// difference names what changed since the block last ran.
func (p *planner) difference(a *Action, old *state.Block) string {
	for _, in := range slices.Sorted(maps.Keys(a.Inputs)) {
		x, err := addr.Parse(in)
		if err == nil && p.pending[x] {
			return fmt.Sprintf("%s will run", in)
		}
	}
	var changes []string
	for _, n := range slices.Sorted(maps.Keys(a.Attrs)) {
		if layoutOnly(n) {
			continue
		}
		_, sensitive := a.secret[n]
		if seal, ok := old.Secrets[n]; ok && sensitive {
			if p.state.Seal(a.secret[n]) != seal {
				changes = append(changes, n+" (sensitive) changed")
			}
			continue
		}
		if was, ok := old.Attrs[n]; !ok {
			changes = append(changes, fmt.Sprintf("%s was not set, is %s", n, a.Attrs[n]))
		} else if was != a.Attrs[n] {
			changes = append(changes, fmt.Sprintf("%s was %s, is %s", n, was, a.Attrs[n]))
		}
	}
	for _, n := range slices.Sorted(maps.Keys(old.Attrs)) {
		if _, ok := a.Attrs[n]; !ok && !layoutOnly(n) {
			changes = append(changes, fmt.Sprintf("%s was %s, is not set", n, old.Attrs[n]))
		}
	}
	for _, in := range slices.Sorted(maps.Keys(a.Inputs)) {
		if was, ok := old.Inputs[in]; ok && was != a.Inputs[in] {
			changes = append(changes, fmt.Sprintf("%s changed", in))
		} else if !ok {
			changes = append(changes, fmt.Sprintf("%s is new", in))
		}
	}
	if len(changes) == 0 {
		return "the operators of this stepflow differ from those that made it, or the device does"
	}
	if len(changes) > 3 {
		changes = append(changes[:3], fmt.Sprintf("and %d more", len(changes)-3))
	}
	return strings.Join(changes, "; ")
}
