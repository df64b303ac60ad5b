package evaluate

import (
	"context"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/task"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
)

// scoring is the work of Tasks.
const scoring blocks.Work = "tasks"

// Tasks measures a model on downstream tasks.
type Tasks struct {
	*Subject
	*task.Suite
	Leaks contamination

	beside []checkpoint.Part // what is kept beside the values, once it has run
	asks   int               // requests; 0 until they are made
}

// Plan finds the tasks and their files.
func (e *Tasks) Plan(ctx context.Context, p *blocks.Planned, d *dsl.Decoded, _ int) (diags hcl.Diagnostics) {
	e.Suite, diags = task.NewSuite(ctx, p.World, d, func(a addr.Addr) blocks.Block { return p.Use(a) })
	if diags.HasErrors() {
		return diags
	}
	delete(p.Hashed, "data_files") // their content is hashed
	p.Hashed["num_fewshot"] = ""
	p.Hashed["documents"] = e.Identity()
	e.Leaks, diags = e.readContamination(p, d)
	return diags
}

// ask makes what the model is asked, and the program that answers.
func (e *Tasks) ask(ctx context.Context, tok *bpe.Tokenizer) (*task.Asked, program.Inference, error) {
	a, err := e.Ask(ctx, tok, e.Model.MaxPositionEmbeddings)
	if err != nil {
		return nil, program.Inference{}, err
	}
	x := a.Inference()
	x.Model, x.Params, x.DType = e.Model, e.Params, e.DType
	return a, x, nil
}

// Forecast makes the requests, and predicts what they take.
func (e *Tasks) Forecast(ctx context.Context, p *blocks.Planned, d *dsl.Decoded, f *blocks.Forecast) hcl.Diagnostics {
	a, x, err := e.ask(ctx, e.Tokenizer.Ready())
	if err != nil {
		return blocks.Problem(d, "tasks", "Unusable task", err)
	}
	for _, w := range a.Odd(e.Model.MaxPositionEmbeddings) {
		p.Warn(w)
	}
	compiled, err := p.World.Programs.Inference(&x)
	if err != nil {
		return blocks.Problem(d, "tasks", "Evaluation cannot be compiled", err)
	}
	e.asks = len(a.Requests)
	f.Program(compiled)
	f.Tokens, f.How = a.Tokens(), fineweb.Exact
	f.FLOPs = a.FLOPs(compiled, x)
	f.Predict(p.World, scoring, e.DType, compiled, segment(a, x))
	p.CheckFits(f.Peak, "the evaluation", "Lower num_fewshot, or leave the task with the longest documents out")
	return nil
}

// segment names the part of the program that does most of the work: the longest context, or a token of a text.
func segment(a *task.Asked, x program.Inference) string {
	if len(a.Requests) == 0 {
		return program.SegDecode
	}
	lengths := x.ContextLengths()
	return program.SegContext(lengths[len(lengths)-1])
}

// Documents returns nil: the documents of tasks are not a data block's.
func (*Tasks) Documents() (*data.Data, fineweb.Windows) { return nil, fineweb.Windows{} }

// Details returns what is asked, and what it takes.
func (e *Tasks) Details(f *blocks.Forecast) (list []blocks.Line) {
	list = append(e.Lines(), blocks.Line{About: "takes", Text: words.Count(f.Tokens) + " tokens to score; " +
		words.Count(f.FLOPs) + "FLOP" + f.Time("FLOP/s", "the last one like it")})
	return append(list, e.Leaks.details()...)
}
