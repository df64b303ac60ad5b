package dsl

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// ConsoleName stands for the text of an expression in problems that Eval finds.
const ConsoleName = "<console>"

// Eval evaluates an expression that stands outside the pipeline, with what is in scope. more are names that it may use
// beside those of the pipeline. file holds the text for the problems.
func (s *Scope) Eval(text string, more map[string]cty.Value) (v cty.Value, file *hcl.File, diags hcl.Diagnostics) {
	src := []byte(text)
	file = &hcl.File{Bytes: src}
	if len(src) > MaxSource {
		diags = hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Expression too long",
			Detail: "An expression may have " + FormatBytes(MaxSource) + "."}}
	} else if diags = checkText(src, ConsoleName); !diags.HasErrors() {
		diags = checkNesting(src, ConsoleName)
	}
	if diags.HasErrors() {
		return cty.DynamicVal, file, diags
	}
	expr, diags := hclsyntax.ParseExpression(src, ConsoleName, hcl.InitialPos)
	if diags.HasErrors() {
		return cty.DynamicVal, file, diags
	}
	m := s.config.meter
	defer func(spent int64, reported bool) { m.spent, m.reported = spent, reported }(m.spent, m.reported)
	var uses []reference
	for _, t := range expr.Variables() {
		if _, ok := more[t.RootName()]; ok {
			continue
		}
		r, d := s.config.root().refOf(t, false)
		uses, diags = append(uses, r...), append(diags, d...)
	}
	diags = append(diags, checkFunctions(expr)...)
	guarded, d := m.guardExpr(expr)
	if diags = append(diags, d...); diags.HasErrors() {
		return cty.DynamicVal, file, diags
	}
	ctx := s.context(s.config.root(), uses, nil)
	maps.Copy(ctx.Variables, more)
	v, diags = guarded.Value(ctx)
	return v, file, s.config.Secrets.Diagnostics(diags)
}

// Opens returns how many brackets a line opens and does not close; less than 0 if it closes others.
func Opens(line string) (n int) {
	tokens, _ := hclsyntax.LexExpression([]byte(line), ConsoleName, hcl.InitialPos)
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen:
			n++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen:
			n--
		}
	}
	return n
}

// Complete lists the names that an expression may use and that start with a text: variables, locals, blocks, what a
// block offers, and functions, which end with a bracket.
func (c *Config) Complete(start string) []string {
	names := []string{"path.module", "path.root", "path.cwd"}
	for n := range c.Variables {
		names = append(names, "var."+n)
	}
	root := c.root()
	for n := range root.localOf {
		names = append(names, "local."+n)
	}
	for _, x := range root.calls {
		names = append(names, x.offered()...)
	}
	for _, f := range FunctionNames() {
		names = append(names, f+"(")
	}
	for _, b := range c.Blocks {
		if b.Kind.Name != "output" && b.in == root {
			names = append(names, c.offered(b, start)...)
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, start) })
	slices.Sort(names)
	return slices.Compact(names)
}

// offered lists a block, and once its name is written what it offers.
func (c *Config) offered(b *Block, start string) []string {
	at, key, ok := b.Addr.String(), "", true
	if rest, named := strings.CutPrefix(start, at+"["); named {
		if key, _, ok = strings.Cut(rest, "]"); ok {
			key = "[" + key + "]"
		}
	}
	if !ok || !strings.HasPrefix(start, at+key+".") {
		return []string{at}
	}
	names := []string{at + key + ".address"}
	for _, e := range b.Kind.Exports {
		if only(e.Only, b.Addr.Type) {
			names = append(names, at+key+"."+e.Name)
		}
	}
	return names
}
