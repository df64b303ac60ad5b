package data

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/runtime/blocks"
	"stepflow/runtime/words"
)

// reference is a set of documents that decontaminate names: a split of other data.
type reference struct {
	name  string
	data  *Data
	split fineweb.Split
}

// slow reports whether a plan does not read the documents.
func (r reference) slow() bool {
	return slices.ContainsFunc(r.data.InFiles(), func(x *Data) bool { return !x.readAtOnce() })
}

// read visits the documents, which are those that were planned.
func (r reference) read(ctx context.Context, visit func(text string) bool) error {
	set, err := r.data.Open(ctx, fineweb.OpenSet)
	if err != nil {
		return err
	}
	defer set.Close()
	return set.Texts(r.split, visit)
}

// decontaminate plans the documents that none to train on may share an n-gram with.
func (n *Data) decontaminate(p *blocks.Planned, d *dsl.Decoded) (diags hcl.Diagnostics) {
	for _, x := range d.List("decontaminate") {
		ref, word, ok := x.Ref("data")
		if !ok {
			continue
		}
		of, _ := p.Use(ref).(*Data)
		if of == nil {
			continue
		}
		r := reference{x.Str("data"), of, fineweb.Train}
		if word != "" {
			r.split = Splits[word]
		}
		switch {
		case slices.ContainsFunc(of.InFiles(), func(x *Data) bool { return x.Source.Format == "bin" }):
			diags = append(diags, x.Error("data", "Tokens cannot be compared", fmt.Sprintf("%s holds tokens, and "+
				"decontaminate compares the words of texts: name the texts that the tokens were made of.", ref)))
			continue
		case r.split == fineweb.Validation && !of.HoldsOut():
			diags = append(diags, x.Error("data", "Nothing held out", fmt.Sprintf("%s holds no documents out: write "+
				"%s.all for all its documents.", ref, ref)))
			continue
		case slices.ContainsFunc(n.against, func(o reference) bool { return o.data == of && o.split == r.split }):
			diags = append(diags, x.Error("data", "Named twice", fmt.Sprintf("%s is named by a decontaminate block "+
				"before this one.", r.name)))
			continue
		}
		n.against = append(n.against, r)
		n.Source.Against = append(n.Source.Against, fineweb.Against{Name: r.name,
			Identity: p.World.ID(ref) + " " + word, Read: r.read, N: x.Int("ngram"), MaxMatches: x.Int("max_matches")})
	}
	return diags
}

// namesAgainst lists what decontaminate names.
func (n *Data) namesAgainst() string {
	var names []string
	for _, r := range n.against {
		names = append(names, r.name)
	}
	return strings.Join(names, " or ")
}

// KeepsOut reports whether no document to train on shares an n-gram with those of a split of other data.
func (n *Data) KeepsOut(of *Data, split fineweb.Split) bool {
	return slices.ContainsFunc(n.against, func(r reference) bool {
		return slices.Contains(r.data.InFiles(), of) && (r.split == split || r.split == fineweb.All)
	})
}

// LeftOut says how many documents are left out, in sentences.
func (n *Data) LeftOut(copies, unclean int64) (sentences []string) {
	if copies > 0 {
		sentences = append(sentences, fmt.Sprintf("%d documents of %s are copies of others and left out (deduplicate)",
			copies, n.Addr))
	}
	if unclean > 0 {
		var names []string
		for _, x := range n.InFiles() {
			for _, r := range x.against {
				names = append(names, r.name)
			}
		}
		slices.Sort(names)
		sentences = append(sentences, fmt.Sprintf("%s of %s left out for n-grams of %s (decontaminate)",
			words.Plural(int(unclean), "document"), n.Addr, strings.Join(slices.Compact(names), " or ")))
	}
	return sentences
}
