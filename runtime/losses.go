package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"stepflow/runtime/checkpoint"
	"stepflow/runtime/metrics"
	"stepflow/runtime/state"
)

// Loss is trained work that running a block throws away.
type Loss struct {
	Block   string  `json:"address"`
	Folder  string  `json:"folder"` // relative to the state's
	Steps   int     `json:"steps"`
	Seconds float64 `json:"seconds"` // that training it took, estimated where some are not known; 0 where none are
	Why     string  `json:"reason"`
	May     bool    `json:"may,omitempty"` // it is known only when other blocks have run
}

// Losses lists what applying the plan throws away.
func (p *Plan) Losses() (list []Loss) {
	for _, a := range p.Actions {
		list = append(list, a.Losses...)
	}
	return list
}

// losses lists the trained work that lies where a block is about to put other: in its folder, and set aside before. What
// belongs to the block's own recipe and is damaged counts too.
func (p *planner) losses(a *Action) ([]Loss, error) {
	folders := []string{a.Dir()}
	aside := filepath.Join(replacedDir, a.Addr.Dir())
	entries, err := os.ReadDir(filepath.Join(p.stateDir, aside))
	if err != nil && !isDamage(checkpoint.Damage(err)) {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() && !p.consented(a, e.Name()) {
			folders = append(folders, filepath.Join(aside, e.Name()))
		}
	}
	var list []Loss
	for _, dir := range folders {
		l, err := trainedIn(p.stateDir, dir)
		if err != nil {
			return nil, err
		}
		if l.Steps > 0 {
			l.Block, l.Why, l.May = a.Addr.String(), a.Why, a.Verb == Deferred
			list = append(list, l)
		}
	}
	return list, nil
}

// consented reports whether a folder that was set aside waits only for what replaces it: the question was answered when it
// was set aside.
func (p *planner) consented(a *Action, name string) bool {
	successor, _, _ := strings.Cut(name, "-")
	old := p.state.Blocks[a.Addr.String()]
	return a.Recipe != "" && successor == short(a.Recipe) || old != nil && old.Status == state.Done && successor == short(old.Recipe)
}

// short is the part of a recipe that stands in the name of a folder.
func short(recipe string) string { return recipe[:min(16, len(recipe))] }

// trainedIn says how much training a block's folder holds, whole or damaged.
func trainedIn(stateDir, dir string) (Loss, error) {
	root := filepath.Join(stateDir, dir)
	l := Loss{Folder: dir}
	steps, err := checkpoint.Steps(root)
	if err != nil {
		return l, err
	}
	for _, s := range steps {
		entries, err := os.ReadDir(checkpoint.StepDir(root, s))
		if err != nil {
			return l, err
		}
		if len(entries) > 0 {
			l.Steps = s
			break
		}
	}
	if l.Steps == 0 {
		return l, nil
	}
	list, err := metrics.Read(filepath.Join(root, metrics.FileName))
	if err != nil {
		return l, nil // the time is for information only
	}
	n := 0
	for _, s := range list {
		if s.Step <= l.Steps {
			l.Seconds += s.Seconds
			n++
		}
	}
	if n > 0 { // lines that are missing took as long as the others
		l.Seconds *= float64(l.Steps) / float64(n)
	}
	return l, nil
}

// uncovered returns a loss that none of the approved ones covers.
func uncovered(losses, approved []Loss) *Loss {
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

// Takes says in words how long the training took.
func (l Loss) Takes() string {
	switch h := l.Seconds / 3600; {
	case l.Seconds == 0:
		return "hours unknown"
	case h < 0.1:
		return "less than 0.1 hours"
	default:
		return fmt.Sprintf("about %.1f hours", h)
	}
}
