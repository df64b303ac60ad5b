package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/plan"
)

// walk runs the blocks of a plan, several at once where that is asked for: each after those that it refers to, and
// otherwise in the order of the plan. All of it happens with the lock of the runner held, but for the runs themselves.
type walk struct {
	*runner
	blocks []*walked
	done   map[addr.Addr]bool       // blocks of which all instances have ended, or that are left out
	used   map[blocks.Resource]bool // by a block that runs
	making map[string]bool          // recipes of blocks that run
	now    int                      // blocks that run
	afar   int                      // of these, those that run in jobs, which take nothing of this machine
	ended  chan ended
	over   map[addr.Addr]bool // instances that have ended, however that was
	failed map[addr.Addr]bool // instances that failed, and those that need one that did
	errs   []error
	stop   bool // nothing more is begun
}

// walked is a block of a walk.
type walked struct {
	block     *dsl.Block
	actions   []int // indices of the actions of its instances
	instances []dsl.Each
	exports   []cty.Value
	begun     []bool
	left      int // instances that have not ended
	open      bool
}

// ended is an instance of a block that has run.
type ended struct {
	of     *walked
	i      int
	action *plan.Action
	made   map[string]cty.Value
	err    error
}

// walk runs all blocks.
func (r *runner) walk(ctx context.Context) error {
	w := &walk{runner: r, done: map[addr.Addr]bool{}, used: map[blocks.Resource]bool{}, making: map[string]bool{},
		ended: make(chan ended), over: map[addr.Addr]bool{}, failed: map[addr.Addr]bool{}}
	byBlock := map[addr.Addr][]int{} // indices of actions
	for i, a := range r.plan.Actions {
		byBlock[a.Addr.Block()] = append(byBlock[a.Addr.Block()], i)
	}
	for _, b := range r.plan.Config.Blocks {
		if b.Kind.Name != "output" && !r.plan.LeavesOut(b.Addr) {
			w.blocks = append(w.blocks, &walked{block: b, actions: byBlock[b.Addr]})
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		for n := -1; n < len(w.over); { // what ends at once may be what others wait for
			n = len(w.over)
			w.begin(ctx)
		}
		if w.now == 0 {
			return errors.Join(w.errs...)
		}
		r.mu.Unlock()
		e := <-w.ended
		r.mu.Lock()
		w.end(e)
	}
}

// begin begins all that can run now.
func (w *walk) begin(ctx context.Context) {
	for _, b := range w.blocks {
		if w.stop {
			return
		}
		if w.done[b.block.Addr] || !w.ready(b) {
			continue
		}
		if err := w.instancesOf(ctx, b); err != nil {
			w.errs, w.stop = append(w.errs, err), true
			return
		}
		w.settle(b)
	}
}

// ready reports whether all blocks that a block refers to have ended.
func (w *walk) ready(b *walked) bool {
	for _, r := range b.block.Refs {
		if !w.done[r] {
			return false
		}
	}
	return true
}

// instancesOf begins the instances of a block that can run now.
func (w *walk) instancesOf(ctx context.Context, b *walked) error {
	if !b.open {
		instances, diags := w.fold.Scope.Instances(b.block)
		if diags.HasErrors() {
			return diags
		}
		n := len(instances)
		b.open, b.instances, b.exports, b.begun, b.left = true, instances, make([]cty.Value, n), make([]bool, n), n
	}
	at := 0
	for i, each := range b.instances {
		index := at
		if b.block.Chained && slices.Contains(b.begun[:i], false) {
			return nil // what this one may name is not in scope
		}
		if left := w.plan.LeavesOut(b.block.Instance(each)); left && !b.begun[i] {
			if err := w.lookAt(ctx, b, i); err != nil {
				return err
			}
		} else if !left {
			at++
		}
		if b.begun[i] {
			continue
		}
		a := w.plan.Actions[b.actions[index]]
		switch {
		case w.failed[a.Addr], w.skip[a.Addr]:
			w.close(b, i, cty.DynamicVal)
		case w.stop:
			return nil
		case !w.remote(a) && (w.now-w.afar >= w.most || w.used[a.Alone()]):
		case w.waits(b, i, a):
		case a.After != addr.Addr{} && !w.over[a.After]: // that one first: this one takes what it makes
		default:
			w.instance(ctx, b, i, b.actions[index])
		}
	}
	return nil
}

// remote reports whether an instance runs in a job of its own.
func (w *walk) remote(a *plan.Action) bool { return a.Remote() && w.runner.jobs != nil }

// waits reports whether an instance of a chain needs an earlier one that has not ended.
func (w *walk) waits(b *walked, i int, a *plan.Action) bool {
	return b.block.Chained && slices.ContainsFunc(b.instances[:i], func(earlier dsl.Each) bool {
		at := b.block.Instance(earlier)
		_, input := a.Inputs[at.String()]
		return !w.over[at] && (input || a.Verb == plan.Deferred)
	})
}

// close notes that an instance has ended, and what it exports.
func (w *walk) close(b *walked, i int, exports cty.Value) {
	b.exports[i], b.begun[i] = exports, true
	b.left--
	w.over[b.block.Instance(b.instances[i])] = true
}

// fail notes that an instance has failed. What needs it is not run; all else is, unless the error would meet it too.
func (w *walk) fail(b *walked, i int, err error) {
	w.errs = append(w.errs, err)
	w.stop = w.stop || w.parted || general(err)
	w.close(b, i, cty.DynamicVal)
	w.failed[b.block.Instance(b.instances[i])] = true
	w.plan.Needing(w.failed)
}

// general reports whether an error would meet other blocks as well: the run was interrupted, or the disk takes nothing
// more.
func general(err error) bool {
	return slices.ContainsFunc([]error{ErrInterrupted, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO},
		func(target error) bool { return errors.Is(err, target) })
}

// lookAt plans an instance that is left out, for what it exports.
func (w *walk) lookAt(ctx context.Context, b *walked, i int) error {
	var a *plan.Action
	var known cty.Value
	var diags hcl.Diagnostics
	w.fold.Scope.Earlier(b.block, b.exports[:i], func() {
		a, known, diags = w.fold.Plan(ctx, b.block, b.instances[i])
	})
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	if diags.HasErrors() {
		return diags
	}
	w.fold.Put(a)
	w.close(b, i, known)
	return nil
}

// instance begins an instance of a block, unless another of its recipe runs, whose result it will take.
func (w *walk) instance(ctx context.Context, b *walked, i, at int) {
	var a *plan.Action
	var known cty.Value
	var err error
	w.fold.Scope.Earlier(b.block, b.exports[:i], func() { a, known, err = w.prepare(ctx, b.block, at) })
	switch {
	case err != nil:
		w.fail(b, i, err)
		return
	case a == nil:
		w.close(b, i, known)
		return
	case w.making[a.Recipe] && a.Shareable():
		return
	}
	b.exports[i] = known
	b.begun[i], w.making[a.Recipe], w.runner.begun[a.Addr] = true, true, true
	w.now++
	run := w.task
	if w.remote(a) {
		run = w.jobTask
		w.afar++
	} else if alone := a.Alone(); alone != "" {
		w.used[alone] = true
	}
	go func() {
		made, err := run(ctx, a)
		w.ended <- ended{b, i, a, made, err}
	}()
}

// end notes that an instance has run.
func (w *walk) end(e ended) {
	w.now--
	delete(w.making, e.action.Recipe)
	if w.remote(e.action) {
		w.afar--
	} else {
		delete(w.used, e.action.Alone())
	}
	err, exports := e.err, e.of.exports[e.i]
	if err != nil {
		err = fmt.Errorf("%s: %w", e.action.Addr, err)
	} else {
		exports = withMade(exports, e.made)
		err = w.accept(e.action, exports)
	}
	if err != nil {
		w.fail(e.of, e.i, err)
	} else {
		w.close(e.of, e.i, exports)
	}
	w.settle(e.of)
}

// settle puts what a block exports into scope, once all its instances have ended.
func (w *walk) settle(b *walked) {
	if b.open && b.left == 0 && !w.done[b.block.Addr] {
		w.fold.Scope.SetInstances(b.block, b.instances, b.exports)
		w.done[b.block.Addr] = true
	}
}
