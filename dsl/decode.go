package dsl

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

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
	blocks    map[string]*Decoded   // by name; one that may stand several times as name[0], name[1]
	lists     map[string][]*Decoded // of those that may stand several times, by name
	ctx       *hcl.EvalContext
	exprs     map[string]hcl.Expression
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
		a = a.of(typ)
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

// Has reports whether an attribute has a value, given or default.
func (d *Decoded) Has(attr string) bool {
	v, ok := d.values[attr]
	return ok && !v.IsNull()
}

// Given reports whether the block says an attribute itself, and not null.
func (d *Decoded) Given(attr string) bool { return d.exprs[attr] != nil && d.Has(attr) }

// Known reports whether an attribute has a value that is known.
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

// numeral matches a number in a text, as a word of its own.
var numeral = regexp.MustCompile(`-?\b[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\b`)

// HideNumbers replaces the sensitive numbers among a block's values wherever a text about that block shows them. Numbers
// are too common to be hidden everywhere, as Secrets hides sensitive strings.
func (d *Decoded) HideNumbers(text string) string {
	secret := d.secretNumbers(nil)
	if len(secret) == 0 {
		return text
	}
	return numeral.ReplaceAllStringFunc(text, func(s string) string {
		x, err := strconv.ParseFloat(s, 64)
		if err == nil && slices.ContainsFunc(secret, func(n float64) bool { return n == x || n == -x }) {
			return Hidden
		}
		return s
	})
}

// HideNumbersIn is HideNumbers for all texts of diagnostics about the block.
func (d *Decoded) HideNumbersIn(diags hcl.Diagnostics) hcl.Diagnostics {
	for _, x := range diags {
		x.Summary, x.Detail = d.HideNumbers(x.Summary), d.HideNumbers(x.Detail)
	}
	return diags
}

func (d *Decoded) secretNumbers(list []float64) []float64 {
	for n := range d.Sensitive {
		v, _ := d.values[n].UnmarkDeep()
		_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
			if v.Type() == cty.Number && v.IsKnown() && !v.IsNull() {
				x, _ := v.AsBigFloat().Float64()
				list = append(list, x)
			}
			return true, nil
		})
	}
	for _, b := range d.blocks {
		list = b.secretNumbers(list)
	}
	return list
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
