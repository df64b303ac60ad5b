// Package export is the export block: a trained stage as files for other programs. Each form of them is in a file of its
// own.
package export

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/exportdir"
	"stepflow/runtime/forward"
	"stepflow/runtime/modelcard"
)

// Kind is the export block.
var Kind = blocks.Kind{Alone: blocks.Exports, Sound: sound, Plan: plan, Early: early,
	Idle: map[string]string{"path": "the folder itself says which recipe wrote it", "executor": "what is made is the same anywhere"}, Resolved: []string{"merge"}}

// disk names the rate of writing in the state, in bytes/s.
const disk = "disk"

// Export is a planned export block.
type Export struct {
	Stage *stage.Stage // nil for one that is planned later
	Path  string

	form   form  // nil for one that is planned later
	card   *card // nil for none
	takes  blocks.Forecast
	keeps  string // a list of the user's own files in the folder, which stay
	given  string // the path as configured
	at     hcl.Range
	addr   addr.Addr
	folder *exportdir.Folder
	holds  *exportdir.Content
	world  *blocks.World
}

// form is what an export writes.
type form interface {
	// plan reads the attributes of its own, and checks that the stage can be written.
	plan(p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics
	// bytes is about how many bytes it writes.
	bytes() int64
	// names lists what it writes, as far as that is known before the run.
	names() []string
	// details are the lines of a plan.
	details() []blocks.Line
	// library is the hub's name of what reads it, and a tag of the form; "" for none.
	library() (name, tag string)
	// use is the part of the card that says how to load it.
	use() modelcard.Section
	// intro is the sentence of the card that says what it is.
	intro() string
	// hubBase is the model of the hub that it was made of, or is added to; "" for none.
	hubBase(r *blocks.Run) string
	// parts are the files to write, of the stage's result. Cancelling ctx ends reading it; flaw collects what is not finite
	// in it.
	parts(ctx context.Context, tok *tokenizer.Tokenizer, from *result, flaw *forward.Flaw) ([]checkpoint.Part, error)
}

// forms holds a constructor of each form, by the type of the block.
var forms = map[string]func(*Export) form{
	"gguf":        func(e *Export) form { return &ggufFile{Export: e} },
	"huggingface": func(e *Export) form { return &huggingFace{Export: e} },
	"peft":        func(e *Export) form { return &adapterFolder{Export: e} },
}

var (
	_ blocks.Writer     = (*Export)(nil)
	_ blocks.Forecaster = (*Export)(nil)
	_ blocks.Detailed   = (*Export)(nil)
	_ blocks.Neighbour  = (*Export)(nil)
	_ blocks.Traced     = (*Export)(nil)
)

// Identity writes the chat template, which the tokenizer's recipe leaves out, and what the card calls evaluations. The
// attributes and the inputs say all else.
func (e *Export) Identity(w io.Writer) {
	if e.Stage != nil && e.Stage.Tokenizer.Chat.Any() {
		fmt.Fprintf(w, "chat %s\n", e.Stage.Tokenizer.Chat.Identity())
	}
	if e.apart() {
		fmt.Fprintln(w, "without adapters")
	}
	if e.card == nil {
		return
	}
	for _, r := range e.card.results {
		fmt.Fprintf(w, "result %s %q %q\n", r.Addr.Type, r.dataset, r.name)
	}
}

// apart reports whether the export is of weights without the adapters that the stage keeps beside them.
func (e *Export) apart() bool {
	h, ok := e.form.(*huggingFace)
	return ok && h.apart
}

// endOfTurn returns the token with which the chat template ends an answer.
func (e *Export) endOfTurn(tok *tokenizer.Tokenizer) (id int32, ok bool) {
	if !e.Stage.Tokenizer.Chat.Any() {
		return 0, false
	}
	t, err := e.Stage.Tokenizer.Chat.Compile(tok, time.Time{})
	if err != nil { // it is copied as it is, and whoever uses it is told
		return 0, false
	}
	return t.EndOfTurn(tok)
}

// Summary is empty.
func (*Export) Summary() string { return "" }

// Runs is true.
func (*Export) Runs() bool { return true }

// Files lists the note that the state keeps of an export.
func (*Export) Files(bool) []string { return []string{checkpoint.NoteName} }

// Target returns the folder that is written to, without links.
func (e *Export) Target() string { return e.folder.Real }

// names lists the files that are written.
func (e *Export) names() []string {
	list := e.form.names()
	if e.card != nil && !e.holds.Card {
		list = append(list, exportdir.CardName)
	}
	return list
}

// keptBecause says why files of the folder stay.
func (e *Export) keptBecause() string {
	if e.holds.Card {
		return ", which no export wrote, or which was changed since"
	}
	return ", which no export wrote"
}

// Empty reports whether no export has written to the folder.
func (e *Export) Empty() bool { return e.holds.Manifest == nil }

// HeldRecipe returns the recipe of the export that wrote to the folder; "" for none.
func (e *Export) HeldRecipe() string {
	if e.holds.Manifest == nil {
		return ""
	}
	return e.holds.Manifest.Recipe
}

// Writable returns why this process may not write to the folder; nil if it may.
func (e *Export) Writable() error { return e.folder.Writable() }

// Forecast predicts what an export writes.
func (e *Export) Forecast(_ context.Context, p *blocks.Planned, _ int, _ *dsl.Decoded) hcl.Diagnostics {
	f := &e.takes
	f.Written = e.form.bytes()
	f.PredictBy(p.World.State.Rates, disk)
	return nil
}

// Takes returns what an export takes.
func (e *Export) Takes() *blocks.Forecast { return &e.takes }

// Details returns what an export writes, and what it leaves alone.
func (e *Export) Details(run, done bool) (list []blocks.Line) {
	if run && e.Stage != nil {
		list = append(list, blocks.Line{About: "writes", Text: dsl.FormatBytes(e.takes.Written) + e.takes.Time("B/s",
			"the last export")})
		list = append(list, e.form.details()...)
	}
	if e.keeps != "" && !done {
		list = append(list, blocks.Line{About: "keeps", Text: e.keeps + e.keptBecause()})
	}
	return list
}
