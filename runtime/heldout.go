package runtime

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
)

// Documents that an evaluation measures and its model was trained on make it say less than it seems to. The plan warns where files tell,
// and a run counts the documents themselves, by their tokens. See docs/decisions/0021.

// evaluationsOf are the evaluations of models that a stage led to, on documents of data.
func evaluationsOf(actions []*Action, s *Stage) (list []*Action) {
	for _, a := range actions {
		if e := a.Evaluate; e != nil && e.Data != nil {
			for x := e.Stage; x != nil; x = x.From {
				if x.Addr == s.Addr {
					list = append(list, a)
					break
				}
			}
		}
	}
	return list
}

// sharing warns of stages that read files which an evaluation of their model measures, without holding out what it measures.
func (p *planner) sharing(actions []*Action) {
	for _, a := range actions {
		if a.Stage == nil {
			continue
		}
		told := map[string]bool{}
		for _, e := range evaluationsOf(actions, a.Stage) {
			all := e.Evaluate.Windows.Split == fineweb.All
			for _, held := range e.Evaluate.Data.sources() {
				for _, trained := range a.Stage.Data.sources() {
					key := fmt.Sprint(held.Addr, trained.Addr, all)
					if told[key] || !all && (held == trained || fineweb.SameSplit(&held.Source, &trained.Source)) || fineweb.Apart(&held.Source, &trained.Source) {
						continue
					}
					if file := fineweb.Shared(trained.content(), held.content()); file != "" {
						told[key] = true
						a.Warnings = append(a.Warnings, p.cfg.Secrets.Redact(p.shares(e, held, trained, file, all)))
					}
				}
			}
		}
	}
}

// shares says that data to train on hold what an evaluation measures, and what to do about it.
func (p *planner) shares(e *Action, held, trained *Data, file string, all bool) string {
	at := func(x addr.Addr) string {
		y := p.done[x]
		if y == nil {
			return x.String()
		}
		return fmt.Sprintf("%s (%s)", x, lineOf(y.Range))
	}
	file = fineweb.Shown(file)
	if p.sensitive(trained) {
		file = dsl.Hidden
	}
	if all {
		return fmt.Sprintf("%s, which it trains on, holds documents of %s, and %s measures all of those: %s. Train on other files, or measure documents that are held out of both",
			at(trained.Addr), at(held.Addr), at(e.Addr), file)
	}
	return fmt.Sprintf("%s, which it trains on, holds documents of %s, and does not hold out those that %s measures: %s. Train on %s, or give both the same validation_fraction and the same ids",
		at(trained.Addr), at(held.Addr), at(e.Addr), file, held.Addr)
}

// sensitive reports whether the names of the files may not be shown.
func (p *planner) sensitive(n *Data) bool {
	a := p.done[n.Addr]
	if a == nil {
		return false
	}
	_, is := a.secret["source"]
	return is
}

// lineOf is where a block begins.
func lineOf(r hcl.Range) string { return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line) }

// content says what the files hold; of data that were not looked at by their names.
func (n *Data) content() []fineweb.Content {
	if n.contents == nil {
		for _, f := range n.Files {
			n.contents = append(n.contents, fineweb.ContentOf(f))
		}
	}
	return n.contents
}

// watched reads the documents that evaluations of a stage's model measure, once a run; nil where there are none. It is worth no run: where
// they cannot be read now, a warning says that nothing is counted.
func (r *runner) watched(ctx context.Context, a *Action, tok *tokenizer.Tokenizer) *fineweb.Watched {
	evaluations := evaluationsOf(r.plan.Actions, a.Stage)
	var names []string
	windows := map[string]*Evaluation{}
	for _, e := range evaluations {
		w := e.Evaluate.Windows
		key := fmt.Sprint(e.Evaluate.Data.Addr, w.Split, w.Join != nil)
		if w.Limit > 0 { // the windows say which documents are reached
			key += fmt.Sprint(" ", w.Limit, w.Length, w.Stride, w.EndOfText)
		}
		if windows[key] == nil {
			windows[key] = e.Evaluate
			names = append(names, key)
		}
	}
	if len(names) == 0 {
		return nil
	}
	key := a.Stage.Tokenizer.Addr.String() + "\n" + strings.Join(names, "\n")
	if w, ok := r.watching[key]; ok {
		return w
	}
	w := &fineweb.Watched{}
	for _, name := range names {
		if err := r.watch(w, tok, windows[name]); err != nil {
			if ctx.Err() == nil {
				r.running.Warn(ctx, "documents that are measured and trained on are not counted: those of %s cannot be read: %v", windows[name].Data.Addr, err)
			}
			return nil
		}
	}
	if w.Partial {
		r.running.Warn(ctx, "of the documents that evaluations measure the first %d are looked for in what is trained on: max_tokens of evaluate bounds them", w.Documents)
	}
	if r.watching == nil {
		r.watching = map[string]*fineweb.Watched{}
	}
	r.watching[key] = w
	return w
}

func (r *runner) watch(w *fineweb.Watched, tok *tokenizer.Tokenizer, e *Evaluation) error {
	set, err := r.open(e.Data)
	if err != nil {
		return err
	}
	defer set.Close()
	return set.Watch(w, tok, e.Windows)
}
