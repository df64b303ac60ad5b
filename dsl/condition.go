package dsl

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Condition is something that a pipeline says must be true, with the message if it is not.
type Condition struct {
	Range   hcl.Range // of the block that holds it
	failed  string    // the summary of the error if it is false
	of      string    // what it is a condition of, such as stage.seed; "" for a test
	test    hclsyntax.Expression
	message hclsyntax.Expression
	in      *module
	uses    []reference
}

// Verdict is what a condition came to.
type Verdict int

// The verdicts on a condition.
const (
	Unknown Verdict = iota // it depends on what is not known yet, or it has an error
	Holds
	Fails
)

// conditionAttrs are the rows of a condition. where says what its expression may name.
func conditionAttrs(where string) []Attr {
	return []Attr{
		{Name: "condition", Type: cty.Bool, Required: true, Doc: where},
		{Name: "error_message", Type: cty.String, Required: true, Doc: "The error message if it is false."},
	}
}

// Failed is the Extra of the problem that a condition is false: what it is a condition of, such as var.steps,
// check.quality or stage.seed, without the key of an instance; "" for a test.
type Failed string

// FailedIn returns what failed, if a problem is that a condition is false.
func FailedIn(d *hcl.Diagnostic) (of Failed, ok bool) {
	switch x := d.Extra.(type) {
	case Failed:
		return x, true
	case origin:
		of, ok = x.extra.(Failed)
		return of.within(x.path), ok
	}
	return "", false
}

// within returns the name of a variable or a check of a module as it is in the pipeline. Other names are so already.
func (of Failed) within(module string) Failed {
	if kind, _, _ := strings.Cut(string(of), "."); module == "" || kind != "var" && kind != "check" {
		return of
	}
	return Failed(module) + "." + of
}

// newCondition reads a condition of something; nil if it lacks an attribute, which checkBody reports.
func newCondition(b *hclsyntax.Block, of, failed string) *Condition {
	test, message := b.Body.Attributes["condition"], b.Body.Attributes["error_message"]
	if test == nil || message == nil {
		return nil
	}
	return &Condition{Range: b.DefRange(), of: of, failed: failed, test: test.Expr, message: message.Expr}
}

// refs resolves what a condition names. self is the block that it may call self; nil for none.
func (x *Condition) refs(m *module, repeated bool, self *Block) (refs []reference, diags hcl.Diagnostics) {
	for _, e := range []hclsyntax.Expression{x.test, x.message} {
		for _, t := range e.Variables() {
			if self != nil && t.RootName() == "self" {
				if name := stepName(t, 1); name != "" {
					if d := self.offers(name, t.SourceRange()); d != nil {
						diags = append(diags, d)
					}
				}
				continue
			}
			r, d := m.refOf(t, repeated)
			if diags = append(diags, d...); self != nil && len(r) == 1 && r[0].addr == self.Addr {
				diags = append(diags, failure(t.SourceRange(), "Cycle", "A postcondition of %s names the block itself as "+
					"self, such as self.address.", self.Addr))
				continue
			}
			refs = append(refs, r...)
		}
		diags = append(diags, checkFunctions(e)...)
	}
	x.in, x.uses = m, refs
	return refs, diags
}

// Test evaluates a condition with what is in scope. self is what the block that it belongs to exports; cty.NilVal where
// the condition may not name it. If the condition is false, the problem says so; other problems are errors in it.
func (s *Scope) Test(x *Condition, each *Each, self cty.Value) (Verdict, hcl.Diagnostics) {
	more := map[string]cty.Value{}
	if self != cty.NilVal {
		more["self"] = self
	}
	v, diags := s.test(x, each, more)
	return v, s.config.Secrets.Diagnostics(diags)
}

// test evaluates a condition with what is in scope, and with more names.
func (s *Scope) test(x *Condition, each *Each, more map[string]cty.Value) (Verdict, hcl.Diagnostics) {
	if each != nil && each.Key == "" {
		each = nil
	}
	ctx := s.context(x.in, x.uses, each)
	maps.Copy(ctx.Variables, more)
	v, diags := x.test.Value(ctx)
	if diags.HasErrors() {
		return Unknown, diags
	}
	v, _ = v.UnmarkDeep()
	switch {
	case v.Type() != cty.Bool && v.Type() != cty.DynamicPseudoType, v.IsNull():
		d := failure(x.test.Range(), "Wrong type", "condition must be true or false, not %s.", kindOfValue(v))
		d.Expression, d.EvalContext = x.test, ctx
		return Unknown, append(diags, d)
	case !v.IsKnown():
		return Unknown, diags
	case v.True():
		return Holds, diags
	}
	text, dd := x.text(ctx)
	if dd.HasErrors() {
		return Unknown, append(diags, dd...)
	}
	d := failure(x.test.Range(), x.failed, "%s", text)
	d.Expression, d.EvalContext, d.Extra = x.test, ctx, Failed(x.of)
	return Fails, append(diags, d)
}

// kindOfValue says what a value is, for messages that want another.
func kindOfValue(v cty.Value) string {
	if v.IsNull() {
		return "null"
	}
	return "a " + v.Type().FriendlyName()
}

// text evaluates the error message.
func (x *Condition) text(ctx *hcl.EvalContext) (string, hcl.Diagnostics) {
	v, diags := x.message.Value(ctx)
	if diags.HasErrors() {
		return "", diags
	}
	v, marks := v.UnmarkDeep()
	switch {
	case len(marks) > 0:
		return "The condition is false. Its error_message is made from a sensitive value and is not shown.", nil
	case !v.IsKnown():
		return "The condition is false. Its error_message is not known yet.", nil
	case v.Type() != cty.String || v.IsNull():
		return "", hcl.Diagnostics{failure(x.message.Range(), "Wrong type",
			"error_message is %s: say in a text what is wrong when the condition is false.", kindOfValue(v))}
	}
	return v.AsString(), nil
}

// checkConditions returns the errors in a block's conditions. A condition that is false has no error.
func (s *Scope) checkConditions(b *Block, each *Each, exports cty.Value) (diags hcl.Diagnostics) {
	for i, x := range slices.Concat(b.Lifecycle.Before, b.Lifecycle.After) {
		self := cty.NilVal
		if i >= len(b.Lifecycle.Before) {
			self = exports
		}
		if v, d := s.Test(x, each, self); v != Fails {
			diags = append(diags, d...)
		}
	}
	return diags
}
