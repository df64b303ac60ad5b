package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks/all"
	"stepflow/runtime/state"
)

// operatorVersion changes when an operator, a kernel or a default changes the bits of results, so that results of older
// versions are made again.
const operatorVersion = "5"

// hashes reports whether an attribute is part of a block's recipe.
func hashes(kind, attr string) bool {
	_, idle := all.Kinds[kind].Idle[attr]
	return !idle
}

// resolved reports whether a recipe holds what an attribute resolves to, and not the attribute.
func resolved(kind, attr string) bool {
	return slices.ContainsFunc(all.Kinds[kind].Resolved, func(x string) bool {
		return attr == x || strings.HasPrefix(attr, x+".") || strings.HasPrefix(attr, x+"[")
	})
}

// noDecay is the attribute for which an empty list is not the default.
const noDecay = "no_decay"

// recipe identifies what a block would make: a hash of the evaluated configuration, the ids of the inputs by role,
// the identity of files and the versions of operators. Addresses stay out of it, so a block that is renamed has the
// same recipe.
func (f *Fold) recipe(a *Action) string { return f.hash(a, a.Block.Identity) }

// hash is the recipe of a block for an identity that the block may not have.
func (f *Fold) hash(a *Action, identity func(io.Writer)) string {
	h := sha256.New()
	if im := a.imported(); im != nil { // how it would train does not matter, nor by which operators
		fmt.Fprintf(h, "import %s %s\n", a.Addr.Kind, im.Files)
		fmt.Fprintln(h, slices.Sorted(maps.Values(a.Inputs)))
		identity(h)
		return hex.EncodeToString(h.Sum(nil))
	}
	fmt.Fprintf(h, "stepflow %s %s %s %s\n", operatorVersion, a.Addr.Kind, a.Addr.Type, f.world.Caps.Kind)
	for _, n := range slices.Sorted(maps.Keys(a.Hashed)) {
		v := a.Hashed[n]
		switch {
		case !hashes(a.Addr.Kind, n):
			continue
		case resolved(a.Addr.Kind, n):
			continue // Identity writes what it resolves to
		case v == "[]" && n != noDecay:
			continue // the same as no list
		}
		if id, ok := f.refID(a, v); ok {
			v = "=" + id
		}
		fmt.Fprintf(h, "%s %q\n", n, v)
	}
	fmt.Fprintln(h, slices.Sorted(maps.Values(a.Inputs)))
	identity(h)
	return hex.EncodeToString(h.Sum(nil))
}

// hasPart reports whether blocks of a kind have a part of this name, with an address of its own.
func hasPart(kind, name string) bool {
	k := dsl.KindOf(kind)
	return k != nil && slices.ContainsFunc(k.Exports, func(e dsl.Export) bool { return e.Name == name && e.Type.IsObjectType() })
}

// namedIn returns the block that an attribute's value names, as the language writes it, and the part of the block, such
// as validation, if any; ok is false if it does not name a block.
func namedIn(shown string) (a addr.Addr, part string, ok bool) {
	v, err := strconv.Unquote(shown)
	if err != nil {
		return a, "", false
	}
	v = strings.NewReplacer("$${", "${", "%%{", "%{").Replace(v)
	a, part, err = addr.ParsePart(v)
	return a, part, err == nil && (part == "" || hasPart(a.Kind, part))
}

// refID returns the id of the block that an attribute's value names, as the language writes it.
func (f *Fold) refID(a *Action, shown string) (string, bool) {
	named, part, ok := namedIn(shown)
	if !ok || f.planned(named) == nil {
		return "", false
	}
	id := a.World.ID(named)
	if part != "" {
		id += " " + part
	}
	return id, true
}

// difference returns what changed since the block last ran.
func (f *Fold) difference(a *Action, old *state.Block) string {
	for _, in := range slices.Sorted(maps.Keys(a.Inputs)) {
		if x, err := addr.Parse(in); err == nil && f.done[x] != nil && f.done[x].pending {
			return fmt.Sprintf("%s will run", in)
		}
	}
	var changes []string
	note := func(format string, args ...any) { changes = append(changes, fmt.Sprintf(format, args...)) }
	kind := a.Addr.Kind
	for _, n := range slices.Sorted(maps.Keys(a.Attrs)) {
		before, ok := old.Attrs[n]
		seal, sealed := old.Secrets[n]
		_, sensitive := a.Secret[n]
		switch {
		case !hashes(kind, n):
		case sealed && sensitive:
			if f.world.State.Seal(a.Secret[n]) != seal {
				note("%s (sensitive) changed", n)
			}
		case !ok:
			note("%s was not set, is %s", n, a.Attrs[n])
		case before != a.Attrs[n] && !f.alike(a, dsl.Read(before), dsl.Read(a.Attrs[n])):
			note("%s was %s, is %s", n, before, a.Attrs[n])
		}
	}
	for _, n := range slices.Sorted(maps.Keys(old.Attrs)) {
		if _, ok := a.Attrs[n]; !ok && hashes(kind, n) {
			note("%s was %s, is not set", n, old.Attrs[n])
		}
	}
	for _, in := range slices.Sorted(maps.Keys(a.Inputs)) {
		if before, ok := f.input(a, old, in); !ok {
			note("%s is new", in)
		} else if before != a.Inputs[in] {
			note("%s changed", in)
		}
	}
	if len(changes) == 0 {
		return "this stepflow has other operators, or the device or its memory is another"
	}
	if len(changes) > 3 {
		changes = append(changes[:3], fmt.Sprintf("and %d more", len(changes)-3))
	}
	return strings.Join(changes, "; ")
}

// input returns what an input was when the block last ran, also if it has moved to another module with the block.
func (f *Fold) input(a *Action, old *state.Block, name string) (id string, ok bool) {
	if id, ok = old.Inputs[name]; ok {
		return id, true
	}
	for before, id := range old.Inputs {
		if f.alike(a, cty.StringVal(before), cty.StringVal(name)) {
			return id, true
		}
	}
	return "", false
}

// alike reports whether an address that the block named before, and one that it names now, differ only in the module
// that the block has moved to.
func (f *Fold) alike(a *Action, before, now cty.Value) bool {
	was := f.lies(a.Addr).Module
	if was == a.Addr.Module || before.Type() != cty.String || now.Type() != cty.String {
		return false
	}
	x, part, err := addr.ParsePart(before.AsString())
	y, other, bad := addr.ParsePart(now.AsString())
	if err != nil || bad != nil || part != other || x.Module != was || y.Module != a.Addr.Module {
		return false
	}
	x.Module = y.Module
	return x == y
}
