package data

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/task"
	"stepflow/runtime/words"
)

// reference is a set of documents that decontaminate names: a split of other data, or the documents of tasks.
type reference struct {
	name  string
	data  *Data // nil for tasks
	split fineweb.Split
	tasks *task.Suite
}

// slow reports whether a plan leaves the documents unread. It always reads the documents of tasks.
func (r reference) slow() bool {
	return r.data != nil && slices.ContainsFunc(r.data.InFiles(), func(x *Data) bool { return !x.readAtOnce() })
}

// read visits the documents, which are those that were planned.
func (r reference) read(ctx context.Context, visit func(text string) bool) error {
	if r.tasks != nil {
		return r.tasks.Texts(ctx, visit)
	}
	set, err := r.data.Open(ctx, fineweb.OpenSet)
	if err != nil {
		return err
	}
	defer set.Close()
	return set.Texts(r.split, visit)
}

// soundDecontaminate checks that each block says what to keep out.
func soundDecontaminate(d *dsl.Decoded) (diags hcl.Diagnostics) {
	for _, x := range d.List("decontaminate") {
		switch data, tasks := x.Given("data"), x.Given("tasks"); {
		case data && tasks:
			diags = append(diags, x.Error("tasks", "Two sets of documents", "decontaminate takes data or tasks: write a block for each."))
		case !data && !tasks:
			diags = append(diags, x.Error("data", "Nothing to keep out", "decontaminate needs data or tasks: the documents that are "+
				"not to be trained on."))
		case data && x.Given("data_files"):
			diags = append(diags, x.Error("data_files", "No tasks", "data_files names files of tasks: leave it out beside data."))
		}
	}
	return diags
}

// decontaminate plans the sets of documents with which no document to train on may share an n-gram.
func (n *Data) decontaminate(ctx context.Context, p *blocks.Planned, d *dsl.Decoded) (diags hcl.Diagnostics) {
	for i, x := range d.List("decontaminate") {
		r, identity, wrong := reference{}, "", hcl.Diagnostics(nil)
		if x.Given("tasks") {
			r, wrong = n.tasksAgainst(ctx, p, x)
			if !wrong.HasErrors() {
				identity = "tasks " + r.tasks.Identity()
				prefix := fmt.Sprintf("decontaminate[%d].", i)
				delete(p.Hashed, prefix+"data_files") // their content is hashed
				p.Hashed[prefix+"documents"] = r.tasks.Identity()
			}
		} else if ref, word, ok := x.Ref("data"); ok {
			if r, wrong = n.dataAgainst(p, x, ref, word); r.data != nil {
				identity = p.World.ID(ref) + " " + word
			}
		}
		if diags = append(diags, wrong...); identity == "" {
			continue
		}
		n.against = append(n.against, r)
		n.Source.Against = append(n.Source.Against, fineweb.Against{Name: r.name, Identity: identity, Read: r.read, N: x.Int("ngram"),
			MaxMatches: x.Int("max_matches")})
	}
	return diags
}

// tasksAgainst plans the documents of tasks to keep out.
func (n *Data) tasksAgainst(ctx context.Context, p *blocks.Planned, x *dsl.Decoded) (r reference, diags hcl.Diagnostics) {
	r.tasks, diags = task.NewDocuments(ctx, p.World, x, func(a addr.Addr) blocks.Block { return p.Use(a) })
	if diags.HasErrors() {
		return r, diags
	}
	for _, o := range n.against {
		for _, name := range r.tasks.Names {
			if o.tasks != nil && slices.Contains(o.tasks.Names, name) {
				return r, hcl.Diagnostics{x.Error("tasks", "Named twice", fmt.Sprintf("%s is named by a decontaminate block "+
					"before this one.", name))}
			}
		}
	}
	r.name = strings.Join(r.tasks.Names, ", ")
	return r, nil
}

// dataAgainst plans the documents of a split of other data to keep out. r.data is nil if they cannot be kept out.
func (n *Data) dataAgainst(p *blocks.Planned, x *dsl.Decoded, ref addr.Addr, word string) (r reference, diags hcl.Diagnostics) {
	of, _ := p.Use(ref).(*Data)
	if of == nil {
		return r, nil
	}
	split := fineweb.Train
	if word != "" {
		split = Splits[word]
	}
	name := x.Str("data")
	switch {
	case slices.ContainsFunc(of.InFiles(), func(x *Data) bool { return x.Source.Format == "bin" }):
		return r, hcl.Diagnostics{x.Error("data", "Tokens cannot be compared", fmt.Sprintf("%s holds tokens, and "+
			"decontaminate compares the words of texts: name the texts that the tokens were made of.", ref))}
	case split == fineweb.Validation && !of.HoldsOut():
		return r, hcl.Diagnostics{x.Error("data", "Nothing held out", fmt.Sprintf("%s holds no documents out: write "+
			"%s.all for all its documents.", ref, ref))}
	case slices.ContainsFunc(n.against, func(o reference) bool { return o.data == of && o.split == split }):
		return r, hcl.Diagnostics{x.Error("data", "Named twice", fmt.Sprintf("%s is named by a decontaminate block "+
			"before this one.", name))}
	}
	return reference{name: name, data: of, split: split}, nil
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
		return r.data != nil && slices.Contains(r.data.InFiles(), of) && (r.split == split || r.split == fineweb.All)
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
