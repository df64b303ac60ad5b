package dsl

import (
	_ "embed" // for the template of the page
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

//go:embed reference.md.tmpl
var referenceText string

// Identity says of which attributes of a kind of block the recipe does not hold what is written.
type Identity struct {
	Idle     map[string]string // those that change no bit, with the reason
	Resolved []string          // those of which the recipe holds what they come to
}

// Reference returns docs/language.md: the prose of reference.md.tmpl with the tables and the examples. kept says what the
// recipes of the kinds of blocks leave out.
func Reference(kept map[string]Identity) string {
	page := template.Must(template.New("").Funcs(template.FuncMap{
		"example":        exampleText,
		"kinds":          kindSections,
		"lifecycle":      lifecycleTables,
		"dynamic":        dynamicTables,
		"ownFunctions":   ownFunctions,
		"functions":      functionTable,
		"otherFunctions": otherFunctions,
		"identity":       func() string { return identityTable(kept) },
		"elsewhere":      func() string { return wordsTable(elsewhere) },
		"otherTools":     func() string { return wordsTable(otherTools) },
		"tests":          testTables,
		"bytes":          FormatBytes,
		"repeatable":     func() string { return kindsWith(func(k *Kind) bool { return k.Repeat }) },
		"idle":           func() string { return kindsWith(func(k *Kind) bool { return k.Repeat && !k.Runs }) },
	}).Parse(referenceText))
	var b strings.Builder
	err := page.Execute(&b, map[string]any{"work": int64(maxWork), "value": int64(maxValue), "source": int64(MaxSource),
		"number": fmt.Sprintf("%.3g", math.MaxFloat64), "nesting": maxNesting})
	if err != nil {
		panic("dsl: the template of the language page: " + err.Error()) // it is part of the program
	}
	return withContents(b.String())
}

// contentsMark is where the table of contents goes.
const contentsMark = "<!-- contents -->\n"

// withContents puts a table of contents into a page in Markdown: a line a section, with its subsections.
func withContents(page string) string {
	var b strings.Builder
	separator := ""
	for _, h := range headings(page) {
		switch h.level {
		case 2:
			fmt.Fprintf(&b, "\n- [%s](#%s)", h.text, h.anchor)
			separator = ": "
		case 3:
			fmt.Fprintf(&b, "%s[%s](#%s)", separator, h.text, h.anchor)
			separator = ", "
		}
	}
	return strings.Replace(page, contentsMark, strings.TrimPrefix(b.String(), "\n")+"\n", 1)
}

// heading is a heading of a page in Markdown. Its anchor is what links to it name.
type heading struct {
	level        int
	text, anchor string
}

// headings lists the headings of a page.
func headings(page string) (list []heading) {
	var code bool
	seen := map[string]int{}
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		marks, text, ok := strings.Cut(strings.TrimSpace(line), " ")
		if code || !ok || strings.Trim(marks, "#") != "" || marks == "" {
			continue
		}
		h := heading{len(marks), text, anchor(text)}
		if seen[h.anchor]++; seen[h.anchor] > 1 {
			h.anchor += fmt.Sprintf("-%d", seen[h.anchor]-1)
		}
		list = append(list, h)
	}
	return list
}

// notInAnchor matches what the anchor of a heading lacks.
var notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)

// anchor returns the name by which links name the first heading with a text.
func anchor(heading string) string {
	return strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

// kindSections returns the sections of all kinds of blocks.
func kindSections() (string, error) {
	var b strings.Builder
	for _, list := range [][]Kind{Meta, Kinds} {
		for i := range list {
			if err := writeKind(&b, &list[i]); err != nil {
				return "", err
			}
		}
	}
	return strings.TrimSuffix(b.String(), "\n\n"), nil
}

// kindsWith names the kinds of blocks that do something.
func kindsWith(has func(k *Kind) bool) string {
	var names []string
	for i := range Kinds {
		if has(&Kinds[i]) {
			names = append(names, "`"+Kinds[i].Name+"`")
		}
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// lifecycleTables returns the tables of what every block may have.
func lifecycleTables() string {
	var b strings.Builder
	writeAttrs(&b, lifecycleBlock.Attrs)
	writeNested(&b, lifecycleBlock.Blocks, "#### ")
	return strings.TrimSuffix(b.String(), "\n\n")
}

// identityTable returns the table of what recipes leave out, in the order of the kinds.
func identityTable(kept map[string]Identity) string {
	var b strings.Builder
	b.WriteString("| block | attribute | because |\n|---|---|---|\n")
	for i := range Kinds {
		k := &Kinds[i]
		for _, n := range slices.Sorted(maps.Keys(kept[k.Name].Idle)) {
			fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", k.Name, n, kept[k.Name].Idle[n])
		}
		if names := slices.Sorted(slices.Values(kept[k.Name].Resolved)); names != nil {
			fmt.Fprintf(&b, "| `%s` | `%s` | what they come to is hashed |\n", k.Name,
				strings.Join(names, "`, `"))
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}
