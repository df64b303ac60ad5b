package dsl

import (
	"fmt"
	"math"
	"math/big"
	"sort"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"stepflow/dsl/addr"
)

// Decoded is an evaluated body: every attribute of the schema has a value of its type, which is
// the default or null where none was given, and may be unknown.
type Decoded struct {
	Label     string
	Range     hcl.Range // of the block's header
	Sensitive map[string]bool
	Unknown   []string // attributes whose value is known only after other blocks have run
	values    map[string]cty.Value
	defaults  map[string]bool // attributes that have their default, given or not
	ranges    map[string]hcl.Range
	blocks    map[string]*Decoded
	lists     map[string][]*Decoded // of those that may stand several times
	ctx       *hcl.EvalContext
	exprs     map[string]hcl.Expression
}

// tooEarly marks the diagnostics of a count or for_each that other blocks tell.
const tooEarly = "too early"

// Instances evaluates count or for_each: one instance without them. Keys must be known in a plan.
func (s *Scope) Instances(b *Block) ([]Each, hcl.Diagnostics) {
	list, diags := s.instances(b)
	return list, s.config.Secrets.Diagnostics(diags)
}

func (s *Scope) instances(b *Block) ([]Each, hcl.Diagnostics) {
	fail := func(e hcl.Expression, summary, detail string) ([]Each, hcl.Diagnostics) {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: e.Range().Ptr()}}
	}
	early := func(e hcl.Expression, summary, detail string) ([]Each, hcl.Diagnostics) {
		list, diags := fail(e, summary, detail)
		diags[0].Extra = tooEarly
		return list, diags
	}
	ctx := s.context(b.uses, nil)
	switch {
	case b.Count != nil:
		v, diags := b.Count.Value(ctx)
		if diags.HasErrors() {
			return nil, diags
		}
		v, marks := v.Unmark()
		if !v.IsKnown() {
			return early(b.Count, "Unknown count", "The number of instances must be known before anything runs; this value is known only after other blocks have run.")
		}
		n, err := convert.Convert(v, cty.Number)
		if err != nil || n.IsNull() {
			return fail(b.Count, "Wrong type", "count takes a whole number.")
		}
		k, acc := n.AsBigFloat().Int64()
		if acc != big.Exact || k < 0 || k > 10000 {
			return fail(b.Count, "Invalid count", fmt.Sprintf("count takes a whole number from 0 to 10000, not %s.", Show(n.WithMarks(marks))))
		}
		list := make([]Each, k)
		for i := range list {
			list[i] = Each{Key: addr.IntKey(i), Index: i}
		}
		return list, diags
	case b.ForEach != nil:
		v, diags := b.ForEach.Value(ctx)
		if diags.HasErrors() {
			return nil, diags
		}
		if v.IsMarked() {
			return fail(b.ForEach, "Sensitive for_each", "Keys stand in addresses, so they cannot come from a sensitive value.")
		}
		if !v.IsKnown() {
			return early(b.ForEach, "Unknown for_each", "The keys must be known before anything runs; this value is known only after other blocks have run.")
		}
		t := v.Type()
		if v.IsNull() || !(t.IsMapType() || t.IsObjectType() || t.IsSetType() && (t.ElementType() == cty.String || v.LengthInt() == 0)) {
			return fail(b.ForEach, "Wrong type", "for_each takes a map, an object, or a set of strings such as toset([\"a\", \"b\"]).")
		}
		var list []Each
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			if t.IsSetType() {
				k = e
			}
			if !k.IsKnown() || k.IsNull() {
				return early(b.ForEach, "Unknown for_each", "The keys must be known before anything runs.")
			}
			list = append(list, Each{Key: addr.StringKey(k.AsString()), Name: k, Value: e})
		}
		return list, diags
	}
	return []Each{{}}, nil
}

// Decode evaluates a block, or one instance of it.
func (s *Scope) Decode(b *Block, each *Each) (*Decoded, hcl.Diagnostics) {
	var e *Each
	if each != nil && each.Key != "" {
		e = each
	}
	d, diags := decodeBody(b.body, b.Kind.Attrs, b.Kind.Blocks, b.Addr.Type, b.DeclRange, s.context(b.uses, e), s.config.Secrets)
	return d, s.config.Secrets.Diagnostics(diags)
}

func decodeBody(body *hclsyntax.Body, attrs []Attr, nested []Nested, typ string, header hcl.Range, ctx *hcl.EvalContext, secrets *Secrets) (*Decoded, hcl.Diagnostics) {
	d := &Decoded{Range: header, values: map[string]cty.Value{}, defaults: map[string]bool{}, ranges: map[string]hcl.Range{}, blocks: map[string]*Decoded{}, lists: map[string][]*Decoded{},
		Sensitive: map[string]bool{}, ctx: ctx, exprs: map[string]hcl.Expression{}}
	var diags hcl.Diagnostics
	for _, a := range attrs {
		if !only(a.Only, typ) {
			continue
		}
		want := a.Type
		if a.Ref != nil {
			want = cty.String
		}
		src := body.Attributes[a.Name]
		if src == nil {
			d.values[a.Name] = a.Default
			if a.Default == cty.NilVal {
				d.values[a.Name] = cty.NullVal(want)
			}
			d.ranges[a.Name] = header
			d.defaults[a.Name] = true
			continue
		}
		d.ranges[a.Name], d.exprs[a.Name] = src.Expr.Range(), src.Expr
		v, dd := src.Expr.Value(ctx)
		diags = append(diags, dd...)
		if dd.HasErrors() {
			secrets.addParts(src.Expr, ctx)
			d.values[a.Name] = cty.UnknownVal(want)
			continue
		}
		secrets.Add(v)
		v, marks := v.UnmarkDeep()
		if len(marks) > 0 {
			d.Sensitive[a.Name] = true
		}
		v, problem := a.check(v, want, len(marks) > 0)
		if problem != "" {
			diags = append(diags, d.Error(a.Name, "Invalid value", problem))
			v = cty.UnknownVal(want)
		} else if !v.IsWhollyKnown() {
			d.Unknown = append(d.Unknown, a.Name)
		}
		d.values[a.Name] = v
		d.defaults[a.Name] = a.Default != cty.NilVal && v.RawEquals(a.Default)
	}
	for i := range nested {
		n := &nested[i]
		if !only(n.Only, typ) {
			continue
		}
		for _, sub := range body.Blocks {
			if sub.Type != n.Name || d.blocks[n.Name] != nil && !n.Repeat {
				continue
			}
			x, dd := decodeBody(sub.Body, n.Attrs, n.Blocks, "", sub.DefRange(), ctx, secrets)
			diags = append(diags, dd...)
			if len(sub.Labels) == 1 {
				x.Label = sub.Labels[0]
			}
			name := n.Name
			if n.Repeat {
				name = fmt.Sprintf("%s[%d]", n.Name, len(d.lists[n.Name]))
				d.lists[n.Name] = append(d.lists[n.Name], x)
			}
			for _, u := range x.Unknown {
				d.Unknown = append(d.Unknown, name+"."+u)
			}
			d.blocks[name] = x
		}
	}
	return d, diags
}

// check converts a value and tests it against the schema; problem is empty when it is sound. It does not tell a sensitive
// value.
func (a *Attr) check(v cty.Value, want cty.Type, sensitive bool) (_ cty.Value, problem string) {
	if v.IsNull() {
		if a.Required && want != cty.DynamicPseudoType { // the value of an output may be null
			return v, fmt.Sprintf("%s is null; it is needed.", a.Name)
		}
		if a.Default != cty.NilVal {
			return a.Default, ""
		}
		return cty.NullVal(want), ""
	}
	if a.Ref != nil {
		return a.reference(v, sensitive)
	}
	c, err := convert.Convert(v, want)
	if err != nil {
		what := fmt.Sprintf("%s takes a %s, not a %s", a.Name, typeName(*a), v.Type().FriendlyName())
		if sensitive {
			return v, what + "."
		}
		return v, fmt.Sprintf("%s: %v.", what, err)
	}
	show := func(v cty.Value) string {
		if sensitive {
			return Hidden
		}
		return Show(v)
	}
	switch {
	case want == cty.String && a.OneOf != nil && c.IsKnown() && !contains(a.OneOf, c.AsString()):
		hint := ""
		if !sensitive {
			hint = Suggest(c.AsString(), a.OneOf)
		}
		return c, fmt.Sprintf("%s is %s.%s It takes %s.", a.Name, show(c), hint, strings.Join(a.OneOf, ", "))
	case want == cty.Number && c.IsKnown():
		problem = a.number(a.Name, c, show)
	case want.IsListType() && c.IsKnown():
		i := 0
		for it := c.ElementIterator(); it.Next() && problem == ""; i++ {
			_, e := it.Element()
			name := fmt.Sprintf("%s[%d]", a.Name, i)
			switch {
			case e.IsNull():
				problem = name + " is null; every element needs a value."
			case want.ElementType() == cty.Number && e.IsKnown():
				problem = a.number(name, e, show)
			}
		}
	case want == cty.DynamicPseudoType:
		problem = beyond(a.Name, c)
	}
	return Float64(c), problem
}

// number tests a number against the attribute's range.
func (a *Attr) number(name string, v cty.Value, show func(cty.Value) string) string {
	f := v.AsBigFloat()
	x, _ := f.Float64()
	text := show(v)
	switch {
	case math.IsInf(x, 0):
		return fmt.Sprintf("%s is beyond what a 64-bit floating-point number holds.", name)
	case x == 0 && f.Sign() != 0:
		return fmt.Sprintf("%s is too close to 0 for a 64-bit floating-point number.", name)
	case a.Whole && !f.IsInt():
		return fmt.Sprintf("%s takes a whole number, not %s.", name, text)
	case a.Min != nil && x < *a.Min:
		return fmt.Sprintf("%s is %s; the least is %s.", name, text, plainNumber(*a.Min))
	case a.Max != nil && x > *a.Max:
		return fmt.Sprintf("%s is %s; the most is %s.", name, text, plainNumber(*a.Max))
	case a.Above != nil && x <= *a.Above:
		return fmt.Sprintf("%s is %s; it must be more than %s.", name, text, plainNumber(*a.Above))
	case a.Below != nil && x >= *a.Below:
		return fmt.Sprintf("%s is %s; it must be less than %s.", name, text, plainNumber(*a.Below))
	}
	return ""
}

func plainNumber(x float64) string { return showNumber(big.NewFloat(x)) }

// beyond finds a number that no float64 holds anywhere in a value.
func beyond(name string, v cty.Value) (problem string) {
	_ = cty.Walk(v, func(_ cty.Path, x cty.Value) (bool, error) {
		if x.IsKnown() && !x.IsNull() && x.Type() == cty.Number {
			if f, _ := x.AsBigFloat().Float64(); math.IsInf(f, 0) {
				problem = fmt.Sprintf("%s holds a number beyond what a 64-bit floating-point number holds.", name)
			}
		}
		return problem == "", nil
	})
	return problem
}

// Float64 rounds the numbers in a value to what a run computes with, so that two that differ only beyond it are the same and
// a default that is written out is the default. Integers beyond 2^53 stay exact.
func Float64(v cty.Value) cty.Value {
	r, err := cty.Transform(v, func(_ cty.Path, x cty.Value) (cty.Value, error) {
		bare, marks := x.Unmark()
		if bare.Type() != cty.Number || !bare.IsKnown() || bare.IsNull() || bare.AsBigFloat().IsInt() {
			return x, nil
		}
		f, _ := bare.AsBigFloat().Float64()
		if math.IsInf(f, 0) {
			return x, nil
		}
		return cty.NumberFloatVal(f).WithMarks(marks), nil
	})
	if err != nil {
		return v
	}
	return r
}

// reference takes the address out of a block's exports.
func (a *Attr) reference(v cty.Value, sensitive bool) (cty.Value, string) {
	if !v.IsKnown() {
		return cty.UnknownVal(cty.String), ""
	}
	want := strings.Join(a.Ref, " or ")
	t := v.Type()
	if !t.IsObjectType() || !t.HasAttribute("address") {
		hint := ""
		if t.IsTupleType() || t.IsObjectType() {
			hint = " If the block has count or for_each, name one instance, such as stage.x[\"key\"]."
		}
		return v, fmt.Sprintf("%s takes a %s block, written without quotes such as %s.NAME, not %s.%s", a.Name, want, a.Ref[0], t.FriendlyName(), hint)
	}
	x := v.GetAttr("address")
	if x.Type() != cty.String || x.IsNull() {
		return v, fmt.Sprintf("%s takes a %s block.", a.Name, want)
	}
	if !x.IsKnown() {
		return x, ""
	}
	for _, k := range a.Ref {
		if strings.HasPrefix(x.AsString(), k+".") {
			return x, ""
		}
	}
	if sensitive {
		return v, fmt.Sprintf("%s takes a %s block.", a.Name, want)
	}
	return v, fmt.Sprintf("%s takes a %s block, not %s.", a.Name, want, x.AsString())
}

// Error makes a diagnostic at an attribute, or at the block's header if it was not given.
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

// Hides reports whether an export would reveal a sensitive attribute. The nil Decoded hides nothing.
func (d *Decoded) Hides(e *Export) bool {
	if d == nil {
		return false
	}
	for _, name := range append(e.From, e.Name) {
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

// Has tells whether an attribute has a value, given or default.
func (d *Decoded) Has(attr string) bool {
	v, ok := d.values[attr]
	return ok && !v.IsNull()
}

// Known tells whether an attribute has a value that is known.
func (d *Decoded) Known(attr string) bool { return d.Has(attr) && d.values[attr].IsWhollyKnown() }

// Value is an attribute as it is.
func (d *Decoded) Value(attr string) cty.Value { return d.values[attr] }

// Str, Float, Int, Bool read an attribute; the zero value if it is null or unknown.
func (d *Decoded) Str(attr string) string {
	if !d.Known(attr) {
		return ""
	}
	return d.values[attr].AsString()
}

func (d *Decoded) Float(attr string) float64 {
	if !d.Known(attr) {
		return 0
	}
	f, _ := d.values[attr].AsBigFloat().Float64()
	return f
}

func (d *Decoded) Int(attr string) int { return int(d.Float(attr)) }

func (d *Decoded) Bool(attr string) bool { return d.Known(attr) && d.values[attr].True() }

// Strs and Floats read a list.
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

// Ref reads an attribute that names a block.
func (d *Decoded) Ref(attr string) (a addr.Addr, member string, ok bool) {
	s := d.Str(attr)
	if s == "" {
		return a, "", false
	}
	if a, err := addr.Parse(s); err == nil {
		return a, "", true
	}
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return a, "", false
	}
	a, err := addr.Parse(s[:i])
	return a, s[i+1:], err == nil
}

// List gives the nested blocks of a name that may stand several times, in order.
func (d *Decoded) List(name string) []*Decoded { return d.lists[name] }

// Block is a nested block; nil if it was not given.
func (d *Decoded) Block(name string) *Decoded { return d.blocks[name] }

// Flat lists all given values by dotted name, for fingerprints and display; unknown ones read
// "(known after apply)", sensitive ones "(sensitive)".
func (d *Decoded) Flat() map[string]string {
	out := map[string]string{}
	d.flat("", out, true)
	return out
}

// Values are all given values by dotted name, sensitive ones marked.
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

// Fingerprint is Flat with sensitive values as they are and without defaults, for hashing only: a new
// attribute of the language changes no block that does not use it.
func (d *Decoded) Fingerprint() map[string]string {
	out := map[string]string{}
	d.flat("", out, false)
	return out
}

// Secret lists the sensitive values by dotted name, as Show would write them. It is for telling by a keyed hash whether
// one has changed.
func (d *Decoded) Secret() map[string]string {
	out := map[string]string{}
	d.secret("", out)
	return out
}

func (d *Decoded) secret(prefix string, out map[string]string) {
	for n := range d.Sensitive {
		out[prefix+n] = Show(d.values[n])
	}
	for n, b := range d.blocks {
		b.secret(prefix+n+".", out)
	}
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
	for n, list := range d.lists {
		for i, b := range list {
			b.flat(fmt.Sprintf("%s%s[%d].", prefix, n, i), out, hide)
		}
	}
}

// showNumber writes an integer in full and other numbers with the fewest digits that give the same float64, so that numbers
// that differ read differently. Beyond float64 the exponent says enough.
func showNumber(f *big.Float) string {
	x, _ := f.Float64()
	switch {
	case f.IsInf(), f.MantExp(nil) > 1024:
		return fmt.Sprintf("a number of about 2^%d", f.MantExp(nil))
	case f.IsInt():
		return f.Text('f', 0)
	}
	return strconv.FormatFloat(x, 'g', -1, 64)
}

// Read is the reverse of Show: a text that is no value, such as a label or what stands for one that is not shown, reads as a string.
func Read(text string) cty.Value {
	if checkNesting([]byte(text), "").HasErrors() {
		return cty.StringVal(text)
	}
	e, diags := hclsyntax.ParseExpression([]byte(text), "", hcl.InitialPos)
	if !diags.HasErrors() {
		if v, diags := e.Value(nil); !diags.HasErrors() && v.IsWhollyKnown() {
			return v
		}
	}
	return cty.StringVal(text)
}

// Show writes a value in the language's syntax, on one line.
func Show(v cty.Value) string {
	v, marks := v.UnmarkDeep()
	t := v.Type()
	switch {
	case len(marks) > 0:
		return Hidden
	case !v.IsKnown():
		return "(known after apply)"
	case v.IsNull():
		return "null"
	case t == cty.String:
		return string(hclwrite.TokensForValue(v).Bytes())
	case t == cty.Bool:
		return fmt.Sprint(v.True())
	case t == cty.Number:
		return showNumber(v.AsBigFloat())
	case t.IsListType() || t.IsTupleType() || t.IsSetType():
		var parts []string
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			parts = append(parts, Show(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case t.IsMapType() || t.IsObjectType():
		var parts []string
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			key := k.AsString()
			if !hclsyntax.ValidIdentifier(key) {
				key = Show(k)
			}
			parts = append(parts, key+" = "+Show(e))
		}
		sort.Strings(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return t.FriendlyName()
}
