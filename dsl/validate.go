package dsl

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// Validate evaluates every block without data and state: all exports are unknown, of their types. It leaves out
// problems at the place of those given, which loading found. sound checks a block's attributes against each other.
func (c *Config) Validate(given hcl.Diagnostics, sound Sound) (diags hcl.Diagnostics) {
	s := c.NewScope()
	_, diags = s.Imports()
	for _, b := range c.Blocks {
		diags = append(diags, s.Check(b, sound)...)
	}
	if c.Telemetry != nil {
		_, d := s.Decode(c.Telemetry, nil)
		diags = append(diags, d...)
	}
	diags = append(append(diags, s.CheckLocals()...), s.Checks()...)
	var own hcl.Diagnostics
	for _, d := range diags {
		if !follows(d, given) && !follows(d, besides(own, d)) {
			own = append(own, d)
		}
	}
	return Join(own)
}

// besides returns the problems that were found in the same module as d: other instances have their own.
func besides(diags hcl.Diagnostics, d *hcl.Diagnostic) (list hcl.Diagnostics) {
	at, _ := d.Extra.(origin)
	for _, o := range diags {
		if x, _ := o.Extra.(origin); x == at {
			list = append(list, o)
		}
	}
	return list
}

// follows reports whether a problem is at the place of an error among others.
func follows(d *hcl.Diagnostic, others hcl.Diagnostics) bool {
	for _, o := range others {
		if d.Subject != nil && o.Subject != nil && o.Severity == hcl.DiagError && d.Subject.Overlaps(*o.Subject) {
			return true
		}
	}
	return false
}

// Sound checks attributes of a block, each of which is valid by itself, against each other. Some may be unknown. nil
// checks nothing.
type Sound func(a addr.Addr, d *Decoded) hcl.Diagnostics

// Check evaluates a block to find its own errors, and puts its exports into scope as unknown.
func (s *Scope) Check(b *Block, sound Sound) hcl.Diagnostics {
	instances, diags := s.instances(b)
	vague := diags.HasErrors() && diags[0].Extra == tooEarly
	if vague { // no error: another block decides how many
		instances, diags = []Each{{Key: "*", Unknown: b.Count != nil, Name: cty.UnknownVal(cty.String),
			Value: cty.DynamicVal}}, nil
		if b.Count != nil {
			instances[0].Name = cty.NilVal
		}
	} else if diags.HasErrors() {
		s.Set(b.Addr, cty.DynamicVal)
		return tag(b.in, s.config.Secrets.Diagnostics(diags))
	}
	exports := make([]cty.Value, len(instances))
	problems := make([]hcl.Diagnostics, len(instances))
	failed := false
	for i := range instances {
		if b.Chained && failed { // its errors would only follow from those before
			exports[i] = cty.DynamicVal
			continue
		}
		a := b.Addr
		a.Key = instances[i].Key
		s.Earlier(b, exports[:i], func() {
			d, dd := s.Decode(b, &instances[i])
			if b.Kind.Name == "output" {
				dd = append(dd, d.CheckOutput()...)
			}
			if sound != nil && !dd.HasErrors() {
				dd = append(dd, d.HideNumbersIn(s.config.Secrets.Diagnostics(sound(a, d)))...)
			}
			exports[i] = b.Kind.Export(a.String(), b.Addr.Type, nil, d)
			problems[i] = append(dd, s.checkConditions(b, &instances[i], exports[i])...)
			failed = failed || problems[i].HasErrors()
		})
	}
	if vague {
		s.Set(b.Addr, cty.DynamicVal)
	} else {
		s.SetInstances(b, instances, exports)
	}
	return append(diags, Merge(b, instances, problems)...)
}

// CheckOutput refuses an output that shows a sensitive value.
func (d *Decoded) CheckOutput() hcl.Diagnostics {
	if d.Sensitive["value"] && !d.Bool("sensitive") {
		return hcl.Diagnostics{d.Error("value", "Sensitive output", "The value comes from a sensitive one. "+
			"Set sensitive = true to keep it off the screen and out of the state.")}
	}
	return nil
}
