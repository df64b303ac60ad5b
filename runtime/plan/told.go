package plan

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// Told is what rank 0 of a run knows of a block. The other ranks plan the block for themselves, and take from it what the
// disk and the state decide: so they see the results that rank 0 sees, even where a file shows itself to them later.
type Told struct {
	Recipe   string                     `json:"recipe"`
	Attrs    map[string]string          `json:"attributes,omitempty"` // for saying what differs
	Verb     Verb                       `json:"verb"`
	FromStep int                        `json:"from_step,omitempty"`
	Recorded bool                       `json:"recorded,omitempty"` // planned as it was recorded; see Action.Ignored
	ID       string                     `json:"id"`
	Found    *results.Found             `json:"found,omitempty"`
	Sealed   map[string]json.RawMessage `json:"sealed,omitempty"` // values that this run made and nothing keeps
}

// Tell returns what rank 0 knows of a block that begins to run, and of those that it is made from. sealed are the values of
// this run that nothing keeps.
func (f *Fold) Tell(a *Action, sealed map[addr.Addr]map[string]cty.Value) (map[string]*Told, error) {
	needed := f.above(a.Addr.Block())
	told := map[string]*Told{}
	f.mu.RLock()
	defer f.mu.RUnlock()
	for at, x := range f.done {
		if !needed[at.Block()] || at.Block() == a.Addr.Block() && at != a.Addr && !a.block.Chained {
			continue
		}
		t := &Told{Recipe: x.Recipe, Attrs: x.Attrs, Verb: x.Verb, FromStep: x.FromStep, Recorded: len(x.Ignored) > 0, ID: x.id}
		if x.Found != nil {
			found := *x.Found
			found.Away = nil // what is needed of it was fetched
			t.Found = &found
		}
		for name, v := range sealed[at] {
			v, _ := v.UnmarkDeep()
			text, err := ctyjson.Marshal(v, cty.DynamicPseudoType)
			if err != nil {
				return nil, fmt.Errorf("%s: the value %s: %w", at, name, err)
			}
			if t.Sealed == nil {
				t.Sealed = map[string]json.RawMessage{}
			}
			t.Sealed[name] = text
		}
		told[at.String()] = t
	}
	return told, nil
}

// above returns a block and all those that it is made from or reads.
func (f *Fold) above(a addr.Addr) map[addr.Addr]bool {
	needed := map[addr.Addr]bool{a: true}
	for _, b := range slices.Backward(f.cfg.Blocks) { // each after those that it refers to
		if !needed[b.Addr] {
			continue
		}
		for _, r := range slices.Concat(b.Refs, b.Reads) {
			needed[r] = true
		}
	}
	return needed
}

// Follow plans a block for a rank that follows, with what rank 0 told of it and of those that it is made from. The plan
// returned has the actions that were planned in place of p's.
func (p *Plan) Follow(ctx context.Context, st *state.Dir, at addr.Addr, told map[string]*Told) (*Plan, *Action, error) {
	q := p.Copy()
	q.State, q.StateDir = st.State, st.Path
	f := p.Again(st.State)
	if f.Disk.Path != st.Path {
		f.Disk = results.NewDisk(st.Path)
	}
	f.world.StateDir, f.told = st.Path, told
	q.fold = f
	needed := f.above(at.Block())
	for _, b := range p.Config.Blocks {
		if !needed[b.Addr] || b.Kind.Name == "output" {
			continue
		}
		a, err := q.followBlock(ctx, b, at)
		if err != nil || a != nil {
			return q, a, p.Config.Secrets.Error(err)
		}
	}
	return q, nil, fmt.Errorf("rank 0 runs %s, which is not in this rank's plan", at)
}

// followBlock plans the instances of a block, and returns the action of the instance at, if it is among them.
func (p *Plan) followBlock(ctx context.Context, b *dsl.Block, at addr.Addr) (*Action, error) {
	f := p.fold
	instances, diags := f.Scope.Instances(b)
	if diags.HasErrors() {
		return nil, diags
	}
	exports := make([]cty.Value, len(instances))
	for i := range exports {
		exports[i] = cty.DynamicVal
	}
	for i, each := range instances {
		mine := b.Instance(each)
		if b.Addr == at.Block() && mine != at && !b.Chained {
			continue
		}
		if f.told[mine.String()] == nil { // it failed, and what needs it does not run
			if mine == at {
				return nil, fmt.Errorf("rank 0 told nothing of %s", mine)
			}
			continue
		}
		var a *Action
		var diags hcl.Diagnostics
		f.Scope.Earlier(b, exports[:i], func() { a, exports[i], diags = f.Plan(ctx, b, each) })
		if diags.HasErrors() {
			return nil, diags
		}
		f.Put(a)
		if at, ok := p.index[a.Addr]; ok {
			p.Actions[at] = a
		}
		if a.Addr == at {
			return a, nil
		}
	}
	f.Scope.SetInstances(b, instances, exports)
	return nil, nil
}

// take decides what is to be done with a block as rank 0 did. It returns the values that rank 0 has of it beside those
// that are known before it runs.
func (f *Fold) take(a *Action, t *Told) (map[string]cty.Value, error) {
	a.Recipe = f.recipe(a)
	if a.Recipe != t.Recipe {
		return nil, fmt.Errorf("this rank plans another %s than rank 0: %s", a.Addr, differs(a.Attrs, t.Attrs))
	}
	a.Verb, a.FromStep, a.Found, a.id = t.Verb, t.FromStep, t.Found, t.ID
	a.pending, a.ownStep = a.Verb.Works() || a.Verb == Same, a.FromStep
	a.Course = f.course(a)
	values := map[string]cty.Value{}
	if t.Found != nil && t.Found.Done {
		maps.Copy(values, blocks.FromState(a.block.Kind, t.Found.Values))
		a.pending = false
	}
	for name, text := range t.Sealed {
		v, err := ctyjson.Unmarshal(text, cty.DynamicPseudoType)
		if err != nil {
			return nil, fmt.Errorf("the value %s of %s: %w", name, a.Addr, err)
		}
		values[name] = v.Mark(dsl.Sensitive)
	}
	return values, nil
}

// differs says in which attributes a block differs from rank 0's.
func differs(mine, theirs map[string]string) string {
	var list []string
	for _, n := range slices.Sorted(maps.Keys(theirs)) {
		if v, ok := mine[n]; !ok {
			list = append(list, fmt.Sprintf("%s is not set here, and %s there", n, theirs[n]))
		} else if v != theirs[n] {
			list = append(list, fmt.Sprintf("%s is %s here, and %s there", n, v, theirs[n]))
		}
	}
	for _, n := range slices.Sorted(maps.Keys(mine)) {
		if _, ok := theirs[n]; !ok {
			list = append(list, fmt.Sprintf("%s is %s here, and not set there", n, mine[n]))
		}
	}
	if len(list) == 0 {
		return "a sensitive value, the files that it reads, the kind of device or the stepflow differ"
	}
	return strings.Join(list, "; ")
}
