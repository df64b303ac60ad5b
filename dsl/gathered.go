package dsl

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl/addr"
)

// gathered is problems of instances, of a block or of a module: each that several have at the same place is kept once.
type gathered struct {
	first   map[placed]*hcl.Diagnostic
	in      map[*hcl.Diagnostic][]addr.Addr // the instances that have it
	has     map[instanceProblem]bool
	differs map[*hcl.Diagnostic]bool // in its words, between instances
}

// placed says which problems are the same.
type placed struct{ place, summary string }

type instanceProblem struct {
	*hcl.Diagnostic
	addr.Addr
}

func newGathered() *gathered {
	return &gathered{first: map[placed]*hcl.Diagnostic{}, in: map[*hcl.Diagnostic][]addr.Addr{},
		has: map[instanceProblem]bool{}, differs: map[*hcl.Diagnostic]bool{}}
}

// add notes that an instance has a problem, and reports whether it is the first to have it.
func (g *gathered) add(d *hcl.Diagnostic, a addr.Addr) bool {
	k := placed{summary: d.Summary}
	if d.Subject != nil {
		k.place = d.Subject.String()
	}
	f, known := g.first[k]
	if !known {
		f, g.first[k] = d, d
	}
	g.differs[f] = g.differs[f] || f.Detail != d.Detail
	if x := (instanceProblem{f, a}); !g.has[x] {
		g.has[x], g.in[f] = true, append(g.in[f], a)
	}
	return !known
}

// name adds to a problem the instances that have it. If its words differ between them, they are the first one's.
func (g *gathered) name(d *hcl.Diagnostic) { d.Detail = adds(d, where(g.in[d], g.differs[d])) }

// Merge joins the problems of a block's instances. A problem that several instances have at the same place is reported
// once, with their addresses unless all have it in the same words.
func Merge(b *Block, instances []Each, problems []hcl.Diagnostics) (diags hcl.Diagnostics) {
	for i, each := range instances {
		b.tooLate(problems[i], each)
		problems[i] = b.cite(problems[i])
	}
	if len(instances) == 1 {
		return tag(b.in, problems[0])
	}
	g := newGathered()
	for i, list := range problems {
		for _, d := range list {
			if g.add(d, b.Instance(instances[i])) {
				diags = append(diags, d)
			}
		}
	}
	for _, d := range diags {
		if g.differs[d] || len(g.in[d]) < len(instances) {
			g.name(d)
		}
	}
	return tag(b.in, diags)
}

// where names the instances that have a problem. If its words differ between them, they are the first one's.
func where(list []addr.Addr, differs bool) string {
	var names []string
	for _, a := range list[:min(3, len(list))] {
		names = append(names, a.String())
	}
	more := ""
	if n := len(list) - len(names); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	if differs && len(names) > 1 {
		return fmt.Sprintf(" This is in %s; there are similar problems in %s%s.",
			names[0], strings.Join(names[1:], ", "), more)
	}
	return fmt.Sprintf(" This is in %s%s.", strings.Join(names, ", "), more)
}

// Join reports problems of modules once that several instances have at the same place, and says which.
func Join(diags hcl.Diagnostics) (list hcl.Diagnostics) {
	g := newGathered()
	for _, d := range diags {
		o, ok := d.Extra.(origin)
		if !ok || d.Subject == nil || g.add(d, addr.Addr{Module: o.path}) {
			list = append(list, d)
		}
	}
	for _, d := range list {
		if paths := g.in[d]; len(paths) > 1 || len(paths) == 1 && !strings.Contains(d.Detail, paths[0].Module) {
			g.name(d)
		}
		if of, ok := FailedIn(d); ok {
			d.Extra = of
		} else if o, ok := d.Extra.(origin); ok {
			d.Extra = o.extra
		}
	}
	return list
}
