package lsp

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"stepflow/dsl"
	"stepflow/dsl/addr"
)

// hover says what is known of the name at a place.
func (s *session) hover(p positionParams) (*Hover, error) {
	x, err := s.spotAt(p)
	if err != nil {
		return nil, err
	}
	text, at := s.explain(x)
	if text == "" {
		return nil, nil
	}
	return &Hover{Contents: markdown(text), Range: x.rangeOf(x.part, at)}, nil
}

// explain returns what is known of the name at a place, and where the name is.
func (s *session) explain(x *spot) (text string, at span) {
	if t := s.target(x); t != nil {
		return s.explainTarget(x, t), t.at
	}
	if n := x.name(); n != nil {
		return s.explainExport(x, n)
	}
	o, it := x.part.outline, x.item
	switch {
	case it == nil || x.isValues():
		return "", at
	case it.name.holds(x.at) && it.equals:
		return x.attribute(x.heads(), o.text(it.name)), it.name
	case it.equals:
		return word(o, it.value, x.at)
	}
	for _, l := range append([]span{it.name}, it.labels...) {
		if l.holds(x.at) {
			return x.block(append(x.heads(), heads(o, []*item{it})...)), l
		}
	}
	return "", at
}

// attribute explains an attribute of the innermost block.
func (f *file) attribute(path []dsl.Head, name string) string {
	body := f.bodyOf(path)
	a := body.Attr(name)
	if a == nil {
		return ""
	}
	return fmt.Sprintf("`%s`: %s\n\n%s", a.Name, a.Summary(), a.Describe())
}

// block explains the innermost block.
func (f *file) block(path []dsl.Head) string {
	last := path[len(path)-1].Type
	if len(path) == 1 && !f.isTest() {
		list := dsl.TopLevel()
		if i := slices.IndexFunc(list, func(k dsl.Kind) bool { return k.Name == last }); i >= 0 {
			return fmt.Sprintf("`%s`\n\n%s", list[i].Form(), list[i].Doc)
		}
		return ""
	}
	body := f.bodyOf(path[:len(path)-1])
	if n := body.Block(last); n != nil {
		return fmt.Sprintf("`%s`\n\n%s", n.Form(), n.Doc)
	}
	return ""
}

// builtIn are the names that an expression may use and nobody declares. Some need an attribute in the outermost block.
var builtIn = []struct{ name, needs, doc string }{
	{"path.module", "", "The folder of these files, as an absolute path."},
	{"path.root", "", "The folder of the pipeline, as an absolute path."},
	{"path.cwd", "", "The folder in which stepflow was started."},
	{"each.key", "for_each", "The key of this instance of a block with `for_each`."},
	{"each.value", "for_each", "The value of this instance of a block with `for_each`."},
	{"count.index", "count", "The number of this instance of a block with `count`, from 0."},
}

// word explains a function, or a name that nobody declares, in an expression.
func word(o *outline, value []token, at int) (text string, where span) {
	for i, t := range value {
		if t.kind != hclsyntax.TokenIdent || !t.holds(at) {
			continue
		}
		if i+1 < len(value) && value[i+1].kind == hclsyntax.TokenOParen {
			if f := dsl.SignatureOf(o.text(t.span)); f != nil {
				return fmt.Sprintf("`%s`\n\n%s", f, f.Doc), t.span
			}
		}
	}
	for _, c := range chains(value) {
		if len(c) < 2 || !(span{c[0].start, c[1].end}).holds(at) {
			continue
		}
		name := o.text(c[0]) + "." + o.text(c[1])
		for _, b := range builtIn {
			if b.name == name {
				return fmt.Sprintf("`%s`\n\n%s", name, b.doc), span{c[0].start, c[1].end}
			}
		}
	}
	return "", where
}

// explainExport explains a value that a block offers.
func (s *session) explainExport(x *spot, n *name) (string, span) {
	i := x.step(n)
	k := dsl.KindOf(n.addr.Kind)
	if k == nil || i != 0 {
		return "", n.steps[i]
	}
	for _, e := range k.Offered(n.addr.Type) {
		if e.Name == x.part.text(n.steps[0]) {
			return fmt.Sprintf("`%s.%s`: %s\n\n%s", n.addr, e.Name, e.Summary(), e.Doc), n.steps[0]
		}
	}
	return "", n.steps[0]
}

// explainTarget explains something that is declared.
func (s *session) explainTarget(x *spot, t *target) string {
	d := s.declared(t.dir, t.addr)
	if d == nil {
		return ""
	}
	parts := []string{fmt.Sprintf("`%s`%s", t.addr, s.showValue(t.dir, t.addr))}
	if f := s.folders[t.dir]; t.addr.Kind == "var" && f != nil && f.config != nil {
		if v := f.config.Variables[t.addr.Name]; v != nil && v.Description != "" {
			parts = append(parts, v.Description)
		}
	}
	parts = append(parts, excerpt(d))
	if k := dsl.KindOf(t.addr.Kind); k != nil {
		parts = append(parts, k.Doc)
	}
	if d.file != x.file {
		name := d.file.path
		if rel, err := filepath.Rel(x.dir(), name); err == nil {
			name = filepath.ToSlash(rel)
		}
		parts = append(parts, "In "+name+".")
	}
	return strings.Join(parts, "\n\n")
}

// showValue returns " = VALUE" of a variable or a local, as the folder was checked last; "" if it is not known.
func (s *session) showValue(dir string, a addr.Addr) string {
	f := s.folders[dir]
	if f == nil || f.config == nil || a.Kind != "var" && a.Kind != "local" {
		return ""
	}
	v, _, diags := f.config.NewScope().Eval(a.String(), nil)
	if diags.HasErrors() || !v.IsWhollyKnown() {
		return ""
	}
	text := strings.Join(strings.Fields(dsl.Show(v)), " ")
	if len(text) > longest {
		return ""
	}
	return " = `" + text + "`"
}

// Bounds of what a hover shows of a declaration and of a value.
const (
	longest   = 200
	mostLines = 16
)

// excerpt returns the first lines of a declaration, in Markdown.
func excerpt(d *place) string {
	lines := strings.Split(strings.ReplaceAll(d.part.text(d.whole), "\r\n", "\n"), "\n")
	if len(lines) > mostLines {
		lines = append(lines[:mostLines], "…")
	}
	return "```hcl\n" + strings.Join(lines, "\n") + "\n```"
}
