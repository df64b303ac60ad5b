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
	Rows    int64 // before filters; 0 if unknown, as for remote data that were not looked at and files of tokens
	Copies  int64 // documents that deduplicate leaves out; -1 if only a run will count them
	Unclean int64 // documents that decontaminate leaves out; -1 likewise
	Files   []string
	Content string // identity of the files
	Unseen  string // why remote data were not looked at; "" if they were

	Parts   []*Data // of a mixture, with their weights
	Weights []float64

	against  []reference // what decontaminate names
	bytes    int64       // of the files
	patterns []string
	contents []fineweb.Content // of the files
	odd      []string          // warnings about the files
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

// Summary says how much data there is.
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
	switch names := n.namesAgainst(); {
	case n.Unclean < 0:
		s += fmt.Sprintf(", without those that hold n-grams of %s, which the run counts", names)
	case len(n.against) > 0:
		s += fmt.Sprintf(", %d of them left out for n-grams of %s", n.Unclean, names)
	}
	return s
}

// Missing returns why remote data were not looked at; "" if they were.
func (n *Data) Missing() string { return n.Unseen }

// Counted reports whether the plan knows how many documents are left out.
func (n *Data) Counted() bool {
	return !slices.ContainsFunc(n.InFiles(), func(x *Data) bool { return x.Copies < 0 || x.Unclean < 0 || x.Unseen != "" })
}

// Reads returns a file of the data in a folder, or a pattern that would match a file exported there; "" if there is
// none.
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

// Sources returns what to open: one source, or those of a mixture.
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

// Opener opens the sources of data, as fineweb.OpenSet does. Cancelling ctx ends reading them.
type Opener = func(ctx context.Context, parts []fineweb.Weighted) (*fineweb.Set, error)

// Open opens data as they were planned. It is an error if files changed since, or other files match: the result would be
// recorded as made from the planned files.
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

// InFiles lists the data in files that n draws from: n itself, or the parts of a mixture.
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

// Conversations reports whether the data are conversations, to tune on.
func (n *Data) Conversations() bool {
	return n.InFiles()[0].Source.Format == fineweb.FormatConversations
}

// Names returns the addresses of the data in files.
func (n *Data) Names() (list []string) {
	for _, x := range n.InFiles() {
		list = append(list, x.Addr.String())
	}
	return list
}

// Contents returns what the files hold, or for data that were not looked at, what their names say.
func (n *Data) Contents() []fineweb.Content {
	if n.contents == nil {
		for _, f := range n.Files {
			n.contents = append(n.contents, fineweb.ContentOf(f))
		}
	}
	return n.contents
}
