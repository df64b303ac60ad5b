package dsl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// mostModules is how many instances of modules a pipeline may have in all.
const mostModules = 10_000

// call is a module block: a module with its inputs, once or several times.
type call struct {
	name      string
	in        *module
	rng       hcl.Range
	source    *hclsyntax.Attribute
	inputs    []*hclsyntax.Attribute
	count     hclsyntax.Expression
	forEach   hclsyntax.Expression
	after     []hcl.Expression // addresses of what all blocks of the module come after
	instances []Each
	modules   []*module   // by instance
	uses      []reference // of count or for_each
	state     int         // opened, then expanded
	vague     bool        // which instances there are is not known, or the module could not be read
	all       *named      // what the instances give
	each      *named      // the value of for_each, where each.value is known later than the keys; else nil
}

const (
	opened = iota + 1
	expanded
)

// moduleKind is the row of Meta for module blocks.
var moduleKind = Kind{Name: "module",
	Doc: "Uses the blocks of another folder, once or several times. Every attribute that is not listed here is an input: " +
		"the value of a variable of the module, which may be a whole block such as `data.fineweb_edu.docs`. " +
		"`module.NAME.OUTPUT` is what the module gives back. See [modules.md](modules.md).",
	Attrs: []Attr{
		{Name: "source", Type: cty.String, Required: true,
			Doc: "Folder of `*.hcl` files, relative to the folder of the file that holds this block, or an archive (`.zip`, " +
				"`.tar`, `.tar.gz`, `.tgz`) of one. `PATH//FOLDER` names a folder in it. A text, no expression."},
		{Name: "count", Type: cty.Number, Whole: true,
			Doc: "Number of instances, `module.NAME[0]` and so on; `count.index` in the inputs. Known from variables and " +
				"locals."},
		{Name: "for_each", Type: cty.DynamicPseudoType,
			Doc: "Map or set of strings with an instance for each key, `module.NAME[\"key\"]`; `each.key` and `each.value` in " +
				"the inputs. Known from variables and locals."},
		{Name: "depends_on", Type: strings_,
			Doc: "List of blocks and modules that must have run before any block of the module."},
	}}

// addCall reads a module block.
func (m *module) addCall(b *hclsyntax.Block) (diags hcl.Diagnostics) {
	if len(b.Labels) != 1 {
		return hcl.Diagnostics{failure(b.DefRange(), "Wrong number of labels", `Write module "NAME" { … }.`)}
	}
	x := &call{name: b.Labels[0], in: m, rng: b.DefRange()}
	if !hclsyntax.ValidIdentifier(x.name) {
		return hcl.Diagnostics{failure(b.LabelRanges[0], "Invalid name", "%q cannot be referred to: a name starts with a "+
			"letter and has only letters, digits, _ and -.", x.name)}
	}
	if old := m.callOf[x.name]; old != nil {
		return hcl.Diagnostics{duplicate("module."+x.name, x.rng, old.rng)}
	}
	m.calls, m.callOf[x.name] = append(m.calls, x), x
	x.all = m.name("module", x.name, x.rng)
	x.all.call = x
	for _, sub := range b.Body.Blocks {
		diags = append(diags, failure(sub.TypeRange, "Unknown block", "module.%s has no block %q: inputs are attributes, "+
			"written with \"=\".", x.name, sub.Type))
	}
	for _, a := range sortedAttrs(b.Body) {
		switch a.Name {
		case "source":
			x.source = a
		case "count":
			x.count = a.Expr
		case "for_each":
			x.forEach = a.Expr
		case "depends_on":
			var d hcl.Diagnostics
			if x.after, d = hcl.ExprList(a.Expr); d.HasErrors() {
				diags = append(diags, failure(a.Expr.Range(), "Wrong type",
					"depends_on takes a list of blocks and modules, such as [stage.seed]."))
			}
		default:
			x.inputs = append(x.inputs, a)
		}
	}
	if x.count != nil && x.forEach != nil {
		diags = append(diags, failure(x.forEach.Range(), "Both count and for_each",
			"A module is repeated by count or by for_each, not by both. Remove one."))
	}
	if x.source == nil {
		diags = append(diags, failure(b.Body.MissingItemRange(), "Missing attribute", "module.%s needs source: the folder of "+
			"the module.", x.name))
	}
	return diags
}

// path is the path of the module without the key of an instance.
func (x *call) path() string { return addr.Child(x.in.path, x.name, "") }

// String is the path for messages.
func (x *call) String() string { return x.path() }

// repeated reports whether the module has count or for_each.
func (x *call) repeated() bool { return x.count != nil || x.forEach != nil }

// keyHint returns a key to use in a message.
func (x *call) keyHint() string {
	if x.count != nil {
		return "[0]"
	}
	return `["key"]`
}

// expand finds the modules that a pipeline uses, and adds their instances. open says that variables may be unknown.
func (c *Config) expand(open bool) (diags hcl.Diagnostics) {
	x := &expander{config: c, open: open, scope: c.NewScope()}
	x.scope.early = true
	for i := 0; i < len(c.modules); i++ { // it grows
		for _, call := range c.modules[i].calls {
			diags = append(diags, x.expand(call)...)
		}
	}
	c.arrange()
	return diags
}

// arrange puts the modules in the order in which they are called: each before those that it calls, and these before the
// next.
func (c *Config) arrange() {
	var order []*module
	var visit func(m *module)
	visit = func(m *module) {
		order = append(order, m)
		for _, x := range m.calls {
			for _, child := range x.modules {
				visit(child)
			}
		}
	}
	visit(c.root())
	c.modules = order
}

// expander adds the instances of modules.
type expander struct {
	config *Config
	open   bool
	scope  *Scope // of what is known before any block is
}

// expand adds the instances of a module, after those that its count or for_each needs.
func (e *expander) expand(x *call) (diags hcl.Diagnostics) {
	if x.state != 0 {
		return nil
	}
	x.state = opened
	defer func() { x.state = expanded }()
	src, problem := e.config.sourceOf(x)
	if problem != nil {
		x.vague = true
		return tag(x.in, hcl.Diagnostics{problem})
	}
	diags = tag(x.in, e.instances(x))
	if len(e.config.modules)+len(x.instances) > mostModules {
		x.vague, x.instances = true, nil
		return append(diags, failure(x.rng, "Too many modules", "With %s the pipeline has more than %d instances of modules. "+
			"Use fewer.", x, mostModules))
	}
	if len(x.instances) == 0 && !src.declared { // its errors are found even so
		checked := &Config{Dir: e.config.Dir, Secrets: e.config.Secrets, byAddr: map[addr.Addr]*Block{}, named: map[addr.Addr]*named{},
			byPath: map[string]*module{}, functions: e.config.functions, meter: e.config.meter, concealed: e.config.concealed}
		src.declared = true
		diags = append(diags, append(src.diags, checked.newModule("", src).declare(src.bodies)...)...)
	}
	for i := range x.instances {
		m := e.config.newModule(addr.Child(x.in.path, x.name, x.instances[i].Key), src)
		if m.by = x; src.first == nil {
			src.first = m
		}
		x.modules = append(x.modules, m)
		if d := m.declare(src.bodies); !src.declared {
			src.declared = true
			diags = append(diags, append(src.diags, d...)...)
		}
		m.bind(x, &x.instances[i])
	}
	if len(x.modules) > 0 {
		diags = append(diags, tag(x.in, x.checkInputs(x.modules[0]))...)
	}
	return diags
}

// instances evaluates count or for_each of a module.
func (e *expander) instances(x *call) (diags hcl.Diagnostics) {
	expr, list := x.count, byCount
	switch {
	case x.forEach != nil:
		expr, list = x.forEach, byKey
	case x.count == nil:
		x.instances = []Each{{}}
		return nil
	}
	if diags = e.before(x.in, expr, map[hclsyntax.Expression]bool{}); diags.HasErrors() {
		x.vague = true
		return diags
	}
	uses, d := x.in.refsOfExpr(expr, false)
	x.uses = uses
	if diags = append(diags, d...); d.HasErrors() {
		x.vague = true
		return diags
	}
	v, d := expr.Value(e.scope.context(x.in, uses, nil))
	if diags = append(diags, d...); d.HasErrors() {
		x.vague = true
		return diags
	}
	instances, problem := list(v, expr.Range())
	if problem == nil {
		x.instances = instances
		if x.forEach != nil && !v.IsWhollyKnown() {
			x.lazy()
		}
		return diags
	}
	x.vague = true
	if problem.Extra != tooEarly {
		return append(diags, problem)
	}
	find := func(is func(addr.Addr) bool) (found addr.Addr) {
		seen := map[addr.Addr]bool{}
		for _, r := range uses {
			if found.Kind == "" {
				found = e.first(r.addr, is, seen)
			}
		}
		return found
	}
	if e.open && find(e.unset).Kind != "" {
		x.instances = []Each{{Key: "*", Unknown: x.count != nil, Name: cty.UnknownVal(cty.String), Value: cty.DynamicVal}}
		if x.count != nil {
			x.instances[0].Name = cty.NilVal
		}
		return diags
	}
	if b := find(func(a addr.Addr) bool { return e.config.byAddr[a] != nil }); b.Kind != "" {
		diags = append(diags, failure(expr.Range(), "Unknown instances", "How many instances %s has must be known when the "+
			"pipeline is loaded, from variables and locals alone; this depends on %s. To repeat by what a block gives, "+
			"repeat the blocks inside the module.", x, b))
	}
	return diags // else what it needs has errors
}

// unset reports whether an address is that of a variable of the pipeline that has no value.
func (e *expander) unset(a addr.Addr) bool {
	v := e.config.Variables[a.Name]
	return a.Kind == "var" && a.Module == "" && v != nil && !v.Value.IsWhollyKnown()
}

// lazy notes that each.value is known later than the keys are.
func (x *call) lazy() {
	x.each = &named{addr: addr.Addr{Module: x.path(), Kind: "for_each"}, rng: x.rng, expr: x.forEach, in: x.in}
	x.in.names = append(x.in.names, x.each)
	x.in.config.named[x.each.addr] = x.each
}

// of returns the instance with each.value taken from the value of for_each.
func (e *Each) of(all cty.Value) *Each {
	now := *e
	now.Value = cty.DynamicVal
	all, marks := all.Unmark()
	switch key := e.Name; {
	case !all.IsKnown() || all.IsNull():
	case all.Type().IsObjectType() && all.Type().HasAttribute(key.AsString()):
		now.Value = all.GetAttr(key.AsString())
	case all.Type().IsMapType() && all.HasIndex(key).True():
		now.Value = all.Index(key)
	}
	now.Value = now.Value.WithMarks(marks)
	return &now
}

// before expands the modules that an expression needs, also through names.
func (e *expander) before(m *module, expr hclsyntax.Expression, seen map[hclsyntax.Expression]bool) (diags hcl.Diagnostics) {
	if seen[expr] {
		return nil
	}
	seen[expr] = true
	for _, t := range expr.Variables() {
		name := stepName(t, 1)
		var n *named
		switch t.RootName() {
		case "local":
			n = m.localOf[name]
		case "var":
			n = m.inputOf[name]
		case "module":
			x := m.callOf[name]
			if x == nil {
				continue
			}
			if x.state == opened {
				return append(diags, failure(t.SourceRange(), "Cycle", "The instances of %s depend on its own outputs. Remove "+
					"this reference.", x))
			}
			diags = append(diags, e.expand(x)...)
			for _, child := range x.modules {
				for _, o := range child.outputOf {
					diags = append(diags, e.before(child, o.expr, seen)...)
				}
			}
		}
		if n != nil {
			diags = append(diags, e.before(n.in, n.expr, seen)...)
		}
	}
	return diags
}

// first returns the first of what a name is made of for which is holds; the zero Addr if there is none.
func (e *expander) first(a addr.Addr, is func(addr.Addr) bool, seen map[addr.Addr]bool) addr.Addr {
	if is(a) {
		return a
	}
	n := e.config.named[a]
	if n == nil || seen[a] {
		return addr.Addr{}
	}
	seen[a] = true
	refs := n.resolve()
	if n.call != nil {
		refs = slices.Concat(n.call.uses, refs)
	}
	for _, r := range refs {
		if found := e.first(r.addr, is, seen); found.Kind != "" {
			return found
		}
	}
	return addr.Addr{}
}

// checkInputs reports inputs that a module does not declare, and those that are missing.
func (x *call) checkInputs(m *module) (diags hcl.Diagnostics) {
	given := map[string]bool{}
	names := slices.Sorted(maps.Keys(m.variables))
	for _, a := range x.inputs {
		given[a.Name] = true
		if m.variables[a.Name] != nil || x.source == nil {
			continue
		}
		hint := insteadOr(a.Name, append(attrNames(moduleKind.Attrs, ""), names...))
		if len(names) > 0 && hint == "" {
			hint = " It declares " + strings.Join(names, ", ") + "."
		}
		diags = append(diags, failure(a.NameRange, "Unknown input", "The module %s declares no variable %q.%s",
			x, a.Name, hint))
	}
	for _, name := range names {
		if v := m.variables[name]; !given[name] && !v.hasDefault {
			diags = append(diags, failure(x.rng, "Missing input", "%s needs %s: the variable at %s has no default. Write %s = … "+
				"here.", x, name, place(v.Range), name))
		}
	}
	return diags
}

// bind gives a module the inputs of its call.
func (m *module) bind(x *call, each *Each) {
	if !x.repeated() {
		each = nil
	}
	given := map[string]*hclsyntax.Attribute{}
	for _, a := range x.inputs {
		given[a.Name] = a
	}
	for _, name := range slices.Sorted(maps.Keys(m.variables)) {
		v := m.variables[name]
		n := m.name("var", name, v.Range)
		n.variable, n.in, n.each, n.of, m.inputOf[name] = v, x.in, each, x, n
		switch a := given[name]; {
		case a != nil:
			n.expr = a.Expr
			m.config.conceal(v, a.Expr.Range())
		case v.hasDefault:
			n.expr = &hclsyntax.LiteralValueExpr{Val: v.fallback, SrcRange: v.Range}
		default:
			n.expr, n.variable = nothing(x.rng), nil
		}
	}
}

// input converts the value of an input to the type of the variable, and checks it.
func (s *Scope) input(n *named, v *namedValue) {
	at := n.expr.Range()
	v.value, v.diags = n.variable.convert(s.config.meter, v.value, "the caller", &at)
	if v.diags.HasErrors() {
		v.value = cty.DynamicVal
		return
	}
	m := s.config.moduleOf(n.addr.Module)
	m.readValidations(n.variable)
	values := map[string]cty.Value{}
	for _, r := range n.variable.uses {
		x, ok := s.value(r.addr)
		if !ok {
			x = cty.DynamicVal
		}
		values[r.addr.Name] = x
	}
	for _, b := range n.variable.validations {
		v.diags = append(v.diags, s.config.validate(n.variable, b, values)...)
	}
	for _, d := range v.diags {
		d.Detail += fmt.Sprintf(" The value is passed at %s.", place(at))
	}
	if v.diags.HasErrors() {
		v.value = n.variable.unknown()
	}
}

// outputs lists what all instances of the module give.
func (x *call) outputs() (refs []reference) {
	for _, m := range x.modules {
		refs = append(refs, m.outputs(x.rng)...)
	}
	return refs
}

// outputs lists what a module gives.
func (m *module) outputs(at hcl.Range) (refs []reference) {
	for _, name := range slices.Sorted(maps.Keys(m.outputOf)) {
		refs = append(refs, reference{m.outputOf[name].addr, at})
	}
	return refs
}

// value returns what the module gives: an object, or for a repeated module a tuple or an object of them.
func (x *call) value(s *Scope) cty.Value {
	return x.valueOf(func(m *module) cty.Value {
		fields := map[string]cty.Value{}
		for name, o := range m.outputOf {
			fields[name], _ = s.value(o.addr)
		}
		return cty.ObjectVal(fields)
	})
}

// valueOf returns what a module gives from what each instance does.
func (x *call) valueOf(give func(m *module) cty.Value) cty.Value {
	switch {
	case x.vague:
		return cty.DynamicVal
	case !x.repeated():
		return give(x.modules[0])
	}
	list := make([]cty.Value, len(x.modules))
	keyed := map[string]cty.Value{}
	for i, m := range x.modules {
		list[i] = give(m)
		if x.forEach != nil {
			keyed[x.instances[i].Name.AsString()] = list[i]
		}
	}
	if x.forEach != nil {
		return cty.ObjectVal(keyed)
	}
	return cty.TupleVal(list)
}

// giveOutputs adds to the names that an expression sees the outputs of modules that it refers to one by one.
func (m *module) giveOutputs(tree map[string]map[string]cty.Value, given map[addr.Addr]cty.Value) {
	for a := range given {
		_, name, _ := addr.Split(a.Module)
		if _, ok := tree["module"][name]; ok {
			continue // all of it
		}
		if tree["module"] == nil {
			tree["module"] = map[string]cty.Value{}
		}
		tree["module"][name] = m.callOf[name].valueOf(func(child *module) cty.Value {
			fields := map[string]cty.Value{}
			for output, o := range child.outputOf {
				if v, ok := given[o.addr]; ok {
					fields[output] = v
				}
			}
			return cty.ObjectVal(fields)
		})
	}
}

// ModuleCall is a module block: the path of the module without the key of an instance, and the keys of its instances,
// which are "" without count and for_each.
type ModuleCall struct {
	Path string
	Keys []string
}

// Instances lists the paths of the module: without a key, and of its instances.
func (x *ModuleCall) Instances() []string {
	list := []string{x.Path}
	parent, name, _ := addr.Split(x.Path)
	for _, key := range x.Keys {
		if key != "" {
			list = append(list, addr.Child(parent, name, key))
		}
	}
	return list
}

// Modules lists the modules of the pipeline, each before those inside it.
func (c *Config) Modules() (list []ModuleCall) {
	for _, m := range c.modules {
		for _, x := range m.calls {
			y := ModuleCall{Path: x.path()}
			for _, each := range x.instances {
				if x.vague {
					break
				}
				y.Keys = append(y.Keys, each.Key)
			}
			list = append(list, y)
		}
	}
	return list
}
