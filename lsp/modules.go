package lsp

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"stepflow/dsl"
	"stepflow/dsl/addr"
)

// call is a module block: a use of another folder.
type call struct {
	name   string
	source string // as it is written
	inputs []*item
}

// calls lists the module blocks of an outline.
func (o *outline) calls() (list []call) {
	for _, x := range o.items {
		if !x.block || o.text(x.name) != "module" || len(x.labels) == 0 {
			continue
		}
		c := call{name: o.label(x, 0)}
		for _, a := range x.items {
			switch name := o.text(a.name); {
			case name == "source":
				c.source = o.literal(a)
			case a.equals && !isCallSetting(name):
				c.inputs = append(c.inputs, a)
			}
		}
		list = append(list, c)
	}
	return list
}

// isCallSetting reports whether an attribute of a module block has the same meaning in each, and is not an input.
func isCallSetting(name string) bool {
	body, _ := dsl.BodyOf([]dsl.Head{{Type: "module"}})
	return body.Attr(name) != nil
}

// literal returns the text that is the value of an attribute; "" if it is not a text in quotes.
func (o *outline) literal(x *item) string {
	if v := x.value; len(v) >= 3 && v[0].kind == hclsyntax.TokenOQuote && v[1].kind == hclsyntax.TokenQuotedLit &&
		v[2].kind == hclsyntax.TokenCQuote {
		return o.text(v[1].span)
	}
	return ""
}

// folder returns the folder that a module block in another names; "" if it is none, such as an archive.
func (c *call) folder(dir string) string {
	path, sub, _ := strings.Cut(c.source, "//")
	if path == "" {
		return ""
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	path = filepath.Join(path, sub)
	if st, err := os.Stat(path); err != nil || !st.IsDir() {
		return ""
	}
	return path
}

// callPlace is a module block with the file that it is in.
type callPlace struct {
	file *file
	part part
	*call
}

// callsIn lists the module blocks in the files of a folder.
func (s *session) callsIn(dir string) (list []callPlace) {
	for _, f := range s.filesOf(dir) {
		for _, p := range f.parts {
			for i := range p.calls {
				list = append(list, callPlace{f, p, &p.calls[i]})
			}
		}
	}
	return list
}

// moduleDir returns the folder of a module that is called in another; "" if it is not known.
func (s *session) moduleDir(dir, name string) string {
	for _, c := range s.callsIn(dir) {
		if c.name == name {
			return c.folder(dir)
		}
	}
	return ""
}

// target is what is named at a place: its address in the folder where it is declared.
type target struct {
	dir  string
	addr addr.Addr
	at   span // the name, in the part of the place
}

// target returns what is named at a place; nil if nothing is that somebody declares.
func (s *session) target(x *spot) *target {
	if n := x.name(); n != nil {
		i := x.step(n)
		switch {
		case i < 0:
			return &target{x.dir(), n.addr, n.at}
		case n.addr.Kind == "module":
			return s.inModule(x, n, i)
		}
		return nil
	}
	if it := x.item; len(x.blocks) == 1 && it != nil && it.equals && it.name.holds(x.at) {
		head := x.heads()[0]
		if name := x.part.text(it.name); head.Type == "module" && len(head.Labels) > 0 && !isCallSetting(name) {
			if dir := s.moduleDir(x.dir(), head.Labels[0]); dir != "" {
				return &target{dir, addr.Addr{Kind: "var", Name: name}, it.name}
			}
		}
	}
	return nil
}

// inModule returns what a step of a reference to a module names: an output, or in an address a block.
func (s *session) inModule(x *spot, n *name, step int) *target {
	dir := s.moduleDir(x.dir(), n.addr.Name)
	if dir == "" {
		return nil
	}
	a, last := inside(x.part.outline, n)
	if step > last {
		return nil
	}
	return &target{dir, a, n.steps[last]}
}

// inside returns the address in a module that follows the name of the module, and the step that ends it.
func inside(o *outline, n *name) (a addr.Addr, last int) {
	kind := o.text(n.steps[0])
	typed, known := roots[kind]
	known = known && kind != "output"
	switch {
	case known && typed && len(n.steps) > 2:
		return addr.Addr{Kind: kind, Type: o.text(n.steps[1]), Name: o.text(n.steps[2])}, 2
	case known && !typed && len(n.steps) > 1:
		return addr.Addr{Kind: kind, Name: o.text(n.steps[1])}, 1
	}
	return addr.Addr{Kind: "output", Name: kind}, 0
}

// everywhere lists where something is declared and used: in its folder, and where its folder is called as a module.
func (s *session) everywhere(t *target) []place {
	list := s.names(t.dir, func(n *name) bool { return n.addr == t.addr })
	for _, dir := range s.pipelines() {
		var called []string
		for _, c := range s.callsIn(dir) {
			if c.folder(dir) != t.dir {
				continue
			}
			called = append(called, c.name)
			for _, x := range c.inputs {
				if t.addr == (addr.Addr{Kind: "var", Name: c.part.text(x.name)}) {
					list = append(list, place{c.file, c.part, &name{addr: t.addr, at: x.name, in: "module"}})
				}
			}
		}
		list = append(list, s.usesThrough(dir, called, t.addr)...)
	}
	return list
}

// usesThrough lists where something in modules is used through the names of their blocks.
func (s *session) usesThrough(dir string, modules []string, a addr.Addr) (list []place) {
	if len(modules) == 0 {
		return nil
	}
	for _, u := range s.names(dir, func(n *name) bool {
		return n.addr.Kind == "module" && !n.declared && len(n.steps) > 0 && slices.Contains(modules, n.addr.Name)
	}) {
		if b, last := inside(u.part.outline, u.name); b == a {
			list = append(list, place{u.file, u.part, &name{addr: a, at: u.steps[last], in: u.in}})
		}
	}
	return list
}
