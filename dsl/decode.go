package dsl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// Decoded is an evaluated body. Every attribute of the schema has a value of its type: as given, the default, or null.
// It may be unknown.
type Decoded struct {
	Label     string
	Range     hcl.Range // the block's header
	Sensitive map[string]bool
	Unknown   []string // attributes whose value is known only after other blocks have run
	values    map[string]cty.Value
	defaults  map[string]bool // attributes whose value is their default, given or not
	ranges    map[string]hcl.Range
	blocks    map[string]*Decoded   // nested blocks, by name; repeatable ones as name[0], name[1]
	lists     map[string][]*Decoded // repeatable nested blocks, by name
	ctx       *hcl.EvalContext
	exprs     map[string]hcl.Expression
	scope     *Scope  // where to look up the blocks that it names; nil if it is not a block of a pipeline
	in        *module // whose names its expressions use; nil if it is not a block of a pipeline
}

// Decode evaluates a block, or one instance of it.
func (s *Scope) Decode(b *Block, each *Each) (*Decoded, hcl.Diagnostics) {
	return s.DecodeKept(b, each, nil)
}

// decoder evaluates a block with the blocks in it.
type decoder struct {
	block   *Block // nil if it is not a block of a pipeline
	scope   *Scope // nil if block is
	ctx     *hcl.EvalContext
	secrets *Secrets
	meter   *meter
	kept    map[string]cty.Value // see DecodeKept
	diags   hcl.Diagnostics
}

// body evaluates the body of a block of type typ. prefix starts the dotted names of its attributes.
func (x *decoder) body(b *hclsyntax.Body, attrs []Attr, nested []Nested, typ, prefix string,
	header hcl.Range) *Decoded {
	d := &Decoded{Range: header, values: map[string]cty.Value{}, defaults: map[string]bool{},
		ranges: map[string]hcl.Range{}, blocks: map[string]*Decoded{}, lists: map[string][]*Decoded{},
		Sensitive: map[string]bool{}, ctx: x.ctx,
		exprs: map[string]hcl.Expression{}, scope: x.scope}
	if x.block != nil {
		d.in = x.block.in
	}
	for i := range attrs {
		a := attrs[i].of(typ)
		if !only(a.Only, typ) {
			continue
		}
		want := a.Type
		if a.Ref != nil {
			want = cty.String
		}
		src := b.Attributes[a.Name]
		kept, keep := x.kept[prefix+a.Name]
		switch {
		case keep && kept != cty.NilVal:
			x.keep(d, &a, kept, want)
		case keep, src == nil:
			d.omitted(&a, want)
		default:
			x.given(d, &a, src.Expr, want)
		}
	}
	for i := range nested {
		n := &nested[i]
		if only(n.Only, typ) {
			for _, sub := range x.inside(b, n, prefix+n.Name, header) {
				d.nest(n, sub, x.within(sub, n, prefix))
			}
		}
	}
	return d
}

// within evaluates a nested block.
func (x *decoder) within(sub made, n *Nested, prefix string) *Decoded {
	outer := x.ctx
	x.ctx = sub.ctx
	defer func() { x.ctx = outer }()
	return x.body(sub.Body, n.Attrs, n.Blocks, "", prefix+n.Name+".", sub.DefRange())
}

// omitted notes an attribute that is not given.
func (d *Decoded) omitted(a *Attr, want cty.Type) {
	d.values[a.Name], d.ranges[a.Name], d.defaults[a.Name] = a.Default, d.Range, true
	if a.Default == cty.NilVal {
		d.values[a.Name] = cty.NullVal(want)
	}
}

// given evaluates an attribute and checks its value.
func (x *decoder) given(d *Decoded, a *Attr, e hclsyntax.Expression, want cty.Type) {
	d.ranges[a.Name], d.exprs[a.Name] = e.Range(), e
	v, diags := e.Value(x.ctx)
	x.diags = append(x.diags, diags...)
	if diags.HasErrors() {
		x.secrets.addParts(e, x.ctx)
		d.values[a.Name] = cty.UnknownVal(want)
		return
	}
	x.secrets.Add(v)
	v, marks := v.UnmarkDeep()
	if len(marks) > 0 {
		d.Sensitive[a.Name] = true
	}
	x.set(d, a, v, want)
	if v := d.values[a.Name]; a.Ref != nil && v.IsKnown() && !v.IsNull() && !x.refersTo(v.AsString()) {
		x.diags = append(x.diags, d.Error(a.Name, "Not a reference", fmt.Sprintf("%s names a block by its address, as a text. "+
			"Write the reference itself, %[1]s = %s, so that the block is known to come first.", a.Name, v.AsString())))
		d.values[a.Name] = cty.UnknownVal(want)
	}
}

// refersTo reports whether the block refers to what has an address, or to a block that does and passes the reference on. A value
// could hold any other address.
func (x *decoder) refersTo(address string) bool {
	at, _, err := addr.ParsePart(address)
	if x.block == nil || err != nil {
		return x.block == nil
	}
	return at.Block() == x.block.Addr || slices.Contains(x.block.Refs, at.Block()) ||
		slices.ContainsFunc(x.block.Refs, func(r addr.Addr) bool {
			b := x.scope.config.byAddr[r]
			return b != nil && slices.Contains(b.Refs, at.Block())
		})
}

// set checks the value of an attribute.
func (x *decoder) set(d *Decoded, a *Attr, v cty.Value, want cty.Type) {
	v, problem := a.check(v, want, d.Sensitive[a.Name])
	if problem != "" {
		x.diags = append(x.diags, d.Error(a.Name, "Invalid value", problem))
		v = cty.UnknownVal(want)
	} else if !v.IsWhollyKnown() {
		d.Unknown = append(d.Unknown, a.Name)
	}
	d.values[a.Name] = v
	d.defaults[a.Name] = a.Default != cty.NilVal && v.RawEquals(a.Default)
}

// nest adds a block inside d.
func (d *Decoded) nest(n *Nested, b made, inside *Decoded) {
	if b.unknown {
		d.Unknown, inside.Unknown = append(d.Unknown, n.Name), nil // as a whole
	}
	if len(b.Labels) == 1 {
		inside.Label = b.Labels[0]
	}
	name := n.Name
	if n.Repeat {
		name = fmt.Sprintf("%s[%d]", n.Name, len(d.lists[n.Name]))
		d.lists[n.Name] = append(d.lists[n.Name], inside)
	}
	for _, u := range inside.Unknown {
		d.Unknown = append(d.Unknown, name+"."+u)
	}
	d.blocks[name] = inside
}

// Error returns an error at an attribute, or at the block's header if it was not given.
func (d *Decoded) Error(attr, summary, detail string) *hcl.Diagnostic {
	r, ok := d.ranges[attr]
	if !ok {
		r = d.Range
	}
	diag := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: r.Ptr()}
	if e := d.exprs[attr]; e != nil {
		diag.Expression, diag.EvalContext = e, d.ctx
	}
	return diag
}

// Hides reports whether an export reveals a sensitive attribute. It is false for a nil Decoded.
func (d *Decoded) Hides(e *Export) bool {
	if d == nil {
		return false
	}
	for _, name := range append(slices.Clip(e.From), e.Name) {
		at, attr := d, name
		if i := strings.IndexByte(name, '.'); i >= 0 {
			at, attr = d.blocks[name[:i]], name[i+1:]
		}
		if at != nil && at.Sensitive[attr] {
			return true
		}
	}
	return false
}

// At returns where an attribute is given, or else the block's header.
func (d *Decoded) At(attr string) hcl.Range {
	if r, ok := d.ranges[attr]; ok {
		return r
	}
	return d.Range
}

// Has reports whether an attribute has a value, given or default.
func (d *Decoded) Has(attr string) bool {
	v, ok := d.values[attr]
	return ok && !v.IsNull()
}

// Given reports whether the block sets an attribute, and not to null.
func (d *Decoded) Given(attr string) bool { return d.exprs[attr] != nil && d.Has(attr) }

// Known reports whether an attribute has a known value.
func (d *Decoded) Known(attr string) bool { return d.Has(attr) && d.values[attr].IsWhollyKnown() }

// Value returns the value of an attribute.
func (d *Decoded) Value(attr string) cty.Value { return d.values[attr] }

// With returns the block as if an attribute had another value.
func (d *Decoded) With(attr string, v cty.Value) *Decoded {
	other := *d
	other.values = maps.Clone(d.values)
	other.values[attr] = v
	return &other
}

// Str returns a string attribute; "" if it is null or unknown.
func (d *Decoded) Str(attr string) string {
	if !d.Known(attr) {
		return ""
	}
	return d.values[attr].AsString()
}

// Float returns a number; 0 if it is null or unknown.
func (d *Decoded) Float(attr string) float64 {
	if !d.Known(attr) {
		return 0
	}
	f, _ := d.values[attr].AsBigFloat().Float64()
	return f
}

// Int returns a whole number; 0 if it is null or unknown.
func (d *Decoded) Int(attr string) int { return int(d.Float(attr)) }

// Bool returns true or false; false if it is null or unknown.
func (d *Decoded) Bool(attr string) bool { return d.Known(attr) && d.values[attr].True() }

// Strs returns a list of strings; nil if it is null or unknown.
func (d *Decoded) Strs(attr string) (list []string) {
	if !d.Known(attr) {
		return nil
	}
	for it := d.values[attr].ElementIterator(); it.Next(); {
		if _, v := it.Element(); !v.IsNull() && v.Type() == cty.String {
			list = append(list, v.AsString())
		}
	}
	return list
}

// Floats returns a list of numbers; nil if it is null or unknown.
func (d *Decoded) Floats(attr string) (list []float64) {
	if !d.Known(attr) {
		return nil
	}
	for it := d.values[attr].ElementIterator(); it.Next(); {
		if _, v := it.Element(); !v.IsNull() {
			f, _ := v.AsBigFloat().Float64()
			list = append(list, f)
		}
	}
	return list
}

// Ref returns the block that an attribute names, and the part of it, such as validation, if any; ok is false if it
// names none.
func (d *Decoded) Ref(attr string) (a addr.Addr, member string, ok bool) {
	a, member, err := addr.ParsePart(d.Str(attr))
	return a, member, err == nil
}

// List returns the repeatable nested blocks of a name, in order.
func (d *Decoded) List(name string) []*Decoded { return d.lists[name] }

// Block returns a nested block; nil if it was not given.
func (d *Decoded) Block(name string) *Decoded { return d.blocks[name] }

// Flat returns all values but null by dotted name, as Show writes them: unknown ones read "(known after apply)",
// sensitive ones "(sensitive)".
func (d *Decoded) Flat() map[string]string {
	out := map[string]string{}
	d.flat("", out, true)
	return out
}

// Values returns all values but null by dotted name, sensitive ones marked.
func (d *Decoded) Values() map[string]cty.Value {
	out := map[string]cty.Value{}
	d.valuesInto("", out)
	return out
}

func (d *Decoded) valuesInto(prefix string, out map[string]cty.Value) {
	for n, v := range d.values {
		switch {
		case v.IsNull():
		case d.Sensitive[n]:
			out[prefix+n] = v.Mark(Sensitive)
		default:
			out[prefix+n] = v
		}
	}
	for n, b := range d.blocks {
		if b.Label != "" {
			out[prefix+n] = cty.StringVal(b.Label)
		}
		b.valuesInto(prefix+n+".", out)
	}
}

// Fingerprint is Flat for hashing: it has sensitive values in plain text, and no defaults, so that a new attribute of
// the language changes no block that does not use it.
func (d *Decoded) Fingerprint() map[string]string {
	out := map[string]string{}
	d.flat("", out, false)
	return out
}

func (d *Decoded) flat(prefix string, out map[string]string, hide bool) {
	for n, v := range d.values {
		switch {
		case v.IsNull(), !hide && d.defaults[n]:
		case hide && d.Sensitive[n]:
			out[prefix+n] = Hidden
		default:
			out[prefix+n] = Show(v)
		}
	}
	for n, b := range d.blocks {
		if b.Label != "" {
			out[prefix+n] = b.Label
		}
		b.flat(prefix+n+".", out, hide)
	}
}
