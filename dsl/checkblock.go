package dsl

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// checkBlock is a check block: conditions on the pipeline as a whole, of which one that is false is a warning.
type checkBlock struct {
	name    string
	in      *module
	rng     hcl.Range
	asserts []*Condition
}

// checkKind is the row of Meta for check blocks.
var checkKind = Kind{Name: "check",
	Doc: "Conditions on the pipeline as a whole, tested by `plan` as far as they are known and at the end of " +
		"`apply`. One that is false is a warning, and stops nothing. See [lifecycle.md](lifecycle.md#checks).",
	Blocks: []Nested{{Name: "assert", Required: true, Repeat: true, Doc: "What should be true.",
		Attrs: conditionAttrs("An expression of variables, locals and blocks.")}}}

// addCheck reads a check block.
func (m *module) addCheck(b *hclsyntax.Block) hcl.Diagnostics {
	c := m.config
	if len(b.Labels) != 1 {
		return hcl.Diagnostics{failure(b.DefRange(), "Wrong number of labels", `Write check "NAME" { … }.`)}
	}
	x := &checkBlock{name: b.Labels[0], in: m, rng: b.DefRange()}
	for _, old := range c.checks {
		if old.name == x.name && old.in == m {
			return hcl.Diagnostics{duplicate("check."+x.name, x.rng, old.rng)}
		}
	}
	c.checks = append(c.checks, x)
	for _, sub := range b.Body.Blocks {
		if a := newCondition(sub, "check."+x.name, "Check block assertion failed"); a != nil && sub.Type == "assert" {
			x.asserts = append(x.asserts, a)
		}
	}
	return checkBody(b.Body, nil, checkKind.Blocks, "", "check."+x.name, rules{})
}

// checkRefs resolves what check blocks name.
func (c *Config) checkRefs() (diags hcl.Diagnostics) {
	for _, x := range c.checks {
		for _, a := range x.asserts {
			_, d := a.refs(x.in, false, nil)
			diags = append(diags, tag(x.in, d)...)
		}
	}
	return diags
}

// Checks tests the check blocks with what is in scope. What is false is a warning, and so is an error in a condition;
// both have a Failed.
func (s *Scope) Checks() (diags hcl.Diagnostics) {
	for _, x := range s.config.checks {
		for _, a := range x.asserts {
			_, d := s.Test(a, nil, cty.NilVal)
			for _, d := range d {
				d.Severity, d.Extra = hcl.DiagWarning, Failed(a.of)
			}
			diags = append(diags, tag(x.in, d)...)
		}
	}
	return diags
}
