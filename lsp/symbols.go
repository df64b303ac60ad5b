package lsp

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/dsl"
)

// documentSymbols lists the blocks of a document, with the blocks in them, and variables and locals.
func (s *session) documentSymbols(p documentParams) ([]DocumentSymbol, error) {
	f, err := s.document(p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	list := []DocumentSymbol{}
	for _, x := range f.parts {
		list = append(list, f.symbols(x, x.items, f.isValues())...)
	}
	return list, nil
}

// symbols lists blocks, and attributes if those have names of the user's.
func (f *file) symbols(p part, items []*item, attributes bool) (list []DocumentSymbol) {
	for _, x := range items {
		if !x.block && !(attributes && x.equals) {
			continue
		}
		var labels []string
		for i := range x.labels {
			labels = append(labels, p.label(x, i))
		}
		y := DocumentSymbol{Name: p.text(x.name), Detail: strings.Join(labels, " "), Kind: symbolStruct,
			Range: f.rangeOf(p, x.whole), SelectionRange: f.rangeOf(p, x.name)}
		if x.block {
			y.Children = f.symbols(p, x.items, y.Name == "locals")
		} else {
			y.Kind = symbolConstant
		}
		if n := len(labels); n > 0 {
			y.Name, y.Detail = strings.Join(append([]string{y.Name}, labels...), "."), ""
		}
		list = append(list, y)
	}
	return list
}

// Bounds of the search for pipelines in a workspace.
const (
	mostFolders = 1000
	mostSymbols = 500
)

// symbolKinds are the kinds of symbols of what is declared, if they are not structs.
var symbolKinds = map[string]int{"var": symbolVariable, "local": symbolConstant, "output": symbolProperty,
	"module": symbolModule}

// workspaceSymbols lists what is declared in the pipelines of the workspace and has the letters of a query in its
// address, in their order.
func (s *session) workspaceSymbols(p workspaceSymbolParams) ([]WorkspaceSymbol, error) {
	list := []WorkspaceSymbol{}
	for _, dir := range s.pipelines() {
		for _, d := range s.names(dir, func(n *name) bool { return n.declared && matches(n.addr.String(), p.Query) }) {
			kind := symbolKinds[d.addr.Kind]
			if kind == 0 {
				kind = symbolStruct
			}
			list = append(list, WorkspaceSymbol{Name: d.addr.String(), Kind: kind, Location: d.location()})
			if len(list) == mostSymbols {
				return list, nil
			}
		}
	}
	return list, nil
}

// matches reports whether a text has the letters of a query in their order, as editors search.
func matches(text, query string) bool {
	text = strings.ToLower(text)
	for _, r := range strings.ToLower(query) {
		_, rest, found := strings.Cut(text, string(r))
		if !found {
			return false
		}
		text = rest
	}
	return true
}

// pipelines lists the folders with files of HCL in the workspace, and those of open files.
func (s *session) pipelines() (dirs []string) {
	for dir := range s.folders {
		dirs = append(dirs, dir)
	}
	folders := 0
	for _, root := range s.roots {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil || !d.IsDir():
				return nil // what cannot be read has no pipelines
			case path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
				return filepath.SkipDir
			}
			if folders++; folders > mostFolders {
				return filepath.SkipAll
			}
			if files, _ := dsl.Sources(path); len(files) > 0 {
				dirs = append(dirs, path)
			}
			return nil
		})
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// folding lists the blocks and the values of a document that have several lines.
func (s *session) folding(p documentParams) ([]FoldingRange, error) {
	f, err := s.document(p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	list := []FoldingRange{}
	for _, x := range f.parts {
		list = append(list, f.folds(x, x.items)...)
	}
	return list, nil
}

func (f *file) folds(p part, items []*item) (list []FoldingRange) {
	for _, x := range items {
		r := f.rangeOf(p, x.whole)
		if r.End.Line > r.Start.Line+1 {
			list = append(list, FoldingRange{r.Start.Line, r.End.Line - 1}) // the last bracket stays visible
		}
		list = append(list, f.folds(p, x.items)...)
	}
	return list
}
