package dsl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Summary returns the type of an attribute, and whether it is required or what its default is, in a line.
func (a Attr) Summary() string {
	s := typeName(a)
	switch {
	case a.Required:
		s += ", required"
	case a.Default != cty.NilVal:
		s += ", default " + Show(a.Default)
	}
	return s
}

// Describe returns what the reference says of an attribute, in Markdown.
func (a Attr) Describe() string {
	parts := []string{a.Doc}
	if r := a.rangeText(); r != "" {
		parts = append(parts, r+".")
	}
	if a.OneOf != nil {
		parts = append(parts, "One of `"+strings.Join(a.OneOf, "`, `")+"`.")
	}
	if a.Unit != "" {
		parts = append([]string{"In " + a.Unit + "."}, parts...)
	}
	if a.Only != nil {
		parts = append(parts, "For "+strings.Join(a.Only, ", ")+".")
	}
	return strings.Join(parts, " ")
}

// IsBool reports whether an attribute is true or false.
func (a Attr) IsBool() bool { return a.Ref == nil && a.Type == cty.Bool }

// IsText reports whether an attribute is a text.
func (a Attr) IsText() bool { return a.Ref == nil && a.Type == cty.String }

// Summary returns the type of an export, and when it is known, in a line.
func (e Export) Summary() string {
	known := "known in the plan"
	if e.Late {
		known = "known after it ran"
	}
	return e.Type.FriendlyName() + ", " + known
}

// Signature is how a function is called.
type Signature struct {
	Name   string
	Params []Param
	Doc    string
}

// Param is a parameter of a function.
type Param struct {
	Name string // as it is shown: name: type
	Doc  string
	Many bool // any number of arguments, or none
}

// String returns the signature in a line.
func (s *Signature) String() string {
	var names []string
	for _, p := range s.Params {
		names = append(names, p.Name)
	}
	return s.Name + "(" + strings.Join(names, ", ") + ")"
}

// functionOf returns a function by its name, with files read from the current folder.
func functionOf(name string) (f function.Function, ok bool) {
	if f, ok = standard[name]; ok {
		return f, true
	}
	if f, ok = own[name]; ok {
		return f, true
	}
	if in, ok := inFolder[name]; ok {
		return in("."), true
	}
	return f, false
}

// SignatureOf returns how a function is called; nil if there is none of that name.
func SignatureOf(name string) *Signature {
	s := &Signature{Name: name}
	if name == templateFile {
		s.Params = []Param{{Name: "path: string"}, {Name: "vars: any"}}
		s.Doc = "The text of a file, in which `${…}` and `%{…}` stand for values of `vars`."
		return s
	}
	f, ok := functionOf(name)
	if !ok {
		return nil
	}
	s.Doc = f.Description()
	for _, p := range f.Params() {
		s.Params = append(s.Params, Param{Name: p.Name + ": " + paramType(p.Type), Doc: p.Description})
	}
	if p := f.VarParam(); p != nil {
		s.Params = append(s.Params, Param{Name: p.Name + "...: " + paramType(p.Type), Doc: p.Description,
			Many: true})
	}
	if i := slices.IndexFunc(Own, func(x struct{ Signature, Doc string }) bool {
		return strings.HasPrefix(x.Signature, name+"(")
	}); i >= 0 {
		s.Doc = Own[i].Doc
	}
	if d := Different[name]; d != "" {
		s.Doc = strings.TrimSpace(fmt.Sprintf("%s\n\nOther than in Terraform: %s", s.Doc, d))
	}
	if s.Doc == "" {
		s.Doc = "As in Terraform."
	}
	for _, g := range functionGroups {
		for _, x := range g.examples {
			if strings.HasPrefix(x.call, name+"(") {
				s.Doc += fmt.Sprintf("\n\n`%s` is `%s`.", x.call, x.want)
			}
		}
	}
	return s
}

// paramType names the type of a parameter.
func paramType(t cty.Type) string {
	return strings.NewReplacer("dynamic", "any", " closure", "").Replace(t.FriendlyName())
}
