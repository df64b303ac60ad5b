package apply

import (
	"path/filepath"

	"stepflow/dsl/addr"
	"stepflow/runtime/artifacts"
	"stepflow/runtime/blocks"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/observe"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// upload begins to send what the run makes to where the options say.
func (r *runner) upload(o Options) {
	if o.Artifacts == nil {
		return
	}
	r.dir.State.Artifacts = o.Artifacts.String() // for whoever plans elsewhere
	var warn func(error)
	if o.Access != nil {
		warn = o.Access.Warn
	}
	r.uploads = o.Artifacts.For(r.dir.State.Lineage).Upload(r.dir.Path, warn)
	emit := r.obs.Emit
	r.obs.Emit = func(e observe.Event) {
		if e.Kind == observe.Saved {
			r.sendCheckpoint(e.Addr, filepath.Base(e.Message))
		}
		if emit != nil {
			emit(e)
		}
	}
}

// sendKept has what earlier runs made sent, as far as it is on this disk and was not sent.
func (r *runner) sendKept() {
	for _, name := range r.dir.State.Names() {
		x, err := addr.Parse(name)
		b := r.dir.State.Blocks[name]
		switch {
		case err != nil:
		case b.Status == state.Done && !r.fold.Disk.Gone(b.Dir):
			r.sendResult(x, b)
		case b.Status != state.Done:
			r.sendLatest(x)
		}
	}
}

// sendResult has the result of a block sent.
func (r *runner) sendResult(a addr.Addr, b *state.Block) {
	r.uploads.Add(artifacts.Job{Address: a.String(), Block: filepath.Dir(b.Dir), Leaf: filepath.Base(b.Dir), Done: true,
		Keep: r.keeps(a, b)})
}

// sendLatest has the latest checkpoint of a block sent that an earlier run left.
func (r *runner) sendLatest(a addr.Addr) {
	steps, err := checkpoint.Steps(filepath.Join(r.dir.Path, results.Folder(a)))
	if err == nil && len(steps) > 0 {
		r.sendCheckpoint(a, filepath.Base(checkpoint.StepDir("", steps[0])))
	}
}

// sendCheckpoint has a checkpoint of a block sent.
func (r *runner) sendCheckpoint(a addr.Addr, leaf string) {
	keep := 1
	if x := r.plan.Action(a); x != nil {
		if s, ok := x.Block.(blocks.Stepped); ok {
			keep, _ = s.Keeps()
		}
	}
	r.uploads.Add(artifacts.Job{Address: a.String(), Block: results.Folder(a), Leaf: leaf, Keep: keep})
}
