package dsl

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ownFunctions returns the table of functions that Terraform does not have.
func ownFunctions() string {
	var b strings.Builder
	b.WriteString("| function | |\n|---|---|\n")
	for _, f := range Own {
		fmt.Fprintf(&b, "| `%s` | %s |\n", f.Signature, f.Doc)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// functionTable returns the table of functions that Terraform has too, with an example of each.
func functionTable() string {
	var b strings.Builder
	b.WriteString("| | example | result |\n|---|---|---|\n")
	for _, g := range functionGroups {
		for i, x := range g.examples {
			group := ""
			if i == 0 {
				group = "**" + g.name + "**"
			}
			fmt.Fprintf(&b, "| %s | `%s` | `%s` |\n", group, x.call, x.want)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// otherFunctions returns the tables of functions that differ from Terraform's, and of those that are left out.
func otherFunctions() string {
	var b strings.Builder
	b.WriteString("These differ from Terraform's on purpose:\n\n| function | |\n|---|---|\n")
	for _, n := range slices.Sorted(maps.Keys(Different)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", n, Different[n])
	}
	b.WriteString("\nThese are left out on purpose:\n\n| functions | because |\n|---|---|\n")
	for _, g := range leftOut {
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.Join(g.names, "`, `"), g.why)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
