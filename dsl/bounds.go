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

// HCL parses and evaluates by recursion and computes whatever it is given: a few lines can nest until the stack ends,
// double a text sixty times or loop over loops. So tokens are counted before they are parsed, and expressions get guards
// that count what they compute.
const (
	maxNesting  = 500       // brackets, quotes and templates inside each other, and levels of a value
	maxChain    = 5000      // operators and conditionals of an expression, besides: each is a level of the parsed tree too
	maxWork     = 256 << 20 // what all evaluations of a pipeline may cost: bytes of text made and looped over, and elementCost for each value
	maxValue    = 64 << 20  // what one value may weigh, counted the same way
	freeValue   = 16 << 10  // values of attributes that weigh no more cost nothing
	elementCost = 256       // go-cty takes that many times longer for a number or an element than for a byte of text
)

// meter counts what the evaluations of a pipeline cost.
type meter struct {
	spent    int64
	most     int64 // maxWork, but for tests
	reported bool  // that it is too much
}

var errSpent = fmt.Errorf("evaluating the pipeline takes more than it may: %s of text and values. Look for loops inside loops, and for values that grow from name to name", FormatBytes(maxWork))

// guard is an expression that counts what its value weighs.
type guard struct {
	*hclsyntax.ParenthesesExpr
	meter    *meter
	whole    bool  // the whole of an attribute
	operand  bool  // of arithmetic, which takes text for a number
	optional bool  // the value may turn out not to be needed, and its error with it
	unified  bool  // with the type of another value
	perValue int64 // a loop's cost for each element
}

// UnwrapExpression returns the expression inside, from which types and keywords are read.
func (g *guard) UnwrapExpression() hcl.Expression { return g.Expression }

// Value evaluates the expression; a value that weighs too much is an error.
func (g *guard) Value(ctx *hcl.EvalContext) (v cty.Value, diags hcl.Diagnostics) {
	if g.whole {
		defer func() {
			if r := recover(); r != nil {
				e := caught(r)
				v, diags = cty.DynamicVal, hcl.Diagnostics{e.diagnostic()}
			}
			if g.meter.spent > g.meter.most && diags.HasErrors() { // whatever else is said follows from it, here and in what is evaluated later
				at := g.Range()
				if s := diags[0].Subject; s != nil {
					at = *s
				}
				v, diags = cty.DynamicVal, nil
				if !g.meter.reported {
					diags = hcl.Diagnostics{exhausted{errSpent, at}.diagnostic()}
				}
				g.meter.reported = true
			}
		}()
	}
	if g.optional {
		defer func() {
			if r := recover(); r != nil {
				e := caught(r)
				if !errors.Is(e.err, errRange) {
					panic(e)
				}
				if err := g.meter.spend(elementCost); err != nil {
					panic(exhausted{err, g.Range()})
				}
				v, diags = cty.DynamicVal, hcl.Diagnostics{e.diagnostic()}
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
		}
		return v, diags
	}
	if g.operand && v.Type() == cty.String {
		if n, err := convert.Convert(v, cty.Number); err == nil {
			v = n
		}
	}
	weight, err := weigh(v)
	if err == nil {
		if g.perValue > 0 {
			weight += g.perValue * elements(v)
		}
		if g.unified {
			weight += unifying(v)
		}
		if !g.whole || weight > freeValue {
			err = g.meter.spend(weight)
		}
	}
	if err != nil {
		panic(exhausted{err, g.Range()}) // a loop would go on after an error
	}
	return v, diags
}

// hideKeys takes the key out of HCL's only message that quotes a value, where the expression names sensitive ones.
func hideKeys(e hcl.Expression, ctx *hcl.EvalContext, diags hcl.Diagnostics) {
	for _, d := range diags {
		if d.Summary != "Duplicate object key" {
			continue
		}
		for _, t := range e.Variables() {
			if v, _ := t.TraverseAbs(ctx); v.ContainsMarked() {
				d.Detail = "Two items have the same key, which is sensitive and not shown. To gather their values, write ... behind the value."
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
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Subject: &e.rng, Detail: upperFirst(e.err.Error()) + "."}
}

// caught is what a recovered panic says, if it is ours.
func caught(r any) exhausted {
	e, ok := r.(exhausted)
	if !ok {
		panic(r)
	}
	return e
}

// contained evaluates an expression that no guard is around: one inside a function, where panics are lost, or a part.
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

// elements is the length of a collection, 0 of another value.
func elements(v cty.Value) int64 {
	v, _ = v.Unmark()
	if v.IsNull() || !v.IsKnown() || !v.CanIterateElements() {
		return 0
	}
	return int64(v.LengthInt())
}

// weigh counts what a value would take written out, though parts of it may be shared, and checks its numbers.
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
		return fmt.Errorf("the value is too large: written out it takes more than %s", FormatBytes(maxValue))
	}
	return nil
}

// unifying is what go-cty takes to find one type for all elements of a tuple or object: it compares each with each.
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

// convertTo is convert.Convert in linear time: go-cty's compares each element's type with each other's where a tuple becomes a list or an
// object a map, even if all are the same.
func (m *meter) convertTo(v cty.Value, want cty.Type) (cty.Value, error) {
	t := v.Type()
	if !want.IsCollectionType() || v.IsNull() || !v.IsKnown() || elements(v) < 2 || !(t.IsTupleType() && !want.IsMapType() || t.IsObjectType() && want.IsMapType()) {
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

// unify finds one type for all elements, from the different types among them; cty.NilType if there is none.
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

// errRange is what is wrong with a number that checkNumber refuses.
var errRange = fmt.Errorf("a number is infinite, as after a division by zero, or beyond the largest, %.3g", math.MaxFloat64)

// checkNumber refuses numbers beyond those of float64: their digits alone would fill the memory.
func checkNumber(f *big.Float) error {
	if f.IsInf() || f.MantExp(nil) > 1024 {
		return errRange
	}
	return nil
}

// guardBody puts guards into all expressions of a body, and reports numbers that are out of range.
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

// guardParts puts guards where an expression may multiply what it is given: into templates, loops, operators and conditionals.
// Functions count for themselves.
func (m *meter) guardParts(e hclsyntax.Expression) (diags hcl.Diagnostics) {
	var nodes []hclsyntax.Node // first all, since the guards are nodes as well
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
			x.LHS, x.RHS = m.guard(x.LHS, guard{operand: arithmetic}), m.guard(x.RHS, guard{operand: arithmetic, optional: logic})
		case *hclsyntax.UnaryOpExpr:
			x.Val = m.guard(x.Val, guard{operand: x.Op.Type == cty.Number})
		case *hclsyntax.ConditionalExpr:
			x.TrueResult, x.FalseResult = m.guard(x.TrueResult, guard{unified: true, optional: true}), m.guard(x.FalseResult, guard{unified: true, optional: true})
		}
	}
	return diags
}
