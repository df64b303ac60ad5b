package dsl

import (
	"fmt"
	"slices"
	"strings"
)

// wording is what to write in place of words of other tools.
type wording struct {
	instead string
	words   []string
}

// insteadOf returns a sentence on what to write in place of a word of another tool; "" for other words.
func insteadOf(word string) string {
	for _, g := range slices.Concat(elsewhere, otherTools) {
		if slices.Contains(g.words, word) {
			return " " + strings.ReplaceAll(g.instead, "`", "")
		}
	}
	return ""
}

// insteadOr is insteadOf, or for other words the nearest of the names that are known.
func insteadOr(word string, known []string) string {
	if s := insteadOf(word); s != "" {
		return s
	}
	return Suggest(word, known)
}

// wordsTable is a table of words of other tools, for the reference.
func wordsTable(list []wording) string {
	var b strings.Builder
	b.WriteString("| word | instead |\n|---|---|\n")
	for _, g := range list {
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.Join(g.words, "`, `"), g.instead)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
