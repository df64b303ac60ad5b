// Package data is the data block: documents in files, or drawn from other data.
package data

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
	"stepflow/runtime/durable"
	"stepflow/runtime/exportdir"
	"stepflow/runtime/words"
)

// Kind is the data block.
var Kind = blocks.Kind{Sound: sound, Plan: plan, Idle: map[string]string{
	"cache":  "tokens are the same from a cache",
	"source": "the identity of the files is hashed",
}}

// Data is a planned data block.
type Data struct {
	Addr    addr.Addr
	Source  fineweb.Source
	Rows    int64 // before filters; 0 where it is not known, as of remote data without a look and of files of tokens
	Copies  int64 // documents that deduplicate leaves out; -1 where only a run will count them
	Files   []string
	Content string // identity of the files
	Unseen  string // why remote data were not looked at; "" if they were

	Parts   []*Data // of a mixture, with their weights
	Weights []float64

	patterns []string
	contents []fineweb.Content // of the files
	odd      []string          // what the files are warned of
	sizes    map[*tokenizer.Tokenizer]fineweb.Size
	held     map[splitSize]fineweb.Size
	efforts  map[effortOf]fineweb.Effort
}

var (
	_ blocks.Block  = (*Data)(nil)
	_ blocks.Source = (*Data)(nil)
	_ blocks.Reader = (*Data)(nil)
)

// Identity writes the identity of the files.
func (n *Data) Identity(w io.Writer) { fmt.Fprintf(w, "files %s\n", n.Content) }

// Summary says how much there is.
func (n *Data) Summary() string {
	switch {
	case n.Unseen != "":
		return strings.Join(n.Source.Shown(), ", ") // the warning says why
	case n.Rows == 0:
		return words.Plural(len(n.Files), "file")
	}
	s := fmt.Sprintf("%s in %s", words.Plural(int(n.Rows), "row"), words.Plural(len(n.Files), "file"))
	switch {
	case n.Copies < 0:
		s += ", without copies, which the run counts"
	case n.Source.Deduplicate:
		s += fmt.Sprintf(", %d of them copies of others, left out", n.Copies)
	}
	return s
}

// Missing says why remote data were not looked at; it is empty if they were.
func (n *Data) Missing() string { return n.Unseen }

// Counted reports whether the plan counted the copies, if any are left out.
func (n *Data) Counted() bool {
	return !slices.ContainsFunc(n.InFiles(), func(x *Data) bool { return x.Copies < 0 || x.Unseen != "" })
}

// Reads returns a file or a pattern of the data that lies in a folder, or would once an export is written there.
func (n *Data) Reads(folder, pipeline string) string {
	for _, f := range n.Files {
		if !strings.Contains(f, "://") && durable.LeadsInto(f, folder) {
			return f
		}
	}
	for _, pattern := range n.Source.Patterns {
		if strings.Contains(pattern, "://") {
			continue
		}
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(pipeline, pattern)
		}
		pattern, err := filepath.Abs(pattern)
		if err != nil {
			continue
		}
		for _, name := range exportdir.Names() {
			if ok, _ := filepath.Match(pattern, filepath.Join(folder, name)); ok {
				return pattern
			}
		}
	}
	return ""
}

// Sources are what to open: one, or those of a mixture.
func (n *Data) Sources() []fineweb.Weighted {
	if n.Parts == nil {
		return []fineweb.Weighted{{Name: n.Addr.String(), Source: n.Source, Weight: 1}}
	}
	var list []fineweb.Weighted
	for i, p := range n.Parts {
		s := p.Source
		if e := n.Source.Epochs; e > 0 && s.Epochs == 0 {
			s.Epochs = e
		}
		list = append(list, fineweb.Weighted{Name: p.Addr.String(), Source: s, Weight: n.Weights[i]})
	}
	return list
}

// Opener opens the sources of data, as fineweb.OpenSet does. Reading them ends with ctx.
type Opener = func(ctx context.Context, parts []fineweb.Weighted) (*fineweb.Set, error)

// Open opens data as they were planned. Where files changed since, or others match, it is an error: what is made of them
// would be recorded as made of those that were planned.
func (n *Data) Open(ctx context.Context, opens Opener) (*fineweb.Set, error) {
	set, err := opens(ctx, n.Sources())
	if err != nil {
		return nil, err
	}
	ids, err := set.Identities()
	if err != nil {
		set.Close()
		return nil, err
	}
	for i, p := range n.InFiles() {
		if ids[i] != p.Content {
			set.Close()
			return nil, fmt.Errorf("the files of %s changed since the plan was made: plan again", p.Addr)
		}
	}
	return set, nil
}

// InFiles lists the data in files that it draws from: itself, or those of a mixture.
func (n *Data) InFiles() []*Data {
	if n.Parts == nil {
		return []*Data{n}
	}
	return n.Parts
}

// HoldsOut reports whether there is a validation split.
func (n *Data) HoldsOut() bool {
	return n.Source.ValidationFraction > 0 || slices.ContainsFunc(n.Parts, (*Data).HoldsOut)
}

// Names are the addresses of the data in files.
func (n *Data) Names() (list []string) {
	for _, x := range n.InFiles() {
		list = append(list, x.Addr.String())
	}
	return list
}

// Contents says what the files hold; of data that were not looked at by their names.
func (n *Data) Contents() []fineweb.Content {
	if n.contents == nil {
		for _, f := range n.Files {
			n.contents = append(n.contents, fineweb.ContentOf(f))
		}
	}
	return n.contents
}
