// Package evaluate is the evaluate block, which measures a trained or imported model. Each way to measure is an
// Evaluator in a file of its own.
package evaluate

import (
	"context"
	"fmt"
	"io"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/blocks/tokenizer"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
	"stepflow/runtime/trainstate"
	"stepflow/runtime/words"
)

// Kind is the evaluate block.
var Kind = blocks.Kind{Alone: blocks.TheDevice, Plan: plan,
	Idle: map[string]string{"batch_size": "the loss of a token does not depend on the sequences beside it",
		"executor": "what is made is the same anywhere"}}

// Evaluator measures a model in one way.
type Evaluator interface {
	// Plan reads what to measure, and compiles the programs. sees is how many tokens the model sees at once by default.
	Plan(ctx context.Context, p *blocks.Planned, d *dsl.Decoded, sees int) hcl.Diagnostics
	// Forecast fills in what the evaluation takes.
	Forecast(ctx context.Context, p *blocks.Planned, d *dsl.Decoded, f *blocks.Forecast) hcl.Diagnostics
	// Run measures, and returns values by name. Numbers may be NaN or infinite, and blocks.Flaw says where that comes
	// from.
	Run(ctx context.Context, r *blocks.Run, tok *bpe.Tokenizer) (map[string]any, error)
	// Documents returns the data that are measured, and the windows; nil if it measures no data.
	Documents() (*data.Data, fineweb.Windows)
	// Details returns the lines of a plan. takes is what Forecast filled in.
	Details(takes *blocks.Forecast) []blocks.Line
}

// evaluators holds a constructor of each evaluator, by the type of the block.
var evaluators = map[string]func(s *Subject) Evaluator{
	"perplexity": func(s *Subject) Evaluator { return &Perplexity{Subject: s} },
	"generation": func(s *Subject) Evaluator { return &Generation{Subject: s} },
	"tasks":      func(s *Subject) Evaluator { return &Tasks{Subject: s} },
}

// Subject is the model that is measured.
type Subject struct {
	Stage     *stage.Stage // the stage that trained it; nil for an imported model
	Folder    string       // of the imported model
	Model     arch.Model
	Params    []ops.Param
	DType     gpu.DType
	Tokenizer *tokenizer.Tokenizer
}

// Evaluation is a planned evaluate block.
type Evaluation struct {
	*Subject
	Evaluator
	takes  blocks.Forecast
	folder string // of what it keeps
}

var (
	_ blocks.Task       = (*Evaluation)(nil)
	_ blocks.Forecaster = (*Evaluation)(nil)
	_ blocks.Detailed   = (*Evaluation)(nil)
	_ blocks.Weighty    = (*Evaluation)(nil)
	_ blocks.Traced     = (*Evaluation)(nil)
	_ blocks.Collective = (*Evaluation)(nil)
	_ stage.Measure     = (*Evaluation)(nil)
)

// Identity writes nothing: its attributes and the blocks it names say all.
func (*Evaluation) Identity(io.Writer) {}

// Summary is empty.
func (*Evaluation) Summary() string { return "" }

// Runs is true.
func (*Evaluation) Runs() bool { return true }

// Files lists what is kept with the values.
func (e *Evaluation) Files(bool) []string {
	if _, ok := e.Evaluator.(*Tasks); ok {
		return []string{checkpoint.NoteName, blocks.SamplesFile}
	}
	return []string{checkpoint.NoteName}
}

// Together reports whether ranks measure together: each a part of the batches or of the questions. A generation is a few texts,
// which rank 0 writes alone.
func (e *Evaluation) Together() bool {
	_, alone := e.Evaluator.(*Generation)
	return !alone
}

// Traced returns what is traced besides batches: of an evaluation on documents, reading the weights once.
func (e *Evaluation) Traced(int) (p observe.Planned) {
	if docs, _ := e.Documents(); docs != nil {
		p.Inside = 1
	}
	return p
}

func plan(ctx context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	s, sees, diags := subject(p, d)
	if diags.HasErrors() {
		return nil, diags
	}
	e := &Evaluation{Subject: s, Evaluator: evaluators[p.Addr.Type](s), folder: p.World.Folder(p.Addr)}
	if diags := e.Evaluator.Plan(ctx, p, d, sees); diags.HasErrors() {
		return nil, diags
	}
	p.Block = e
	known := map[string]cty.Value{}
	if x, ok := e.Evaluator.(interface{ Known() map[string]cty.Value }); ok {
		known = x.Known()
	}
	return known, nil
}

// usualContext is the most tokens that an imported model sees at once by default: published perplexities of models with
// long contexts are mostly of windows of 2048.
const usualContext = 2048

// subject finds the model, and how many tokens it sees at once by default.
func subject(p *blocks.Planned, d *dsl.Decoded) (s *Subject, sees int, diags hcl.Diagnostics) {
	ref, _, _ := d.Ref("model")
	s = &Subject{DType: gpu.F32}
	target := p.Use(ref)
	imported, _ := target.(*model.Model)
	if trained, ok := target.(*stage.Stage); ok {
		s.Stage, s.Model, s.Params, s.DType, s.Tokenizer, sees = trained, trained.Model, trained.Params, trained.DType,
			trained.Tokenizer, trained.Seq
	} else {
		if imported.Folder == "" {
			return nil, 0, hcl.Diagnostics{d.Error("model", "Untrained model",
				fmt.Sprintf("%s has random weights: evaluate a stage, or a model read by from.", ref))}
		}
		s.Folder, s.Model, sees = imported.Folder, imported.Model, min(imported.MaxPositionEmbeddings, usualContext)
		s.Params = s.Model.Declare(make([]string, s.Model.NumHiddenLayers))
		for i := range s.Params {
			s.Params[i].ID = s.Params[i].Name
		}
	}
	switch ref, _, ok := d.Ref("tokenizer"); {
	case ok:
		s.Tokenizer = p.Use(ref).(*tokenizer.Tokenizer)
	case s.Tokenizer == nil:
		return nil, 0, hcl.Diagnostics{d.Error("tokenizer", "No tokenizer",
			"A model that was not trained by a stage needs tokenizer.")}
	default:
		p.Use(s.Tokenizer.Addr)
	}
	delete(p.Hashed, "tokenizer") // it is among the inputs, named or not
	if s.Tokenizer.VocabSize > s.Model.VocabSize {
		return nil, 0, hcl.Diagnostics{d.Error("tokenizer", "Vocabulary too small",
			fmt.Sprintf("The model's vocab_size is %d, the tokenizer has %d tokens.", s.Model.VocabSize, s.Tokenizer.VocabSize))}
	}
	if imported != nil {
		p.Warn(imported.OtherTokens(s.Tokenizer))
	}
	return s, sees, nil
}

// weights returns the folder of the model's weights.
func (s *Subject) weights(r *blocks.Run) (string, error) {
	if s.Stage != nil {
		return r.Result(s.Stage.Addr)
	}
	return s.Folder, nil
}

// step returns the step of the model whose weights are in a folder: the stage may have ended before its last one. It is
// 0 for an imported model.
func (s *Subject) step(weights string) int {
	if s.Stage == nil {
		return 0
	}
	if t, err := trainstate.Read(weights); err == nil {
		return t.Step
	}
	return s.Stage.Steps
}

// Readable reads the float64 weights of an imported model, once a run: a weight beyond the range of float32 is an
// error. A weight that is not finite is no error here; the evaluation's result tells of it.
func (e *Evaluation) Readable(ctx context.Context, read map[string]bool) error {
	if e.Folder == "" || read[e.Folder] {
		return nil
	}
	read[e.Folder] = true
	f, err := checkpoint.OpenFolder(e.Folder)
	if err != nil {
		return err
	}
	defer f.Close()
	var wide []ops.Param
	for _, p := range e.Params {
		if f.DType(p.Name) == "F64" {
			wide = append(wide, p)
		}
	}
	return forward.CheckTensors(ctx, f, wide)
}

// Measures returns the stage that is measured, and on what documents.
func (e *Evaluation) Measures() (*stage.Stage, *data.Data, fineweb.Windows) {
	n, w := e.Documents()
	return e.Stage, n, w
}

// Forecast predicts what the evaluation takes.
func (e *Evaluation) Forecast(ctx context.Context, p *blocks.Planned, _ int, d *dsl.Decoded) hcl.Diagnostics {
	return e.Evaluator.Forecast(ctx, p, d, &e.takes)
}

// Takes returns what the evaluation takes.
func (e *Evaluation) Takes() *blocks.Forecast { return &e.takes }

// Details returns what the evaluation takes, if it is to run.
func (e *Evaluation) Details(run, _ bool) []blocks.Line {
	if !run {
		return nil
	}
	list := e.Evaluator.Details(&e.takes)
	if f := &e.takes; f.Peak > 0 {
		list = append(list, blocks.Line{About: "memory", Text: words.Kinds(program.ByteKinds, f.ByKind)},
			blocks.Line{About: "peak", Text: fmt.Sprintf("%s (%d bytes)", dsl.FormatBytes(f.Peak), f.Peak)})
	}
	return list
}

// Run measures the model and keeps the values.
func (e *Evaluation) Run(ctx context.Context, r *blocks.Run) error {
	tok, err := e.Tokenizer.Load(r.Result)
	if err != nil {
		return err
	}
	values, err := e.Evaluator.Run(ctx, r, tok)
	if err != nil || r.Follows() {
		return err
	}
	r.Entry.Values = blocks.Writable(values)
	if s := blocks.Diagnosis(values); s != "" {
		r.Observe.Warn(ctx, "%s", s)
	}
	var beside []checkpoint.Part
	if t, ok := e.Evaluator.(*Tasks); ok {
		beside = t.beside
	}
	return r.WriteValues(beside...)
}
