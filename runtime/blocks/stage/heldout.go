package stage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
)

// An evaluation says little about documents that its model was trained on. The plan warns if the files show that there
// are any, and a run counts the documents, comparing their tokens. See docs/decisions/0021.

// Measure is a block that measures a stage's model on documents of data.
type Measure interface {
	Measures() (s *Stage, n *data.Data, w fineweb.Windows) // n is nil for none
}

// measured is a block that measures, with its data: a block of its own, or one inside a stage.
type measured struct {
	*blocks.Planned
	inside  string // name of the block inside a stage; "" for a block of its own
	data    *data.Data
	windows fineweb.Windows
}

// of begins the name of what measures.
func (m *measured) of() string {
	if m.inside == "" {
		return ""
	}
	return fmt.Sprintf("evaluate %q of ", m.inside)
}

// comesFrom reports whether s is x or was made from it.
func (s *Stage) comesFrom(x *Stage) bool {
	for ; s != nil; s = s.Before {
		if s.Addr == x.Addr {
			return true
		}
	}
	return false
}

// measuredBy lists the blocks that measure the stage's model or one made from it.
func (s *Stage) measuredBy(all []*blocks.Planned) (list []measured) {
	for _, p := range all {
		if m, ok := p.Block.(Measure); ok {
			if of, n, w := m.Measures(); n != nil && of.comesFrom(s) {
				list = append(list, measured{p, "", n, w})
			}
		}
		if m, ok := p.Block.(*Stage); ok && m.Imported == nil && m.comesFrom(s) {
			for _, e := range m.Evaluations {
				if e.Data != nil {
					list = append(list, measured{p, e.Name, e.Data, e.Windows})
				}
			}
		}
	}
	return list
}

// Beside warns if the stage reads files that an evaluation of its model measures, and does not hold out the same
// documents.
func (s *Stage) Beside(mine *blocks.Planned, all []*blocks.Planned) (warnings []string, _ hcl.Diagnostics) {
	if s.Imported != nil { // it reads nothing
		return nil, nil
	}
	told := map[string]bool{}
	for _, m := range s.measuredBy(all) {
		whole := m.windows.Split == fineweb.All
		for _, held := range m.data.InFiles() {
			for _, trained := range s.Data.InFiles() {
				key := fmt.Sprint(held.Addr, trained.Addr, whole)
				if told[key] || !whole && (held == trained || fineweb.SameSplit(&held.Source,
					&trained.Source)) || fineweb.Apart(&held.Source, &trained.Source) ||
					trained.KeepsOut(held, m.windows.Split) {
					continue
				}
				if file := fineweb.Shared(trained.Contents(), held.Contents()); file != "" {
					told[key] = true
					warnings = append(warnings, mine.World.Secrets.Redact(shares(mine.World, &m, held, trained, file, whole)))
				}
			}
		}
	}
	return warnings, nil
}

// shares warns that data to train on hold documents that an evaluation measures, and says what to do.
func shares(w *blocks.World, e *measured, held, trained *data.Data, file string, whole bool) string {
	at := func(x addr.Addr) string {
		y := w.Find(x)
		if y == nil {
			return x.String()
		}
		return fmt.Sprintf("%s (%s)", x, dsl.FileLine(y.Range))
	}
	file = fineweb.Shown(file)
	if x := w.Find(trained.Addr); x != nil {
		if _, secret := x.Secret["source"]; secret {
			file = dsl.Hidden
		}
	}
	if whole {
		return fmt.Sprintf("%s, which it trains on, holds documents of %s, and %s%s measures all of those: %s. Train on "+
			"other files, or measure documents that are held out of both",
			at(trained.Addr), at(held.Addr), e.of(), at(e.Addr), file)
	}
	return fmt.Sprintf("%s, which it trains on, holds documents of %s, and does not hold out those that %s%s measures: "+
		"%s. Train on %s, or give both the same validation_fraction and the same ids",
		at(trained.Addr), at(held.Addr), e.of(), at(e.Addr), file, held.Addr)
}

// watched reads the documents that evaluations of the stage's model measure, once a run; nil if there are none. If they
// cannot be read, it warns that nothing is counted, because that is no reason to end the run. names lists the
// evaluations.
func (s *Stage) watched(ctx context.Context, r *blocks.Run, tok *bpe.Tokenizer) (w *fineweb.Watched, names []string) {
	var keys []string
	by := map[string]measured{}
	for _, m := range s.measuredBy(r.All) {
		if m.data.Conversations() != (s.Tune != nil) { // a conversation and a document never have the same tokens
			continue
		}
		names = append(names, m.of()+m.Addr.String())
		key := fmt.Sprint(m.data.Addr, m.windows.Split, m.windows.Join != nil)
		if m.windows.Limit > 0 { // the windows say which documents are reached
			key += fmt.Sprint(" ", m.windows.Limit, m.windows.Length, m.windows.Stride, m.windows.EndOfText)
		}
		if _, seen := by[key]; !seen {
			by[key] = m
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	key := s.Tokenizer.Addr.String() + "\n" + strings.Join(keys, "\n")
	if s.Tune != nil {
		key += "\n" + s.Tune.identity()
	}
	if w, ok := r.Shared.Watched[key]; ok {
		return w, names
	}
	w = &fineweb.Watched{}
	for _, k := range keys {
		if err := by[k].watch(ctx, w, s.Tune, tok); err != nil {
			if ctx.Err() == nil {
				r.Observe.Warn(ctx, "documents that are both measured and trained on are not counted: %s cannot be read: %v",
					by[k].data.Addr, err)
			}
			return nil, nil
		}
	}
	if w.Partial {
		r.Observe.Warn(ctx, "only the first %d documents that evaluations measure are looked for in the training data: "+
			"max_tokens of evaluate bounds them", w.Documents)
	}
	r.Shared.Watched[key] = w
	return w, names
}

// watch adds the measured documents to w: conversations as a stage that tunes so reads them.
func (m measured) watch(ctx context.Context, w *fineweb.Watched, tune *Tuning, tok *bpe.Tokenizer) error {
	set, err := tune.Open(ctx, m.data, fineweb.OpenSet, tok)
	if err != nil {
		return err
	}
	defer set.Close()
	return set.Watch(w, tok, m.windows)
}

// HeldOut returns the errors of a split of data that a block measures, of which ref is the address, with the model of s;
// nil for one that no stage trained.
func (s *Stage) HeldOut(d *dsl.Decoded, n *data.Data, ref addr.Addr, split fineweb.Split) hcl.Diagnostics {
	trained := s.trainedOn(n)
	switch {
	case split == 0:
		return hcl.Diagnostics{d.Error("data", "Training data", fmt.Sprintf("Perplexity is measured on held-out "+
			"documents: write %s.validation, and give the data a validation_fraction; or %s.all, if nothing is trained on "+
			"them.", ref, ref))}
	case split == fineweb.Validation && !n.HoldsOut():
		return hcl.Diagnostics{d.Error("data", "Nothing held out",
			fmt.Sprintf("%s holds no documents out: set its validation_fraction, or measure %s.all if nothing is trained "+
				"on them.", ref, ref))}
	case split == fineweb.All && trained != nil:
		return hcl.Diagnostics{d.Error("data", "Training data", fmt.Sprintf("%s was trained on documents of %s: measure "+
			"%s.validation.", trained.Addr, ref, ref))}
	}
	return nil
}

// trainedOn returns s or the stage before it that trained on any of the data; nil if none did.
func (s *Stage) trainedOn(n *data.Data) *Stage {
	for ; s != nil; s = s.Before {
		for _, mine := range s.Data.InFiles() {
			if slices.Contains(n.InFiles(), mine) {
				return s
			}
		}
	}
	return nil
}
