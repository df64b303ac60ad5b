package dsl

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

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
	Doc: "Uses the blocks of another folder, once or several times. Every attribute that is not listed here is an " +
		"input: the value of a variable of the module, which may be a whole block such as `data.fineweb_edu.docs`. " +
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
		diags = append(diags, failure(b.Body.MissingItemRange(), "Missing attribute", "module.%s needs source: the folder "+
			"of the module.", x.name))
	}
	return diags
}

// path is the path of the module without the key of an instance.
func (x *call) path() string { return addr.Child(x.in.path, x.name, "") }

// String is the path for messages.
func (x *call) String() string { return x.path() }

// refs lists what the block of the module names, whether or not there are instances that use it.
func (x *call) refs() (refs []reference) {
	list := []hclsyntax.Expression{x.count, x.forEach}
	for _, a := range x.inputs {
		list = append(list, a.Expr)
	}
	for _, e := range list {
		if e != nil {
			r, _ := x.in.refsOfExpr(e, true) // problems are reported where the module is expanded, or once it can be
			refs = append(refs, r...)
		}
	}
	return refs
}

// repeated reports whether the module has count or for_each.
func (x *call) repeated() bool { return x.count != nil || x.forEach != nil }

// keyHint returns the key of an instance to use in a message.
func (x *call) keyHint() string {
	if len(x.instances) > 0 && !x.vague && x.instances[0].Key != "*" {
		return "[" + x.instances[0].Key + "]"
	}
	if x.count != nil {
		return "[0]"
	}
	return `["key"]`
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
