package arch

import (
	"fmt"
	"slices"
	"strings"
)

// Attribute is a field as an attribute of the model block, and on the reference page.
type Attribute struct {
	Field
	Only []string // architectures that have it; empty for all
	Doc  string   // sentences with the defaults
}

// Attributes lists the fields of all architectures, each once: those of Llama in its order, then what others have
// besides.
func Attributes() (list []Attribute) {
	all := All()
	seen := map[string]bool{}
	for _, a := range append([]*Architecture{llama}, all...) {
		for _, f := range a.Fields {
			if !seen[f.Name] {
				seen[f.Name] = true
				list = append(list, attribute(f, all))
			}
		}
	}
	return list
}

// attribute describes a field as the first architecture that has it does; where the defaults of others differ, it
// names them.
func attribute(f Field, all []*Architecture) Attribute {
	x := Attribute{Field: f}
	others := map[string][]string{} // default → architectures
	var order []string
	for _, a := range all {
		i := slices.IndexFunc(a.Fields, func(g Field) bool { return g.Name == f.Name })
		if i < 0 {
			continue
		}
		x.Only = append(x.Only, a.Type)
		if u := a.Fields[i].usual(); u != f.usual() {
			if others[u] == nil {
				order = append(order, u)
			}
			others[u] = append(others[u], "`"+a.Type+"`")
		}
	}
	if len(x.Only) == len(all) {
		x.Only = nil
	}
	x.Doc = f.sentence()
	for i, u := range order {
		order[i] = fmt.Sprintf("%s: %s", strings.Join(others[u], ", "), u)
	}
	if len(order) > 0 {
		x.Doc = strings.TrimSuffix(x.Doc, ".") + " (" + strings.Join(order, "; ") + ")."
	}
	return x
}

// sentence is what the field is and its default.
func (f Field) sentence() string {
	usual := f.usual()
	switch {
	case usual == "":
		return f.Doc + "."
	case f.Doc == "":
		return "Default " + usual + "."
	case f.defaultText != "":
		return f.Doc + "; default: " + usual + "."
	}
	return f.Doc + "; default " + usual + "."
}
