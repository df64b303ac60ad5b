package fineweb

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Message is what one side of a conversation says.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Pair is a question about the Go standard library and its answer.
type Pair struct {
	ID       string    `json:"id"`
	Messages []Message `json:"messages"`
}

// Question asks which of several sentences documents a declaration.
type Question struct {
	ID      string   `json:"id"`
	Query   string   `json:"query"`
	Choices []string `json:"choices"`
	Gold    int      `json:"gold"` // of the choices
}

const (
	goChoices = 4   // of a question
	goPairs   = 640 // at most
	goEach    = 8   // pairs of a package at most
	goAnswer  = 240 // bytes of a sentence at most
)

// ask makes pairs of the first declarations of a package.
func ask(rel string, list []declaration) (pairs []Pair) {
	for _, d := range list[:min(goEach, len(list))] {
		pairs = append(pairs, Pair{"go-docs/" + rel + "." + d.name, []Message{
			{"user", fmt.Sprintf("What does %s do in package %s?", d.name, rel)},
			{"assistant", d.name + " " + d.rest}}})
	}
	return pairs
}

// mixedPairs is as many pairs as a sample has, in an order that mixes packages.
func mixedPairs(pairs []Pair) []Pair {
	slices.SortFunc(pairs, func(a, b Pair) int {
		return cmp.Or(cmp.Compare(textHash(a.ID), textHash(b.ID)), cmp.Compare(a.ID, b.ID))
	})
	return pairs[:min(goPairs, len(pairs))]
}

// declaration is an exported function or method whose comment begins with its name.
type declaration struct{ name, rest string } // rest is what follows the name in the first sentence

// declarations lists those of a package, in order, each sentence once.
func declarations(files []*ast.File) (list []declaration) {
	printer, reader := &comment.Printer{TextWidth: -1}, &comment.Parser{}
	seen := map[string]bool{}
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() {
				continue
			}
			name, text := fn.Name.Name, printer.Text(reader.Parse(fn.Doc.Text())) // as GoDocs prints it
			rest, ok := strings.CutPrefix(new(doc.Package).Synopsis(string(text)), name+" ")
			if !ok || len(rest) > goAnswer || strings.Count(rest, " ") < 3 || !utf8.ValidString(rest) || seen[rest] || seen[name] {
				continue
			}
			seen[rest], seen[name] = true, true
			list = append(list, declaration{name, rest})
		}
	}
	return list
}

// choose asks for each declaration which sentence is its own. The other choices are those of the declarations that
// follow it in the package, and the place of the right one is drawn by the declaration's name.
func choose(rel string, list []declaration) (questions []Question) {
	if len(list) < goChoices {
		return nil
	}
	for i, d := range list {
		q := Question{ID: "go-docs/" + rel + "." + d.name, Query: d.name}
		for j := range goChoices - 1 {
			q.Choices = append(q.Choices, list[(i+j+1)%len(list)].rest)
		}
		q.Gold = int(textHash(q.ID) % goChoices)
		q.Choices = slices.Insert(q.Choices, q.Gold, d.rest)
		questions = append(questions, q)
	}
	return questions
}

func textHash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// idOfGoDocs begins the lines of files of pairs and questions.
const idOfGoDocs = `{"id":"go-docs/`

// OfGoDocs reports whether a file holds pairs or questions as GoDocs makes them.
func OfGoDocs(r io.Reader) bool {
	b := make([]byte, len(idOfGoDocs))
	_, err := io.ReadFull(r, b)
	return err == nil && string(b) == idOfGoDocs
}
