package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	ended  chan ended
	errs   []error // with any, nothing more is begun
}

// walked is a block of a walk.
type walked struct {
	block     *dsl.Block
	actions   []int // indices of the actions of its instances
	instances []dsl.Each
	exports   []cty.Value
	begun     []bool
	over      []bool // has ended, or has nothing to run
	left      int    // instances that have not ended
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
		ended: make(chan ended)}
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
		if err := w.begin(ctx); err != nil {
			w.errs = append(w.errs, err)
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
func (w *walk) begin(ctx context.Context) error {
	for _, b := range w.blocks {
		if len(w.errs) > 0 || w.now >= w.most {
			return nil
		}
		if w.done[b.block.Addr] || !w.ready(b) {
			continue
		}
		if err := w.instancesOf(ctx, b); err != nil {
			return err
		}
		w.settle(b)
	}
	return nil
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
		b.open, b.instances, b.exports, b.left = true, instances, make([]cty.Value, n), n
		b.begun, b.over = make([]bool, n), make([]bool, n)
	}
	at := 0
	for i, each := range b.instances {
		left := w.plan.LeavesOut(b.block.Instance(each))
		index := at
		if !left {
			at++
		}
		switch {
		case b.begun[i]:
		case b.block.Chained && slices.Contains(b.begun[:i], false):
			return nil // what this one may name is not in scope
		case left:
			if err := w.lookAt(ctx, b, i); err != nil {
				return err
			}
		case w.waits(b, i, w.plan.Actions[b.actions[index]]):
		case w.now >= w.most, w.used[w.plan.Actions[b.actions[index]].Alone()]:
			return nil
		default:
			if err := w.instance(ctx, b, i, b.actions[index]); err != nil {
				return err
			}
		}
	}
	return nil
}

// waits reports whether an instance of a chain needs an earlier one that has not ended.
func (w *walk) waits(b *walked, i int, a *plan.Action) bool {
	if !b.block.Chained {
		return false
	}
	for j, earlier := range b.instances[:i] {
		_, input := a.Inputs[b.block.Instance(earlier).String()]
		if !b.over[j] && (input || a.Verb == plan.Deferred) {
			return true
		}
	}
	return false
}

// lookAt plans an instance that is left out, for what it exports.
func (w *walk) lookAt(ctx context.Context, b *walked, i int) error {
	var a *plan.Action
	var diags hcl.Diagnostics
	w.fold.Scope.Earlier(b.block, b.exports[:i], func() {
		a, b.exports[i], diags = w.fold.Plan(ctx, b.block, b.instances[i])
	})
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	if diags.HasErrors() {
		return diags
	}
	w.fold.Put(a)
	b.begun[i] = true
	b.pass(i)
	return nil
}

// pass notes that an instance has ended, or has nothing to run.
func (b *walked) pass(i int) {
	b.over[i] = true
	b.left--
}

// instance begins an instance of a block, unless another of its recipe runs, whose result it will take.
func (w *walk) instance(ctx context.Context, b *walked, i, at int) error {
	var a *plan.Action
	var err error
	w.fold.Scope.Earlier(b.block, b.exports[:i], func() { a, b.exports[i], err = w.prepare(ctx, b.block, at) })
	if err != nil {
		return err
	}
	switch {
	case a == nil:
		b.begun[i] = true
		b.pass(i)
		return nil
	case w.making[a.Recipe] && a.Shareable():
		return nil
	}
	b.begun[i], w.making[a.Recipe], w.runner.ended[a.Addr] = true, true, true
	w.now++
	if alone := a.Alone(); alone != "" {
		w.used[alone] = true
	}
	go func() {
		made, err := w.task(ctx, a)
		w.ended <- ended{b, i, a, made, err}
	}()
	return nil
}

// end notes that an instance has run.
func (w *walk) end(e ended) {
	w.now--
	delete(w.making, e.action.Recipe)
	delete(w.used, e.action.Alone())
	if e.err != nil {
		w.errs = append(w.errs, fmt.Errorf("%s: %w", e.action.Addr, e.err))
		return
	}
	e.of.exports[e.i] = withMade(e.of.exports[e.i], e.made)
	if err := w.accept(e.action, e.of.exports[e.i]); err != nil {
		w.errs = append(w.errs, err)
		return
	}
	e.of.pass(e.i)
	w.settle(e.of)
}

// settle puts what a block exports into scope, once all its instances have ended.
func (w *walk) settle(b *walked) {
	if b.open && b.left == 0 && !w.done[b.block.Addr] {
		w.fold.Scope.SetInstances(b.block, b.instances, b.exports)
		w.done[b.block.Addr] = true
	}
}
