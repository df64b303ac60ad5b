package plan

import (
	"time"

	"stepflow/dsl"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/executor"
	"stepflow/runtime/slurm"
)

// place notes the executor that a block names.
func (f *Fold) place(a *Action, d *dsl.Decoded) {
	ref, _, ok := d.Ref("executor")
	if !ok {
		return
	}
	if x := f.find(ref); x != nil {
		a.On, _ = x.Block.(*executor.Executor)
		a.Seen = append(a.Seen, ref)
	}
}

// Remote reports whether the block runs in a job of its own, and not in the process of apply.
func (a *Action) Remote() bool { return a.On != nil && a.On.Slurm }

// What a job asks for beside what its block is predicted to take: an eighth of a gibibyte and a quarter of the memory, since the
// collector of garbage and the files that the system keeps in memory count too; as much time again, and ten minutes.
const (
	moreMemory = 128 << 20
	moreTime   = 10 * time.Minute
)

// Request returns what the job of a block asks for: what its executor says, and for the rest what the plan predicts.
func (a *Action) Request(device string) slurm.Request {
	r := a.On.Request
	if r.Memory == 0 {
		var most int64
		for _, x := range a.Phases() {
			most = max(most, ProcessBytes+x.Host(device == "cpu"))
		}
		if most > 0 {
			r.Memory = most + most/4 + moreMemory
		}
	}
	if r.GPUsPerTask < 0 {
		r.GPUsPerTask = 0
		if device == "cuda" {
			r.GPUsPerTask = 1
		}
	}
	if x, ok := a.Block.(blocks.Forecaster); ok && r.Time == "" && a.Verb.Works() && a.Verb != Import {
		if t := x.Takes(); t != nil && t.Seconds > 0 && !t.Least {
			r.Time = slurm.Limit(2*time.Duration(t.Seconds*float64(time.Second)) + moreTime)
		}
	}
	return r
}
