package evaluate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/observe"
	"stepflow/runtime/words"
)

// contamination is whether to look for n-grams of what is measured in what the model was trained on, and why not.
type contamination struct {
	looks bool
	why   string // for the plan, where the user may not expect it; "" otherwise
}

// readContamination plans the look. It is left out where it would fetch the training data from a server again, unless it
// is asked for.
func (s *Subject) readContamination(p *blocks.Planned, d *dsl.Decoded) (c contamination, diags hcl.Diagnostics) {
	delete(p.Hashed, "contamination")
	switch {
	case s.Stage == nil && d.Bool("contamination"):
		return c, hcl.Diagnostics{d.Error("contamination", "Unknown training data", "No stage trained this model, so "+
			"what it was trained on is not known here. Leave contamination out.")}
	case s.Stage == nil:
		return c, nil
	case d.Has("contamination"):
		c.looks = d.Bool("contamination")
	default:
		c.looks = true
		for x := s.Stage; x != nil && c.looks; x = x.Before {
			if x.Data != nil && slices.ContainsFunc(x.Data.InFiles(), fetched) {
				c = contamination{false, fmt.Sprintf("not looked for: %s would be fetched again; contamination = true "+
					"does that", x.Data.Addr)}
			}
		}
	}
	if c.looks {
		p.Hashed["contamination"] = "true"
	}
	return c, nil
}

// known are the values that are known when the look is planned: none, or that nothing is looked for.
func (c contamination) known() map[string]cty.Value {
	known := map[string]cty.Value{}
	if !c.looks {
		for name := range unknownContamination() {
			known[name] = cty.NullVal(cty.Number)
		}
	}
	return known
}

// details are the lines of a plan about the look.
func (c contamination) details() []blocks.Line {
	if c.why == "" {
		return nil
	}
	return []blocks.Line{{About: "contamination", Text: c.why}}
}

func fetched(n *data.Data) bool { return slices.ContainsFunc(n.Source.Patterns, fineweb.IsRemote) }

// unknownContamination are the values where nothing is known.
func unknownContamination() map[string]any {
	values := map[string]any{}
	for _, name := range blocks.OfContamination {
		values[name] = nil
	}
	return values
}

// contaminated looks for n-grams of what is measured in what the stages trained on. add adds what is measured, and use is
// told what was found: not at all where that is not known. The stage's result is in the folder weights. If the training data
// cannot be read, it warns: that is no reason to end the run.
func (s *Subject) contaminated(ctx context.Context, r *blocks.Run, tok *bpe.Tokenizer, weights string,
	add func(*fineweb.Check) error, use func(k *fineweb.Check, trained []*data.Data)) error {
	err := s.look(ctx, r, tok, weights, add, use)
	if ctx.Err() != nil {
		return observe.ErrInterrupted
	}
	if err != nil {
		r.Observe.Warn(ctx, "the contamination is not known: %v", err)
	}
	return nil
}

// contaminationValues are the values of what was found.
func contaminationValues(found *fineweb.Contamination) map[string]any {
	values := unknownContamination()
	of := &found.Words
	values["unchecked_documents"] = float64(found.Documents - of.Checked)
	if of.Checked > 0 {
		values["contamination"], values["contaminated_ngrams"] = of.Share(), of.GramShare()
	}
	if found.Tokens.Checked > 0 {
		values["token_contamination"] = found.Tokens.Share()
	}
	return values
}

// tellContamination tells what was found, of a task by its name. measured are the data that are measured, if they are data.
func tellContamination(ctx context.Context, r *blocks.Run, task string, found *fineweb.Contamination, trained, measured []*data.Data) {
	of := &found.Words
	if of.Dirty == 0 {
		return
	}
	tell := r.Observe.Notice
	if of.GramShare() > mostlyTrained {
		tell = r.Observe.Warn
	}
	if task != "" {
		task += ": "
	}
	tell(ctx, "%s%s", task, contaminationNote(found, trained, hidden(r.World, append(trained, measured...))))
}

// hidden reports whether names of files are secret.
func hidden(w *blocks.World, list []*data.Data) bool {
	return slices.ContainsFunc(list, func(n *data.Data) bool {
		return slices.ContainsFunc(n.InFiles(), func(x *data.Data) bool {
			_, secret := w.Find(x.Addr).Secret["source"]
			return secret
		})
	})
}

// mostlyTrained is the share of n-grams above which a measure is mostly of what the model was trained on.
const mostlyTrained = 0.5

// contaminationNote says which documents were found. hidden leaves out names of files.
func contaminationNote(c *fineweb.Contamination, trained []*data.Data, hidden bool) string {
	var names []string
	for _, n := range trained {
		names = append(names, n.Addr.String())
	}
	of := &c.Words
	s := fmt.Sprintf("%d of %s measured share %d words in a row with what was trained on (%s): %.3g %% of their n-grams",
		of.Dirty, words.Plural(int(of.Checked), "document"), fineweb.ContaminationGram, strings.Join(names, ", "),
		100*of.GramShare())
	if hidden {
		return s
	}
	for i, l := range c.First {
		join := "; "
		if i == 0 {
			join = ". "
		}
		s += fmt.Sprintf("%s%s has %d of its %d from %s", join, l.Measured, l.Found, l.Grams, l.Trained)
	}
	return s
}

// look makes the check; use is not called if the stages' training is not known.
func (s *Subject) look(ctx context.Context, r *blocks.Run, tok *bpe.Tokenizer, weights string,
	add func(*fineweb.Check) error, use func(k *fineweb.Check, trained []*data.Data)) error {
	list, before, err := s.Stage.TrainedOn(r, weights)
	if err != nil || len(list) == 0 {
		return err
	}
	if before != "" {
		r.Observe.Notice(ctx, "the contamination is what stages of this pipeline make of it: %s", before)
	}
	if s.Stage.Tokenizer.Addr != s.Tokenizer.Addr {
		if tok, err = s.Stage.Tokenizer.Load(r.Result); err != nil {
			return err
		}
	}
	check := fineweb.NewCheck(tok)
	if err := add(check); err != nil {
		return err
	}
	var trained []*data.Data
	for _, t := range list {
		set, err := t.Open(ctx, tok)
		if err != nil {
			return err
		}
		defer set.Close() // after use, which asks it for places
		if err := set.Trained(check, t.At, t.Stage.Seq); err != nil {
			return err
		}
		if !slices.Contains(trained, t.Data) {
			trained = append(trained, t.Data)
		}
	}
	if n := check.Result(); n.Partial {
		r.Observe.Warn(ctx, "only the first %d documents are looked for in the training data: they have too many n-grams. "+
			"max_tokens or limit bounds them", n.Documents)
	}
	use(check, trained)
	return nil
}
