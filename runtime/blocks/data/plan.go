package data

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/chat"
	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/runtime/blocks"
	"stepflow/runtime/state"
)

// Splits are the splits of data, by the word after its address.
var Splits = map[string]fineweb.Split{"validation": fineweb.Validation, "all": fineweb.All}

// sound checks the filters of data.
func sound(_ addr.Addr, d *dsl.Decoded) (diags hcl.Diagnostics) {
	if err := fineweb.CheckFilter(d.Str("filter")); err != nil {
		diags = append(diags, d.Error("filter", "Invalid filter", blocks.Sentence(err.Error())+"."))
	}
	if d.Known("dump") && len(stringsOf(d, "dump")) == 0 {
		diags = append(diags, d.Error("dump", "Invalid value",
			"dump takes the name of a crawl, such as \"CC-MAIN-2024-10\", or a list of them."))
	}
	if low, high := "min_token_count", "max_token_count"; d.Has(low) && d.Has(high) && d.Known(low) && d.Known(high) && d.Int(low) > d.Int(high) {
		diags = append(diags, d.Error(low, "Nothing is kept",
			fmt.Sprintf("%s %d is above %s %d: no row has both.", low, d.Int(low), high, d.Int(high))))
	}
	return append(append(diags, soundDecontaminate(d)...), blocks.SoundHome(d, "source")...)
}

func optional[T any](d *dsl.Decoded, name string, get func(string) T) *T {
	if !d.Has(name) {
		return nil
	}
	v := get(name)
	return &v
}

func plan(ctx context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	node := &Data{Addr: p.Addr, sizes: map[*tokenizer.Tokenizer]fineweb.Size{}}
	p.Block = node
	known := map[string]cty.Value{}
	for word := range Splits {
		known[word] = cty.ObjectVal(map[string]cty.Value{"address": cty.StringVal(p.Addr.String() + "." + word)})
	}
	node.Source.Epochs = int64(d.Int("epochs"))
	var diags hcl.Diagnostics
	if p.Addr.Type == "mixture" {
		diags = node.mixture(p, d)
	} else {
		diags = node.files(ctx, p, d)
	}
	if diags.HasErrors() || len(node.Files) == 0 {
		return known, diags
	}
	if known["files"] = blocks.Number(len(node.Files)); node.Rows > 0 {
		known["rows"] = blocks.Number(node.Rows)
	}
	return known, diags
}

// files plans data that lie in files.
func (n *Data) files(ctx context.Context, p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	w := p.World
	s := fineweb.Source{Format: p.Addr.Type, Dir: w.Dir, TextColumn: d.Str("text_column"), IDColumn: d.Str("id_column"),
		Separator: d.Str("separator"), Form: d.Str("form"),
		MinScore: optional(d, "min_score", d.Float), MinLanguageScore: optional(d, "min_language_score", d.Float),
		Languages: d.Strs("languages"),
		Dumps:     stringsOf(d, "dump"), Filter: d.Str("filter"), Deduplicate: d.Bool("deduplicate"),
		ValidationFraction: d.Float("validation_fraction"), Seed: uint64(d.Int("seed")), Shuffle: d.Bool("shuffle"),
		SkipErrors: d.Str("on_error") == "skip", SpecialIDs: d.Str("special_tokens") == "ids",
		DocumentMask: d.Bool("document_mask"), PredictFirst: d.Bool("predict_first_token"), DType: d.Str("dtype"),
		Epochs: n.Source.Epochs, Hasty: !w.Patient, Cache: w.Cache, Hashing: w.Hashing}
	if s.Format == fineweb.FormatConversations {
		s.DocumentMask, s.Said = true, chat.Said
	}
	whole := func(n string) int64 { return int64(d.Int(n)) }
	s.MinIntScore, s.MinTokenCount, s.MaxTokenCount = optional(d, "min_int_score", whole),
		optional(d, "min_token_count", whole), optional(d, "max_token_count", whole)
	if d.Str("cache") == "tokens" {
		dir := foreign.CacheDir()
		if dir == "" {
			return hcl.Diagnostics{d.Error("cache", "No place for a cache",
				"There is no folder for caches here: set "+foreign.CacheDirVariable+".")}
		}
		s.TokenDir = filepath.Join(dir, "tokens")
	}
	s.Patterns = stringsOf(d, "source")
	if len(s.Patterns) == 0 {
		return hcl.Diagnostics{d.Error("source", "Invalid value", "source takes a glob such as \"data/*.parquet\", or a "+
			"list of globs.")}
	}
	n.Source = s
	if diags := n.decontaminate(ctx, p, d); diags.HasErrors() {
		return diags
	}
	var bad *fineweb.BadAgainst
	switch err := n.look(ctx); {
	case errors.Is(err, fineweb.ErrUnreachable):
		n.Unseen, n.Content = w.Secrets.Redact(err.Error()), strings.Join(s.Patterns, " ")
		if seen := w.State.Sources[p.Addr.String()]; seen != nil && seen.Key == sourceKey(s.Patterns) {
			n.Content, n.Rows, n.Files = seen.Identity, seen.Rows, seen.Files
			p.Warn(fmt.Sprintf("planned as the data were on %s: %v", seen.Seen.Format(time.DateOnly), err))
		} else {
			p.Warn(fmt.Sprintf("planned without a look at the data: %v", err))
		}
	case errors.As(err, &bad):
		x := d.List("decontaminate")[bad.Of]
		attr := "data"
		if x.Given("tasks") {
			attr = "tasks"
		}
		return blocks.Problem(x, attr, "Unusable documents", err)
	case err != nil:
		return blocks.Problem(d, "source", "Unreadable data", err)
	default:
		p.Warnings = append(p.Warnings, n.shown(p)...)
	}
	return nil
}

// stringsOf reads an attribute that takes a text or a list of texts.
func stringsOf(d *dsl.Decoded, attr string) []string {
	v := d.Value(attr)
	if !d.Known(attr) {
		return nil
	}
	switch t := v.Type(); {
	case t == cty.String:
		return []string{v.AsString()}
	case t.IsTupleType() || t.IsListType() || t.IsSetType():
		return d.Strs(attr)
	}
	return nil
}

// mixture plans a mixture of other data.
func (n *Data) mixture(p *blocks.Planned, d *dsl.Decoded) (diags hcl.Diagnostics) {
	for _, x := range d.List("part") {
		ref, split, ok := x.Ref("data")
		if !ok {
			continue
		}
		part, _ := p.Use(ref).(*Data)
		switch {
		case split != "":
			diags = append(diags, x.Error("data", "Training on held-out data",
				fmt.Sprintf("%s.%s is for evaluate. Draw from %s.", ref, split, ref)))
			continue
		case part == nil || part.Parts != nil:
			diags = append(diags, x.Error("data", "Not data in files",
				fmt.Sprintf("%s is not data in files; a mixture draws from such data, not from other mixtures.", ref)))
			continue
		case len(n.Parts) > 0 && part.Source.DocumentMask != n.Source.DocumentMask:
			diags = append(diags, x.Error("data", "Different document_mask",
				fmt.Sprintf("%s has document_mask = %t and %s does not: all data of a mixture need the same.", ref,
					part.Source.DocumentMask, n.Parts[0].Addr)))
			continue
		case len(n.Parts) > 0 && part.Source.PredictFirst != n.Source.PredictFirst:
			diags = append(diags, x.Error("data", "Different predict_first_token",
				fmt.Sprintf("%s has predict_first_token = %t and %s does not: all data of a mixture need the same.", ref,
					part.Source.PredictFirst, n.Parts[0].Addr)))
			continue
		case len(n.Parts) > 0 && part.Conversations() != n.Parts[0].Conversations():
			diags = append(diags, x.Error("data", "Documents and conversations",
				fmt.Sprintf("One of %s and %s holds conversations, the other documents: they cannot be mixed.", ref, n.Parts[0].Addr)))
			continue
		case slices.Contains(n.Parts, part):
			diags = append(diags, x.Error("data", "Named twice", fmt.Sprintf("%s is in the mixture already: add the weights.",
				ref)))
			continue
		}
		n.Parts, n.Weights = append(n.Parts, part), append(n.Weights, x.Float("weight"))
		n.Source.DocumentMask, n.Source.PredictFirst = part.Source.DocumentMask, part.Source.PredictFirst
		n.Rows += part.Rows
		n.Files = append(n.Files, part.Files...)
		n.Content += part.Content + "\n"
		if part.Unseen != "" {
			n.Unseen = part.Unseen
		}
	}
	if slices.ContainsFunc(n.Parts, func(x *Data) bool { return x.Rows == 0 }) {
		n.Rows = 0 // not known
	}
	return diags
}

// countsAtOnce is the most bytes of local files that a plan reads to count what is left out.
const countsAtOnce = 1 << 30

// readAtOnce reports whether a plan reads all the data.
func (n *Data) readAtOnce() bool {
	return n.Unseen == "" && n.bytes <= countsAtOnce && !slices.ContainsFunc(n.Files, fineweb.IsRemote)
}

// shown returns the warnings about files, which name them, unless the source is sensitive.
func (n *Data) shown(p *blocks.Planned) []string {
	if _, secret := p.Secret["source"]; secret && len(n.odd) > 0 {
		return []string{"warnings about the files are not shown, because source is sensitive and they name files: " +
			"stepflow data stat shows them"}
	}
	var list []string
	for _, odd := range n.odd {
		list = append(list, p.World.Secrets.Redact(odd))
	}
	return list
}

// look opens the data and records what they hold.
func (n *Data) look(ctx context.Context) error {
	n.patterns = n.Source.Patterns
	c, err := fineweb.Open(ctx, n.Source)
	if err != nil {
		return err
	}
	defer c.Close()
	n.Source, n.Rows, n.Files = c.Source(), c.Rows, c.Files()
	if n.Content, err = c.Identity(); err != nil {
		return err
	}
	if n.contents, err = c.Contents(); err != nil {
		return err
	}
	n.odd = append(c.Warnings, fineweb.Copies(n.contents)...)
	for _, f := range c.Describe() {
		n.bytes += f.Bytes
	}
	if n.Source.Deduplicate {
		n.Copies = -1
		if c.KnowsCopies() || n.readAtOnce() {
			if n.Copies, err = c.Copies(); err != nil {
				return err
			}
		}
	}
	if len(n.against) > 0 {
		n.Unclean = -1
		if c.KnowsContaminated() || n.readAtOnce() && !slices.ContainsFunc(n.against, reference.slow) {
			n.Unclean, _, err = c.Contaminated()
		}
	}
	return err
}

// sourceKey returns a hash of patterns, which may hold secrets that the state must not.
func sourceKey(patterns []string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(patterns, "\n"))))
}

// Seen returns what the state keeps of remote data; nil for local data. For a secret source it has no names.
func (n *Data) Seen(secret bool) *state.Source {
	if n.Unseen != "" || !slices.ContainsFunc(n.patterns, fineweb.IsRemote) {
		return nil
	}
	files := n.Source.Shown()
	if secret {
		for i := range files {
			files[i] = dsl.Hidden
		}
	}
	return &state.Source{Key: sourceKey(n.patterns), Identity: n.Content, Rows: n.Rows, Files: files,
		Seen: time.Now().UTC()}
}
