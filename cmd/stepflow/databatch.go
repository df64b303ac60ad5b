package main

import (
	"errors"
	"fmt"
	"strings"

	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/foreign"
	"stepflow/runtime/apply"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/words"
)

// dataStep prints the batch of a stage's step.
func (a *app) dataStep(o *dataFlags, arg string) error {
	at, err := addr.Parse(arg)
	if err != nil || at.Kind != "stage" {
		return fmt.Errorf("-step takes a stage of the pipeline in -dir, such as stage.NAME; %s is not one",
			foreign.Shown(arg))
	}
	p, ok := a.plan([]string{a.dir}, true, at)
	switch {
	case !ok && a.ctx.Err() != nil:
		return apply.ErrInterrupted
	case !ok:
		return fmt.Errorf("the pipeline in %s cannot be planned", a.dir)
	}
	x := p.Action(at)
	if x == nil {
		var have []string
		for _, y := range p.Actions {
			if y.Addr.Kind == "stage" {
				have = append(have, y.Addr.String())
			}
		}
		if err := oneInstance(at.String(), have); err != nil {
			return err
		}
		return fmt.Errorf("the pipeline in %s has no %s; its stages are: %s", a.dir, at, strings.Join(have, ", "))
	}
	s, ok := x.Block.(*stage.Stage)
	if !ok {
		return fmt.Errorf("%s is not planned yet, since what it waits for has not run: apply the pipeline first", at)
	}
	b, err := s.BatchOf(a.ctx, x.World, o.step, func(done, of int64) error {
		if isTerminal(a.stderr) {
			fmt.Fprintf(a.stderr, "\r%s: %s of %s sequences are packed\x1b[K",
				at, words.Count(done), words.Count(of))
		}
		return a.ctx.Err()
	})
	if isTerminal(a.stderr) {
		fmt.Fprint(a.stderr, "\r\x1b[K")
	}
	if a.ctx.Err() != nil {
		return errors.Join(apply.ErrInterrupted, a.ctx.Err())
	}
	if err != nil {
		return err
	}
	if a.json {
		a.line(batchJSON(b))
		return nil
	}
	a.printBatch(at, b)
	return nil
}

// without lists the positions of an extent whose token predicts nothing, from the extent's start.
func without(b *stage.StepBatch, x fineweb.Extent) (list []int) {
	list = []int{}
	for i := range x.N {
		if b.Targets[x.At+i] == fineweb.Ignored {
			list = append(list, i)
		}
	}
	return list
}

func (a *app) printBatch(at addr.Addr, b *stage.StepBatch) {
	fmt.Fprintf(a.stdout,
		"%s, step %d: %s of %d tokens, from token %d of the data on; %d of %d tokens predict the next one\n",
		at, b.Step, words.Plural(len(b.IDs)/b.Length, "sequence"), b.Length, b.Before, b.Valid, len(b.IDs))
	sequence := -1
	for _, x := range b.Documents {
		if s := x.At / b.Length; s != sequence {
			sequence = s
			fmt.Fprintf(a.stdout, "\n%s\n", a.paint(bold, fmt.Sprintf("sequence %d", s)))
		}
		from := x.At % b.Length
		text, masked := clip(b.Tokenizer.Decode(b.IDs[x.At:x.At+x.N], false), 300), silent(without(b, x), from)
		if b.Tuned {
			text, masked = counted(b, x)
		}
		fmt.Fprintf(a.stdout, "  %d to %d  %s, its tokens %d to %d%s\n      %s\n",
			from, from+x.N-1, foreign.Shown(x.Origin.String()),
			x.Token, x.Token+x.N-1, masked, strings.ReplaceAll(text, "\n", "\n      "))
	}
}

// counted is the text of a conversation, with brackets around what counts in the loss, and says how much that is.
func counted(b *stage.StepBatch, x fineweb.Extent) (text, how string) {
	const most = 1000
	var t strings.Builder
	n, in, start := 0, false, 0
	flush := func(to int) {
		t.WriteString(b.Tokenizer.Decode(b.IDs[x.At+start:x.At+to], false))
		start = to
	}
	for i := range x.N {
		counts := i > 0 && b.Targets[x.At+i-1] != fineweb.Ignored
		if counts {
			n++
		}
		if counts != in {
			flush(i)
			t.WriteString(map[bool]string{true: "⟦", false: "⟧"}[counts])
			in = counts
		}
	}
	if flush(x.N); in {
		t.WriteString("⟧")
	}
	return clip(t.String(), most), fmt.Sprintf("; %d of them count in the loss, in ⟦ ⟧", n)
}

// silent says which positions of a sequence predict nothing, if any.
func silent(list []int, from int) string {
	const most = 8
	if len(list) == 0 {
		return ""
	}
	var s []string
	for _, i := range list[:min(most, len(list))] {
		s = append(s, fmt.Sprint(from+i))
	}
	if len(list) > most {
		s = append(s, fmt.Sprintf("and %d more", len(list)-most))
	}
	return "; no target at " + strings.Join(s, ", ")
}

func batchJSON(b *stage.StepBatch) map[string]any {
	sequences := make([]map[string]any, len(b.IDs)/b.Length)
	for i := range sequences {
		lo, hi := i*b.Length, (i+1)*b.Length
		sequences[i] = map[string]any{"tokens": b.IDs[lo:hi], "targets": b.Targets[lo:hi],
			"segments": b.Segments[lo:hi]}
	}
	documents := make([]map[string]any, len(b.Documents))
	for i, x := range b.Documents {
		d := map[string]any{"sequence": x.At / b.Length, "from": x.At % b.Length, "tokens": x.N, "token": x.Token,
			"file": x.File, "place": x.Place, "text": b.Tokenizer.Decode(b.IDs[x.At:x.At+x.N], false),
			"without_target": without(b, x)}
		if x.ID != "" {
			d["id"] = x.ID
		}
		if x.Source != "" {
			d["source"] = x.Source
		}
		documents[i] = d
	}
	return map[string]any{"step": b.Step, "first_token": b.Before, "targets": b.Valid, "sequences": sequences,
		"documents": documents}
}
