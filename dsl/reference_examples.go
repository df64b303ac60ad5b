package dsl

import (
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// examples holds the examples of the language page: a file each, or a folder where an example has several files. Their
// names start with the kind of block that they show, or name the section. In them, a comment says what an expression
// comes to: after → where it stands behind an attribute, and before it the expression where it has a line of its own.
//
//go:embed examples
var examples embed.FS

// ExamplePipeline is the example of a whole pipeline. The blocks of other examples stand in it, in place of its own of
// the same address.
const ExamplePipeline = "pipeline"

// Examples returns the examples by name: the names and the texts of their files.
func Examples() map[string]map[string]string {
	all := map[string]map[string]string{}
	err := fs.WalkDir(examples, "examples", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := examples.ReadFile(p)
		name, file, several := strings.Cut(strings.TrimPrefix(p, "examples/"), "/")
		if !several {
			name, file = strings.TrimSuffix(name, path.Ext(name)), name
		}
		if all[name] == nil {
			all[name] = map[string]string{}
		}
		all[name][file] = string(text)
		return err
	})
	if err != nil {
		panic("dsl: the examples: " + err.Error()) // they are part of the program
	}
	return all
}

// ExamplesOf lists the examples of a kind of block: the general one, those of its types in their order, and others.
func ExamplesOf(k *Kind) (names []string) {
	for n := range Examples() {
		if n == k.Name || strings.HasPrefix(n, k.Name+".") {
			names = append(names, n)
		}
	}
	rank := func(name string) int {
		if name == k.Name {
			return -1
		}
		if i := slices.Index(k.Types, strings.TrimPrefix(name, k.Name+".")); i >= 0 {
			return i
		}
		return len(k.Types)
	}
	slices.SortFunc(names, func(a, b string) int {
		if r := rank(a) - rank(b); r != 0 {
			return r
		}
		return strings.Compare(a, b)
	})
	return names
}

// exampleText returns an example as code in Markdown. Each file of several starts with its name.
func exampleText(name string) (string, error) {
	files := Examples()[name]
	if files == nil {
		return "", fmt.Errorf("there is no example %q", name)
	}
	var b strings.Builder
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if len(files) > 1 {
			fmt.Fprintf(&b, "`%s`:\n\n", file)
		}
		fmt.Fprintf(&b, "```%s\n%s```\n\n", strings.TrimPrefix(path.Ext(file), "."), files[file])
	}
	return strings.TrimSuffix(b.String(), "\n\n"), nil
}
