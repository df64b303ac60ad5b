package dsl

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// module is a pipeline itself, or an instance of a module: the names that expressions in it see.
type module struct {
	config    *Config
	path      string // as in addr.Addr; empty for the pipeline itself
	dir       string
	source    *folder
	by        *call // nil for the pipeline itself
	variables map[string]*Variable
	names     []*named // in their order: locals, inputs, outputs and calls
	localOf   map[string]*named
	inputOf   map[string]*named
	outputOf  map[string]*named
	calls     []*call
	callOf    map[string]*call
	defaults  []*defaultsBlock
	paths     cty.Value // of path.module and the others
}

// newModule adds a module without anything in it.
func (c *Config) newModule(path string, f *folder) *module {
	m := &module{config: c, path: path, dir: f.dir, source: f, variables: map[string]*Variable{},
		localOf: map[string]*named{}, inputOf: map[string]*named{}, outputOf: map[string]*named{}, callOf: map[string]*call{}}
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "."
	}
	text := func(path string) cty.Value { return cty.StringVal(absolute(path)) }
	m.paths = cty.ObjectVal(map[string]cty.Value{"module": text(f.dir), "root": text(c.Dir), "cwd": cty.StringVal(cwd)})
	c.modules = append(c.modules, m)
	c.byPath[path] = m
	return m
}

// moduleOf returns the instance of a module with a path; nil if there is none.
func (c *Config) moduleOf(path string) *module { return c.byPath[path] }

// callOf returns the module block of a module; nil if there is none.
func (c *Config) callOf(a addr.Addr) *call {
	parent, name, _ := addr.Split(a.Module)
	if m := c.moduleOf(parent); m != nil {
		return m.callOf[name]
	}
	return nil
}

// absolute returns a path that does not depend on the current folder, if that is known.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// caller is the module that calls the module; nil for the pipeline itself.
func (m *module) caller() *module {
	if m.by == nil {
		return nil
	}
	return m.by.in
}

// first reports whether the module is the first of those that use its folder.
func (m *module) first() bool { return m.path == "" || m.source.first == m }

// addr returns the address of the module, with all that is in it.
func (m *module) addr() addr.Addr { return addr.Addr{Module: m.path} }

// name adds a name to the module.
func (m *module) name(kind, name string, at hcl.Range) *named {
	n := &named{addr: addr.Addr{Module: m.path, Kind: kind, Name: name}, rng: at, in: m}
	m.names = append(m.names, n)
	m.config.named[n.addr] = n
	return n
}

// instead says what to write for the blocks that a module does not have.
var instead = map[string]string{
	"import": " There, its to names the stage in the module, as in module.NAME.stage.seed.",
}

// elsewhere says that the caller of a module has what the module does not; "" if it does not have it either.
func (m *module) elsewhere(a addr.Addr) string {
	up := m.caller()
	if up == nil {
		return ""
	}
	a.Module = up.path
	has := up.config.byAddr[a] != nil || up.config.named[a] != nil
	if a.Kind == "var" {
		has = up.variables[a.Name] != nil
	}
	if !has {
		return ""
	}
	return fmt.Sprintf(" %s is in the caller of this module, and a module sees only its own names: declare a variable "+
		"here, and pass it where the module is called.", a)
}

// origin is the instance of a module in which a problem was found.
type origin struct {
	path  string
	extra any // the Extra that the problem had
}

// tag notes in which module problems were found.
func tag(m *module, diags hcl.Diagnostics) hcl.Diagnostics {
	if m == nil || m.path == "" {
		return diags
	}
	for _, d := range diags {
		if _, ok := d.Extra.(origin); !ok {
			d.Extra = origin{m.path, d.Extra}
		}
	}
	return diags
}
