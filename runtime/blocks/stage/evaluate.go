package stage

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/task"
	"stepflow/runtime/train"
	"stepflow/runtime/words"
)

// Evaluation is an evaluate block inside train: it measures the model between steps.
type Evaluation struct {
	Name        string
	EverySteps  int        // steps between evaluations; 0 where EveryTokens says it
	EveryTokens float64    // of training
	OnStart     bool       // there is one before the first step
	Data        *data.Data // nil where it measures tasks
	Windows     fineweb.Windows
	Tasks       *task.Suite // nil where it measures documents

	takes data.Takes  // of documents
	asked *task.Asked // of tasks
}

// soundEvaluations checks the evaluations of a train block, and what their values decide.
func soundEvaluations(t *dsl.Decoded) (diags hcl.Diagnostics) {
	seen := map[string]bool{}
	var values, open []string // those that are known here, and what begins others
	for _, d := range t.List("evaluate") {
		if seen[d.Label] {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Two evaluations of one name",
				Subject: d.Range.Ptr(), Detail: fmt.Sprintf("There is another evaluate %q in this train block: give each its "+
					"own name.", d.Label)})
		}
		seen[d.Label] = true
		if d.Has("every_steps") == d.Has("every_tokens") && (!d.Has("every_steps") || d.Known("every_steps") && d.Known("every_tokens")) {
			diags = append(diags, d.Error("every_tokens", "How often", fmt.Sprintf("evaluate %q takes exactly one of "+
				"every_steps and every_tokens.", d.Label)))
		}
		diags = append(diags, soundMeasured(d)...)
		if d.Has("tasks") {
			open = append(open, d.Label+".")
			continue
		}
		for _, v := range measures {
			values = append(values, d.Label+"."+v)
		}
	}
	return append(diags, soundRules(t, values, open)...)
}

// soundMeasured checks what an evaluation measures.
func soundMeasured(d *dsl.Decoded) (diags hcl.Diagnostics) {
	if has := d.Has("tasks"); has == d.Has("data") && (!has || d.Known("tasks")) {
		return hcl.Diagnostics{d.Error("tasks", "What is measured", fmt.Sprintf("evaluate %q takes exactly one of data, for a loss, "+
			"and tasks.", d.Label))}
	}
	of, not := "data", []string{"data_files", "num_fewshot", "limit", "fewshot_seed"}
	if d.Has("tasks") {
		of, not = "tasks", []string{"max_tokens"}
	}
	for _, attr := range not {
		if d.Given(attr) {
			diags = append(diags, d.Error(attr, "Not measured", fmt.Sprintf("evaluate %q measures %s, and %s is not for that: leave "+
				"it out.", d.Label, of, attr)))
		}
	}
	return diags
}

// evaluations reads what is evaluated between steps, and what that decides.
func (s *Stage) evaluations(p *blocks.Planned, t *dsl.Decoded) (diags hcl.Diagnostics) {
	for _, d := range t.List("evaluate") {
		e := &Evaluation{Name: d.Label, EverySteps: d.Int("every_steps"), EveryTokens: d.Float("every_tokens"),
			OnStart: d.Bool("on_start")}
		if !d.Has("tasks") {
			diags = append(diags, s.documents(p, d, e)...)
		}
		s.Evaluations = append(s.Evaluations, e)
	}
	s.readRules(t)
	return diags
}

// documents reads what documents an evaluation measures.
func (s *Stage) documents(p *blocks.Planned, d *dsl.Decoded, e *Evaluation) hcl.Diagnostics {
	ref, word, _ := d.Ref("data")
	e.Data = p.See(ref).(*data.Data)
	e.Windows = fineweb.Windows{Split: data.Splits[word], Length: s.Seq, Limit: int64(d.Int("max_tokens")), EndOfText: true}
	diags := s.HeldOut(d, e.Data, ref, e.Windows.Split)
	if e.Data.Conversations() && s.Tunes() == nil {
		diags = append(diags, Untuned(d, e.Data)...)
	}
	if e.Data.Source.DocumentMask != s.Mask {
		diags = append(diags, d.Error("data", "Another document mask", fmt.Sprintf("document_mask of %s is %t, and that of "+
			"%s, which the stage trains on, is %t. The model is measured by the program that trains it: make them the "+
			"same, or use an evaluate block of its own after the stage.", ref, e.Data.Source.DocumentMask, s.Data.Addr, s.Mask)))
	}
	return diags
}

// due reports whether an evaluation follows a step, of which 0 is what comes before the first.
func (s *Stage) due(e *Evaluation, step int) bool {
	if step == 0 {
		return e.OnStart
	}
	return step == s.Steps || s.regular(e, step)
}

// regular reports whether an evaluation follows a step even if it is not the last.
func (s *Stage) regular(e *Evaluation, step int) bool {
	return s.madeUpTo(e, step) > s.madeUpTo(e, step-1)
}

// madeUpTo returns how many evaluations follow regular steps up to a step.
func (s *Stage) madeUpTo(e *Evaluation, step int) float64 {
	if e.EverySteps > 0 {
		return float64(step / e.EverySteps)
	}
	per := float64(s.StepTokens())
	return math.Floor(float64(step) * per / max(e.EveryTokens, per))
}

// count returns how many evaluations follow steps after from.
func (s *Stage) count(e *Evaluation, from int) int {
	if from >= s.Steps {
		return 0
	}
	n := int(s.madeUpTo(e, s.Steps) - s.madeUpTo(e, from))
	if !s.regular(e, s.Steps) {
		n++
	}
	if from == 0 && e.OnStart {
		n++
	}
	return n
}

// evaluation returns the evaluation of a name.
func (s *Stage) evaluation(name string) *Evaluation {
	for _, e := range s.Evaluations {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// checkEvaluations warns of evaluations that are not made on the way, and of a patience that cannot end.
func (s *Stage) checkEvaluations(p *blocks.Planned) {
	for _, e := range s.Evaluations {
		if s.madeUpTo(e, s.Steps) < 1 {
			p.Warn(fmt.Sprintf("evaluate %q comes %s, and the stage has %s: it is made after the last alone", e.Name, s.often(e),
				words.Plural(s.Steps, "step")))
		}
	}
	if x := s.Ending; x != nil && x.Threshold == nil {
		e := s.evaluation(x.Value.Evaluation)
		n := s.count(e, 0)
		if e.OnStart {
			n--
		}
		if n <= x.Patience {
			p.Warn(fmt.Sprintf("stop_when cannot end it before its last step: its patience is %d, and there are %s", x.Patience,
				words.Plural(n, "evaluation")))
		}
	}
}

// often says when an evaluation is made.
func (s *Stage) often(e *Evaluation) string {
	switch {
	case e.EverySteps == 1 || e.EverySteps == 0 && e.EveryTokens <= float64(s.StepTokens()):
		return "after every step"
	case e.EverySteps > 1:
		return fmt.Sprintf("after every %d steps", e.EverySteps)
	}
	return fmt.Sprintf("every %s tokens", words.Count(e.EveryTokens))
}

// flops predicts the operations of an evaluation. On documents it runs whole micro-batches.
func (s *Stage) flops(e *Evaluation) float64 {
	if e.Tasks != nil {
		return e.asked.FLOPs(s.Program, *s.Inference)
	}
	micros := (e.takes.Sequences + int64(s.Micro) - 1) / int64(s.Micro)
	return float64(micros) * float64(s.ProbeFLOPs())
}

// forecastEvaluations predicts the operations of the evaluations after a step.
func (s *Stage) forecastEvaluations(ctx context.Context, from int, t *dsl.Decoded) (flops float64, diags hcl.Diagnostics) {
	list := t.List("evaluate")
	for i, e := range s.Evaluations {
		if e.Tasks != nil {
			flops += float64(s.count(e, from)) * s.flops(e)
			continue
		}
		var err error
		if e.takes, err = e.Data.Takes(ctx, s.Tokenizer.Ready(), e.Windows); err != nil {
			diags = append(diags, data.Unfit(list[i], "data", err)...)
		}
		flops += float64(s.count(e, from)) * s.flops(e)
	}
	return flops, diags
}

// evaluationLines say what is evaluated, and what that decides.
func (s *Stage) evaluationLines() (list []blocks.Line) {
	for _, e := range s.Evaluations {
		n := s.count(e, 0)
		when := []string{s.often(e)}
		if e.OnStart {
			when = []string{"before the first step", s.often(e)}
		}
		if !s.regular(e, s.Steps) {
			when = append(when, "after the last")
		}
		text := fmt.Sprintf("%s: %s; %d", e.Name, strings.Join(when, ", "), n)
		what := ""
		switch {
		case e.Tasks != nil:
			what = e.Tasks.Summary()
		case e.takes.Tokens > 0:
			what = fmt.Sprintf("%s tokens, %s", words.Count(e.takes.Tokens), e.takes.How)
		}
		if what != "" {
			flops := s.flops(e)
			text += fmt.Sprintf(" of %s, %sFLOP each: %.1f %% on top of the stage's", what, words.Count(flops),
				100*flops*float64(n)/s.Figures.FLOPs)
		}
		list = append(list, blocks.Line{About: "evaluation", Text: text})
	}
	if s.Ending != nil {
		list = append(list, blocks.Line{About: "ends", Text: "earlier if " + s.Ending.String()})
	}
	if s.Best != nil {
		list = append(list, blocks.Line{About: "result", Text: fmt.Sprintf("the model with the %s %s", s.Best.Best(), s.Best)})
	}
	return list
}

// measuring returns what evaluates between steps for a run.
func (s *Stage) measuring(tok *bpe.Tokenizer) (list []*train.Evaluation) {
	for _, e := range s.Evaluations {
		x := &train.Evaluation{Name: e.Name, Due: func(step int) bool { return s.due(e, step) }}
		if e.Tasks != nil {
			x.Measure = &answers{suite: e.Tasks, tok: tok, positions: s.Model.MaxPositionEmbeddings}
		} else {
			w := e.Windows
			w.Batch = s.Micro
			x.Measure = &train.Documents{Tokenizer: tok, Windows: w, Open: func(ctx context.Context) (*fineweb.Set, error) {
				return s.Tunes().Open(ctx, e.Data, w.Open, tok)
			}}
		}
		list = append(list, x)
	}
	return list
}
