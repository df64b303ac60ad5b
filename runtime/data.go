package runtime

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

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/runtime/state"
)

// Data is a planned data block.
type Data struct {
	Addr     addr.Addr
	Source   fineweb.Source
	Rows     int64 // before filters; 0 where it is not known, as of remote data without a look and of files of tokens
	Copies   int64 // documents that deduplicate leaves out; -1 where only a run will count them
	Files    []string
	Identity string
	Unseen   string // why remote data were not looked at; "" if they were

	Parts   []*Data // of a mixture, with their weights
	Weights []float64

	patterns []string
	contents []fineweb.Content // of the files
	odd      []string          // what the files are warned of
	sizes    map[*Tokenizer]fineweb.Size
	held     map[splitSize]fineweb.Size
	efforts  map[effortOf]fineweb.Effort
}

// Sources are what to open: one, or those of a mixture. Reading them ends with ctx.
func (n *Data) Sources(ctx context.Context) []fineweb.Weighted {
	if n.Parts == nil {
		s := n.Source
		s.Context = ctx
		return []fineweb.Weighted{{Name: n.Addr.String(), Source: s, Weight: 1}}
	}
	var list []fineweb.Weighted
	for i, p := range n.Parts {
		s := p.Source
		s.Context = ctx
		if e := n.Source.Epochs; e > 0 && s.Epochs == 0 {
			s.Epochs = e
		}
		list = append(list, fineweb.Weighted{Name: p.Addr.String(), Source: s, Weight: n.Weights[i]})
	}
	return list
}

// open opens data as they were planned. Where files changed since, or others match, it is an error: what is made of them
// would be recorded as made of those that were planned.
func (r *runner) open(n *Data) (*fineweb.Set, error) { return r.openWith(n, fineweb.OpenSet) }

// openWith is open with a function that opens the sources.
func (r *runner) openWith(n *Data, opens func([]fineweb.Weighted) (*fineweb.Set, error)) (*fineweb.Set, error) {
	set, err := opens(n.Sources(r.ctx))
	if err != nil {
		return nil, err
	}
	ids, err := set.Identities()
	if err != nil {
		set.Close()
		return nil, err
	}
	for i, p := range n.sources() {
		if ids[i] != p.Identity {
			set.Close()
			return nil, fmt.Errorf("the files of %s changed since the plan was made: plan again", p.Addr)
		}
	}
	return set, nil
}

// sources are the data in files that it draws from: itself, or those of a mixture.
func (n *Data) sources() []*Data {
	if n.Parts == nil {
		return []*Data{n}
	}
	return n.Parts
}

// HoldsOut reports whether there is a validation split.
func (n *Data) HoldsOut() bool {
	return n.Source.ValidationFraction > 0 || slices.ContainsFunc(n.Parts, (*Data).HoldsOut)
}

func optional[T any](d *dsl.Decoded, name string, get func(string) T) *T {
	if !d.Has(name) {
		return nil
	}
	v := get(name)
	return &v
}

func (p *planner) data(a *Action, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	node := &Data{Addr: a.Addr, sizes: map[*Tokenizer]fineweb.Size{}}
	a.Data = node
	known := map[string]cty.Value{}
	for word := range splits {
		known[word] = cty.ObjectVal(map[string]cty.Value{"address": cty.StringVal(a.Addr.String() + "." + word)})
	}
	node.Source.Epochs = int64(d.Int("epochs"))
	var diags hcl.Diagnostics
	if a.Addr.Type == "mixture" {
		diags = p.mixture(a, d)
	} else {
		diags = p.files(a, d)
	}
	if diags.HasErrors() || len(node.Files) == 0 {
		return known, diags
	}
	if known["files"] = number(float64(len(node.Files))); node.Rows > 0 {
		known["rows"] = number(float64(node.Rows))
	}
	return known, diags
}

// files plans data that lie in files.
func (p *planner) files(a *Action, d *dsl.Decoded) hcl.Diagnostics {
	node := a.Data
	s := fineweb.Source{Format: a.Addr.Type, Dir: p.cfg.Dir, TextColumn: d.Str("text_column"), IDColumn: d.Str("id_column"), Separator: d.Str("separator"),
		MinScore: optional(d, "min_score", d.Float), MinLanguageScore: optional(d, "min_language_score", d.Float), Languages: d.Strs("languages"),
		Dumps: stringsOf(d, "dump"), Filter: d.Str("filter"), Deduplicate: d.Bool("deduplicate"),
		ValidationFraction: d.Float("validation_fraction"), Seed: uint64(d.Int("seed")), Shuffle: d.Bool("shuffle"),
		SkipErrors: d.Str("on_error") == "skip", SpecialIDs: d.Str("special_tokens") == "ids", DocumentMask: d.Bool("document_mask"), PredictFirst: d.Bool("predict_first_token"), DType: d.Str("dtype"), Epochs: node.Source.Epochs, Hasty: !p.patient, Context: p.ctx, Hashing: p.hashing}
	whole := func(n string) int64 { return int64(d.Int(n)) }
	s.MinIntScore, s.MinTokenCount, s.MaxTokenCount = optional(d, "min_int_score", whole), optional(d, "min_token_count", whole), optional(d, "max_token_count", whole)
	if d.Str("cache") == "tokens" {
		dir := fineweb.CacheDir()
		if dir == "" {
			return hcl.Diagnostics{d.Error("cache", "No place for a cache", "There is no folder for caches here: set "+fineweb.CacheDirVariable+".")}
		}
		s.TokenDir = filepath.Join(dir, "tokens")
	}
	s.Patterns = stringsOf(d, "source")
	if len(s.Patterns) == 0 {
		return hcl.Diagnostics{d.Error("source", "Invalid value", "source takes a glob such as \"data/*.parquet\", or a list of globs.")}
	}
	node.Source = s
	if err := node.look(); errors.Is(err, fineweb.ErrUnreachable) {
		node.Unseen = err.Error()
		node.Identity = strings.Join(s.Patterns, " ")
		if seen := p.state.Sources[a.Addr.String()]; seen != nil && seen.Key == sourceKey(s.Patterns) {
			node.Identity, node.Rows, node.Files = seen.Identity, seen.Rows, seen.Files
			a.Warnings = append(a.Warnings, fmt.Sprintf("planned as the data were on %s: %v", seen.Seen.Format(time.DateOnly), err))
		} else {
			a.Warnings = append(a.Warnings, fmt.Sprintf("planned without a look at the data: %v", err))
		}
	} else if err != nil {
		return problem(d, "source", "Unreadable data", err)
	} else {
		a.Warnings = append(a.Warnings, p.shown(node)...)
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

// mixture plans data that are drawn from other data.
func (p *planner) mixture(a *Action, d *dsl.Decoded) (diags hcl.Diagnostics) {
	node := a.Data
	for _, x := range d.List("part") {
		ref, split, ok := x.Ref("data")
		if !ok {
			continue
		}
		part := p.use(a, ref).Data
		switch {
		case split != "":
			diags = append(diags, x.Error("data", "Training on held-out data", fmt.Sprintf("%s.%s is for evaluate. Draw from %s.", ref, split, ref)))
			continue
		case part == nil || part.Parts != nil:
			diags = append(diags, x.Error("data", "Not data in files", fmt.Sprintf("%s is not data in files; a mixture draws from such data, not from other mixtures.", ref)))
			continue
		case len(node.Parts) > 0 && part.Source.DocumentMask != node.Source.DocumentMask:
			diags = append(diags, x.Error("data", "Different document_mask", fmt.Sprintf("%s has document_mask = %t, %s has not: all data of a mixture need the same.", ref, part.Source.DocumentMask, node.Parts[0].Addr)))
			continue
		case len(node.Parts) > 0 && part.Source.PredictFirst != node.Source.PredictFirst:
			diags = append(diags, x.Error("data", "Different predict_first_token", fmt.Sprintf("%s has predict_first_token = %t, %s has not: all data of a mixture need the same.", ref, part.Source.PredictFirst, node.Parts[0].Addr)))
			continue
		case slices.Contains(node.Parts, part):
			diags = append(diags, x.Error("data", "Named twice", fmt.Sprintf("%s is in the mixture already: add the weights.", ref)))
			continue
		}
		node.Parts, node.Weights = append(node.Parts, part), append(node.Weights, x.Float("weight"))
		node.Source.DocumentMask, node.Source.PredictFirst = part.Source.DocumentMask, part.Source.PredictFirst
		node.Rows += part.Rows
		node.Files = append(node.Files, part.Files...)
		node.Identity += part.Identity + "\n"
		if part.Unseen != "" {
			node.Unseen = part.Unseen
		}
	}
	if slices.ContainsFunc(node.Parts, func(p *Data) bool { return p.Rows == 0 }) {
		node.Rows = 0 // not known
	}
	return diags
}

// countsAtOnce is the size of local files up to which a plan reads them to count copies, in bytes.
const countsAtOnce = 1 << 30

// shown are the warnings about files, which name them.
func (p *planner) shown(n *Data) []string {
	if len(n.odd) > 0 && p.sensitive(n) {
		return []string{"there is something to say of the files, which would name them, and source is sensitive: stepflow data stat says it"}
	}
	var list []string
	for _, odd := range n.odd {
		list = append(list, p.cfg.Secrets.Redact(odd))
	}
	return list
}

// look opens the data and notes what is there.
func (n *Data) look() error {
	n.patterns = n.Source.Patterns
	c, err := fineweb.Open(n.Source)
	if err != nil {
		return err
	}
	defer c.Close()
	n.Source, n.Rows, n.Files = c.Source(), c.Rows, c.Files()
	if n.Identity, err = c.Identity(); err != nil {
		return err
	}
	if n.contents, err = c.Contents(); err != nil {
		return err
	}
	n.odd = append(c.Warnings, fineweb.Copies(n.contents)...)
	if !n.Source.Deduplicate {
		return nil
	}
	var size int64
	for _, f := range c.Describe() {
		size += f.Bytes
	}
	n.Copies = -1
	if c.KnowsCopies() || size <= countsAtOnce && !slices.ContainsFunc(n.Files, fineweb.IsRemote) {
		n.Copies, err = c.Copies()
	}
	return err
}

// sourceKey stands for patterns, which may hold what the state must not.
func sourceKey(patterns []string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(patterns, "\n"))))
}

// seen is what the state keeps of remote data; nil for others. Of a sensitive source it keeps no names.
func (a *Action) seen() *state.Source {
	n := a.Data
	if n.Unseen != "" || !slices.ContainsFunc(n.patterns, fineweb.IsRemote) {
		return nil
	}
	files := n.Source.Shown()
	if _, sensitive := a.secret["source"]; sensitive {
		for i := range files {
			files[i] = dsl.Hidden
		}
	}
	return &state.Source{Key: sourceKey(n.patterns), Identity: n.Identity, Rows: n.Rows, Files: files, Seen: time.Now().UTC()}
}

// SpecialsNote says how many special tokens stand in texts, and what they are taken for.
func SpecialsNote(n int64, ids bool) string {
	what := `are read as text (special_tokens = "text")`
	if ids {
		what = `get their ids (special_tokens = "ids")`
	}
	if n == 1 {
		what = strings.NewReplacer("are read", "is read", "get their ids", "gets its id").Replace(what)
		return "1 special token, such as <|endoftext|>, stands in the documents and " + what
	}
	return fmt.Sprintf("%d special tokens, such as <|endoftext|>, stand in the documents and %s", n, what)
}
