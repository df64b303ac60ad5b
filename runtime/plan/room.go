package plan

import (
	"fmt"
	"slices"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/durable"
	"stepflow/runtime/results"
)

// Disk is what a run writes to a file system.
type Disk struct {
	Folder string `json:"folder"`     // the first of those that are written to
	Most   int64  `json:"most_bytes"` // beside what is there now, at the time when that is most
	Stays  int64  `json:"stays_bytes"`
	// Free is what is free there now, where that is too little; else 0. Missing is how much more room is needed, and Estimated that it may do with less.
	Free      int64 `json:"free_bytes,omitempty"`
	Missing   int64 `json:"missing_bytes,omitempty"`
	Estimated bool  `json:"estimated,omitempty"`

	known            bool  // Free is
	state            bool  // the state is there
	exact, exactMost int64 // Stays and Most, without estimates
}

// Disks returns what the run writes, a file system after the other. Blocks run in the plan's order.
func (p *Plan) Disks() []*Disk {
	var list []*Disk
	byID := map[uint64]*Disk{}
	for _, a := range p.Actions {
		for _, r := range p.rooms(a) {
			v := durable.VolumeOf(r.Folder)
			d := byID[v.ID]
			if d == nil {
				d = p.disk(r.Folder, v)
				byID[v.ID], list = d, append(list, d)
			}
			d.add(r)
			d.state = d.state || durable.Within(r.Folder, p.StateDir)
		}
	}
	for _, d := range list {
		d.settle()
	}
	return list
}

// RoomFor returns an error if a block that is about to run needs more room than a disk has now.
func (p *Plan) RoomFor(a *Action) error {
	for _, r := range p.rooms(a) {
		d := p.disk(r.Folder, durable.VolumeOf(r.Folder))
		d.add(r)
		d.settle()
		if err := tooLittle(d.Problem()); err != nil {
			return err
		}
	}
	return nil
}

// disk is a file system that nothing is written to yet, but into a folder.
func (p *Plan) disk(folder string, v durable.Volume) *Disk {
	d := &Disk{Folder: p.fold.cfg.Secrets.Redact(folder)}
	if d.state = durable.Within(folder, p.StateDir); d.state {
		d.Folder = p.StateDir
	}
	if p.machine != nil {
		d.Free, d.known = p.machine.Free(v.There)
	}
	return d
}

// add adds what a block writes to what those before it left.
func (d *Disk) add(r blocks.Room) {
	d.Most = max(d.Most, d.Stays+r.Most)
	d.Stays += r.Stays - r.Frees
	if !r.Estimate {
		d.exactMost = max(d.exactMost, d.exact+r.Most-r.Unsure)
		d.exact += r.Stays - r.Unsure - r.Frees
	}
}

// settle compares what is written with what is free.
func (d *Disk) settle() {
	switch {
	case d.known && d.exactMost > d.Free:
		d.Missing = d.exactMost - d.Free
	case d.known && d.Most > d.Free:
		d.Missing, d.Estimated = d.Most-d.Free, true
	default:
		d.Free = 0
	}
}

// Problem says that the room does not suffice, and what to do; "" if it does. sure says that the run needs it, rather than that
// it may.
func (d *Disk) Problem() (text string, sure bool) {
	if d.Missing == 0 {
		return "", false
	}
	most, takes := d.exactMost, "takes"
	if d.Estimated {
		most, takes = d.Most, "may take"
	}
	do := "Make room there, or choose another disk: with path for an export, with STEPFLOW_CACHE_DIR for caches"
	if d.state {
		do = "Make room (state gc shows what no block needs), lower keep in checkpoint, or choose another disk with -state-dir, and " +
			"with path for an export"
	}
	return fmt.Sprintf("the run %s %s at a time on the disk of %s, which has %s free: %s more are needed. %s", takes,
		dsl.FormatBytes(most), d.Folder, dsl.FormatBytes(d.Free), dsl.FormatBytes(d.Missing), do), !d.Estimated
}

// Rooms returns what a block writes if it runs as the plan says, beside what is there already. Folders are as they may be
// shown, without sensitive values.
func (p *Plan) Rooms(a *Action) []blocks.Room {
	list := slices.Clone(p.rooms(a))
	for i := range list {
		list[i].Folder = p.fold.cfg.Secrets.Redact(list[i].Folder)
	}
	return list
}

func (p *Plan) rooms(a *Action) (list []blocks.Room) {
	if a.Skip {
		return nil
	}
	s, ok := a.Block.(blocks.Storing)
	if ok && (a.Verb.Works() || a.Verb == Ready && p.read(a)) {
		list = s.Rooms(a.FromStep)
	}
	own, fetched := p.fold.world.Folder(a.Addr), p.fetched(a)
	if i := slices.IndexFunc(list, func(r blocks.Room) bool { return r.Folder == own }); i >= 0 && a.Verb.Works() {
		p.credit(a, &list[i], fetched)
	}
	if fetched > 0 {
		list = slices.Insert(list, 0, blocks.Room{Folder: own, Most: fetched, Stays: fetched})
	}
	return list
}

// credit takes what is there already from what a block writes into its own folder. Checkpoints that it goes on from stay in
// their place, until others are there beside them; what its result replaces is removed when that is recorded; and what a killed
// process left unfinished is removed before anything is written.
func (p *Plan) credit(a *Action, r *blocks.Room, fetched int64) {
	lies := p.fold.lies(a.Addr)
	held, err := results.Holdings(p.StateDir, []addr.Addr{lies})
	if err != nil { // a run says so
		return
	}
	stay, unfinished := int64(0), int64(0)
	if a.Verb == Resume {
		stay = fetched
	}
	for _, h := range held[lies] {
		unfinished += h.Unfinished
		if whole := h.Bytes - h.Unfinished; a.Verb == Resume && h.Folder == results.Folder(lies) {
			stay += whole
		} else {
			r.Frees += whole
		}
	}
	r.Most, r.Stays = max(r.Once, r.Most-stay), r.Stays-stay
	if r.All > 0 {
		r.Most = min(r.Most, r.All)
		if a.Verb == Resume { // checkpoints that keep would leave may have been removed already
			r.Stays = min(r.Stays, r.All)
		}
	}
	r.Most, r.Stays = max(0, r.Most-unfinished), r.Stays-unfinished
}

// read reports whether a block that runs is made from a block.
func (p *Plan) read(a *Action) bool {
	name := a.Addr.String()
	for _, b := range p.Actions {
		if _, ok := b.Inputs[name]; ok && b.Verb.Works() && !b.Skip {
			return true
		}
	}
	return false
}

// fetched is what is fetched of a block's result, or of the checkpoint that it goes on from, because a run needs it here.
func (p *Plan) fetched(a *Action) int64 {
	found := a.Found
	if a.Base != nil {
		found = a.Base
	}
	if found == nil || found.Away == nil || !a.Verb.Works() && !p.read(a) {
		return 0
	}
	return found.Away.Bytes
}
