package plan

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/dsl/addr"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/runtime/words"
)

// Loss is trained work that running a block, or destroying one that was removed, throws away.
type Loss struct {
	Block   string  `json:"address"`
	Folder  string  `json:"folder"` // relative to the state's
	Steps   int     `json:"steps"`
	Seconds float64 `json:"seconds"` // that the training took, estimated if some steps have none on record; 0 if no step has
	Why     string  `json:"reason"`
	May     bool    `json:"may,omitempty"` // whether it is lost is known only after other blocks have run

	Destroyed bool `json:"destroyed,omitempty"` // the configuration no longer has the block, and says so
}

// Losses lists what applying the plan throws away.
func (p *Plan) Losses() (list []Loss) {
	for _, a := range p.Actions {
		list = append(list, a.Losses...)
	}
	for _, o := range p.Orphans {
		list = append(list, o.losses()...)
	}
	return list
}

// losses lists the trained work that a block replaces when it runs: in its folder, and set aside before. Damaged work
// of the block's own recipe counts too.
func (f *Fold) losses(a *Action) ([]Loss, error) {
	var folders []string
	for _, at := range slices.Compact([]addr.Addr{f.lies(a.Addr), a.Addr}) {
		folders = append(folders, results.Folder(at))
		aside := filepath.Join(results.Replaced, at.Dir())
		entries, err := os.ReadDir(filepath.Join(f.Disk.Path, aside))
		if err != nil && !results.IsDamage(checkpoint.Damage(err)) {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() && !f.consented(a, e.Name()) {
				folders = append(folders, filepath.Join(aside, e.Name()))
			}
		}
	}
	var list []Loss
	for _, dir := range folders {
		steps, seconds, err := results.Trained(f.Disk.Path, dir)
		if err != nil {
			return nil, err
		}
		on, err := f.onTheWay(a, dir)
		if err != nil {
			return nil, err
		}
		if on {
			left := max(steps-a.FromStep, 0)
			steps, seconds = left, seconds*float64(left)/float64(max(steps, 1))
		}
		if steps > 0 {
			list = append(list, Loss{Block: a.Addr.String(), Folder: dir, Steps: steps, Seconds: seconds, Why: a.Why,
				May: a.Verb == Deferred})
		}
	}
	return list, nil
}

// onTheWay reports whether what was trained in a folder is, as far as that goes, what a block goes on from.
func (f *Fold) onTheWay(a *Action, dir string) (bool, error) {
	if a.Verb != Extend {
		return false, nil
	}
	finds, err := f.Disk.Finds(f.lies(a.Addr), a.Course.ID)
	return slices.ContainsFunc(finds, func(b *results.Found) bool {
		return b.Block == dir && a.extendable().Shares(min(b.Step, a.FromStep), b.Course.Pace)
	}), err
}

// consented reports whether the user has already agreed to lose a folder that was set aside: its successor is the
// block's recipe, or the result that the state records.
func (f *Fold) consented(a *Action, name string) bool {
	successor, _, _ := strings.Cut(name, "-")
	old := f.world.State.Blocks[a.Addr.String()]
	return a.Recipe != "" && successor == results.Short(a.Recipe) || old != nil && old.Status == state.Done && successor == results.Short(old.Recipe)
}

// Uncovered returns a loss that none of the approved ones covers; nil if they cover all.
func Uncovered(losses, approved []Loss) *Loss {
	for i, l := range losses {
		covered := false
		for _, x := range approved {
			covered = covered || x.Folder == l.Folder && x.Steps >= l.Steps
		}
		if !covered {
			return &losses[i]
		}
	}
	return nil
}

// Takes writes how long the training took.
func (l Loss) Takes() string {
	if l.Seconds == 0 {
		return "an unknown time"
	}
	return words.Duration(l.Seconds) + " of training"
}
