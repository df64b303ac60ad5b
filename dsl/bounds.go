package dsl

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// HCL parses and evaluates by recursion, without bounds: a few lines can nest until the stack ends, double a text sixty
// times or loop over loops. So tokens are counted before they are parsed, and guards in expressions count what they
// compute.
const (
	maxNesting  = 500       // brackets, quotes and templates inside each other, and levels of a value
	maxChain    = 5000      // operators and conditionals of an expression, each of which is a level of the parsed tree
	maxWork     = 256 << 20 // cost of all evaluations: bytes of text made and looped over, elementCost a value
	maxValue    = 64 << 20  // weight of one value, counted the same way
	freeValue   = 16 << 10  // values of attributes up to this weight cost nothing
	elementCost = 256       // go-cty takes this many times longer for a number or an element than for a byte of text
)

// meter counts what the evaluations of a pipeline cost.
type meter struct {
	spent    int64
	most     int64 // maxWork, or less in tests
	reported bool  // whether an error has said that it is too much
}

var errSpent = fmt.Errorf("evaluating the pipeline takes more than the limit of %s of text and values. "+
	"Look for loops inside loops, and for values that grow from name to name", FormatBytes(maxWork))

// guard is an expression that counts the weight of its value.
type guard struct {
	*hclsyntax.ParenthesesExpr
	meter    *meter
	whole    bool  // it is a whole attribute
	operand  bool  // it is an operand of arithmetic, which takes text for a number
	optional bool  // its value may not be needed, and then its error does not count
	unified  bool  // its type is unified with another value's
	perValue int64 // cost of a loop for each element
}

// UnwrapExpression returns the expression inside, from which types and keywords are read.
func (g *guard) UnwrapExpression() hcl.Expression { return g.Expression }

// Value evaluates the expression. A value that weighs too much is an error.
func (g *guard) Value(ctx *hcl.EvalContext) (v cty.Value, diags hcl.Diagnostics) {
	if g.whole {
		defer func() {
			if r := recover(); r != nil {
				v, diags = cty.DynamicVal, hcl.Diagnostics{caught(r).diagnostic()}
			}
			if diags.HasErrors() && g.meter.spent > g.meter.most {
				v, diags = cty.DynamicVal, g.reportOnce(diags)
			}
		}()
	}
	if g.optional {
		defer func() {
			if r := recover(); r != nil {
				v, diags = cty.DynamicVal, g.excuse(caught(r))
			}
		}()
	}
	if err := g.meter.spend(0); err != nil {
		panic(exhausted{err, g.Range()})
	}
	v, diags = g.Expression.Value(ctx)
	if diags.HasErrors() {
		if g.whole {
			hideKeys(g, ctx, diags)
			explainMinus(diags)
			explainIndex(g.Expression, ctx, diags)
		}
		return v, diags
	}
	if g.operand && v.Type() == cty.String {
		if n, err := convert.Convert(v, cty.Number); err == nil {
			v = n
		}
	}
	if err := g.charge(v); err != nil {
		panic(exhausted{err, g.Range()}) // a loop would go on after an error
	}
	return v, diags
}

// reportOnce replaces the errors of a pipeline that costs too much: the first time by one that says so, later by none,
// since all others follow from it.
func (g *guard) reportOnce(diags hcl.Diagnostics) hcl.Diagnostics {
	if g.meter.reported {
		return nil
	}
	g.meter.reported = true
	at := g.Range()
	if s := diags[0].Subject; s != nil {
		at = *s
	}
	return hcl.Diagnostics{exhausted{errSpent, at}.diagnostic()}
}

// excuse makes a number out of range an error like others, which counts only if the value is needed.
func (g *guard) excuse(e exhausted) hcl.Diagnostics {
	if !errors.Is(e.err, errRange) {
		panic(e)
	}
	if err := g.meter.spend(elementCost); err != nil {
		panic(exhausted{err, g.Range()})
	}
	return hcl.Diagnostics{e.diagnostic()}
}

// charge counts the weight of the value.
func (g *guard) charge(v cty.Value) error {
	weight, err := weigh(v)
	if err != nil {
		return err
	}
	if g.perValue > 0 {
		weight += g.perValue * elements(v)
	}
	if g.unified {
		weight += unifying(v)
	}
	if g.whole && weight <= freeValue {
		return nil
	}
	return g.meter.spend(weight)
}

// hideKeys removes the key from HCL's only message that quotes a value, if the expression names sensitive ones.
func hideKeys(e hcl.Expression, ctx *hcl.EvalContext, diags hcl.Diagnostics) {
	for _, d := range diags {
		if d.Summary != "Duplicate object key" {
			continue
		}
		for _, t := range e.Variables() {
			if v, _ := t.TraverseAbs(ctx); v.ContainsMarked() {
				d.Detail = "Two items have the same key, which is sensitive and not shown. " +
					"To gather their values, write ... after the value."
			}
		}
	}
}

// exhausted ends an evaluation from within, up to the guard of the whole.
type exhausted struct {
	err error
	rng hcl.Range
}

func (e exhausted) diagnostic() *hcl.Diagnostic {
	summary := "Too much to compute"
	if errors.Is(e.err, errRange) {
		summary = "Number out of range"
	}
	return failure(e.rng, summary, "%s.", upperFirst(e.err.Error()))
}

// caught returns the exhausted of a recovered panic, and panics again with any other.
func caught(r any) exhausted {
	e, ok := r.(exhausted)
	if !ok {
		panic(r)
	}
	return e
}

// contained evaluates an expression that has no guard around it: one inside a function, where panics are lost, or a
// part.
func contained(value func() (cty.Value, hcl.Diagnostics)) (v cty.Value, diags hcl.Diagnostics, err error) {
	defer func() {
		if r := recover(); r != nil {
			v, err = cty.DynamicVal, caught(r).err
		}
	}()
	v, diags = value()
	return v, diags, nil
}

func (m *meter) spend(n int64) error {
	if m.spent += n; m.spent > m.most {
		return errSpent
	}
	return nil
}

// elements returns the length of a collection; 0 for other values.
func elements(v cty.Value) int64 {
	v, _ = v.Unmark()
	if v.IsNull() || !v.IsKnown() || !v.CanIterateElements() {
		return 0
	}
	return int64(v.LengthInt())
}

// weigh returns the weight of a value written out, even if parts of it are shared in memory, and checks its numbers.
func weigh(v cty.Value) (weight int64, err error) {
	err = weighInto(v, &weight, 0)
	return weight, err
}

func weighInto(v cty.Value, sum *int64, depth int) error {
	v, _ = v.Unmark()
	*sum += elementCost
	t := v.Type()
	switch {
	case v.IsNull() || !v.IsKnown():
		return nil
	case t == cty.String:
		*sum += int64(len(v.AsString()))
	case t == cty.Number:
		if err := checkNumber(v.AsBigFloat()); err != nil {
			return err
		}
	case v.CanIterateElements():
		if depth == maxNesting {
			return fmt.Errorf("the value has more than %d levels", maxNesting)
		}
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			if t.IsMapType() || t.IsObjectType() { // the key of a set's element is the element, which may be null
				*sum += int64(len(k.AsString()))
			}
			if err := weighInto(e, sum, depth+1); err != nil {
				return err
			}
		}
	}
	if *sum > maxValue {
		return fmt.Errorf("the value is too large: it takes more than %s when written out", FormatBytes(maxValue))
	}
	return nil
}

// unifying returns the cost for go-cty of finding one type for all elements of a tuple or object: it compares each with
// each.
func unifying(v cty.Value) (cost int64) {
	v, _ = v.Unmark()
	if n := elements(v); n > 0 {
		if v.Type().IsTupleType() || v.Type().IsObjectType() {
			cost += n * n / 2
		}
		for it := v.ElementIterator(); it.Next() && cost < maxWork; {
			_, e := it.Element()
			cost += unifying(e)
		}
	}
	return cost
}

// convertTo is convert.Convert in linear time. To turn a tuple into a list or an object into a map, go-cty compares the
// type of each element with that of every other, even if all are the same.
func (m *meter) convertTo(v cty.Value, want cty.Type) (cty.Value, error) {
	t := v.Type()
	gathers := t.IsTupleType() && !want.IsMapType() || t.IsObjectType() && want.IsMapType()
	if !want.IsCollectionType() || !gathers || v.IsNull() || !v.IsKnown() || elements(v) < 2 {
		return convert.Convert(v, want)
	}
	plain, marks := v.Unmark()
	one := want.ElementType()
	if one == cty.DynamicPseudoType {
		var err error
		if one, err = m.unify(plain); err != nil {
			return v, err
		}
	}
	if one == cty.NilType || one.HasDynamicTypes() {
		if err := m.spend(unifying(v)); err != nil {
			return v, err
		}
		return convert.Convert(v, want)
	}
	list, dict := []cty.Value{}, map[string]cty.Value{}
	for it := plain.ElementIterator(); it.Next(); {
		k, e := it.Element()
		x, err := m.convertTo(e, one)
		if err != nil {
			return v, cty.Path{cty.IndexStep{Key: k}}.NewError(err)
		}
		if want.IsMapType() {
			dict[k.AsString()] = x
		} else {
			list = append(list, x)
		}
	}
	switch {
	case want.IsMapType():
		return cty.MapVal(dict).WithMarks(marks), nil
	case want.IsSetType():
		return cty.SetVal(list).WithMarks(marks), nil
	}
	return cty.ListVal(list).WithMarks(marks), nil
}

// unify finds one type for all elements from the distinct types among them; cty.NilType if there is none.
func (m *meter) unify(v cty.Value) (cty.Type, error) {
	var types []cty.Type
	var compared int64
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		if !slices.ContainsFunc(types, e.Type().Equals) {
			types = append(types, e.Type())
		}
		if compared += int64(len(types)); compared > maxWork {
			break
		}
	}
	if err := m.spend(compared + int64(len(types)*len(types))/2); err != nil {
		return cty.NilType, err
	}
	one, _ := convert.UnifyUnsafe(types)
	return one, nil
}

// errRange is the error of checkNumber.
var errRange = fmt.Errorf("a number is infinite, as after a division by zero, or beyond the largest, %.3g",
	math.MaxFloat64)

// checkNumber refuses numbers beyond the range of float64: their digits alone could fill the memory.
func checkNumber(f *big.Float) error {
	if f.IsInf() || f.MantExp(nil) > 1024 {
		return errRange
	}
	return nil
}

// guardBody puts guards into all expressions of a body, and reports numbers out of range.
func (m *meter) guardBody(b *hclsyntax.Body) (diags hcl.Diagnostics) {
	_ = hclsyntax.VisitAll(b, func(n hclsyntax.Node) hcl.Diagnostics {
		if a, ok := n.(*hclsyntax.Attribute); ok {
			diags = append(diags, m.guardParts(a.Expr)...)
			a.Expr = m.guard(a.Expr, guard{whole: true})
		}
		return nil
	})
	return diags
}

// guardExpr puts guards into one expression.
func (m *meter) guardExpr(e hclsyntax.Expression) (hclsyntax.Expression, hcl.Diagnostics) {
	diags := m.guardParts(e)
	return m.guard(e, guard{whole: true}), diags
}

func (m *meter) guard(e hclsyntax.Expression, g guard) hclsyntax.Expression {
	g.ParenthesesExpr, g.meter = &hclsyntax.ParenthesesExpr{Expression: e, SrcRange: e.Range()}, m
	return &g
}

// guardParts puts guards into the parts of an expression that may multiply its cost: templates, loops, operators and
// conditionals. Functions count their own.
func (m *meter) guardParts(e hclsyntax.Expression) (diags hcl.Diagnostics) {
	var nodes []hclsyntax.Node // collected first, because guards are nodes too
	_ = hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
		nodes = append(nodes, n)
		return nil
	})
	for _, n := range nodes {
		switch x := n.(type) {
		case *hclsyntax.LiteralValueExpr:
			if x.Val.Type() == cty.Number && x.Val.IsKnown() && !x.Val.IsNull() {
				if err := checkNumber(x.Val.AsBigFloat()); err != nil {
					diags = append(diags, exhausted{err, x.SrcRange}.diagnostic())
				}
			}
		case *hclsyntax.TemplateExpr:
			for i, part := range x.Parts {
				if _, literal := part.(*hclsyntax.LiteralValueExpr); !literal {
					x.Parts[i] = m.guard(part, guard{})
				}
			}
		case *hclsyntax.ForExpr:
			r := x.SrcRange
			x.CollExpr = m.guard(x.CollExpr, guard{perValue: int64(r.End.Byte - r.Start.Byte)})
		case *hclsyntax.SplatExpr:
			x.Source = m.guard(x.Source, guard{})
		case *hclsyntax.BinaryOpExpr:
			arithmetic := x.Op.Type == cty.Number
			logic := x.Op == hclsyntax.OpLogicalAnd || x.Op == hclsyntax.OpLogicalOr
			x.LHS = m.guard(x.LHS, guard{operand: arithmetic})
			x.RHS = m.guard(x.RHS, guard{operand: arithmetic, optional: logic})
		case *hclsyntax.UnaryOpExpr:
			x.Val = m.guard(x.Val, guard{operand: x.Op.Type == cty.Number})
		case *hclsyntax.ConditionalExpr:
			x.TrueResult = m.guard(x.TrueResult, guard{unified: true, optional: true})
			x.FalseResult = m.guard(x.FalseResult, guard{unified: true, optional: true})
		}
	}
	return diags
}
