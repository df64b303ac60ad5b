package stage

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/train"
	"stepflow/runtime/words"
)

// Evaluation is an evaluate block inside train: it measures the model between steps.
type Evaluation struct {
	Name        string
	EverySteps  int     // steps between evaluations; 0 where EveryTokens says it
	EveryTokens float64 // of training
	OnStart     bool    // there is one before the first step
	Data        *data.Data
	Windows     fineweb.Windows

	takes data.Takes
}

// measures are the values that an evaluation gives and that may decide something. All are better when lower.
var measures = []string{"loss", "perplexity", "bits_per_byte"}

// soundEvaluations checks the evaluations of a train block, and what their values decide.
func soundEvaluations(t *dsl.Decoded) (diags hcl.Diagnostics) {
	seen := map[string]bool{}
	var values []string
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
		for _, v := range measures {
			values = append(values, d.Label+"."+v)
		}
	}
	diags = append(diags, knownValue(t, "keep_best", values)...)
	stop := t.Block("stop_when")
	if stop == nil {
		return diags
	}
	if !stop.Has("patience") && !stop.Has("threshold") {
		diags = append(diags, stop.Error("patience", "Never ends", "stop_when takes patience, threshold, or both."))
	}
	return append(diags, knownValue(stop, "value", values)...)
}

// knownValue checks that an attribute names a value that an evaluation gives.
func knownValue(d *dsl.Decoded, attr string, values []string) hcl.Diagnostics {
	v := d.Str(attr)
	switch {
	case !d.Known(attr) || slices.Contains(values, v):
		return nil
	case len(values) == 0:
		return hcl.Diagnostics{d.Error(attr, "Nothing evaluated", fmt.Sprintf("%s needs an evaluation between steps: add a "+
			"block such as evaluate \"validation\" to train.", attr))}
	case d.Sensitive[attr]:
		return hcl.Diagnostics{d.Error(attr, "Unknown value", fmt.Sprintf("%s is no value of an evaluation of this train "+
			"block.", attr))}
	}
	return hcl.Diagnostics{d.Error(attr, "Unknown value", fmt.Sprintf("%s is %q, which no evaluation of this train block "+
		"gives.%s They give %s.", attr, v, dsl.Suggest(v, values), strings.Join(values, ", ")))}
}

// evaluations reads what is evaluated between steps, and what that decides.
func (s *Stage) evaluations(p *blocks.Planned, t *dsl.Decoded) (diags hcl.Diagnostics) {
	for _, d := range t.List("evaluate") {
		ref, word, _ := d.Ref("data")
		e := &Evaluation{Name: d.Label, EverySteps: d.Int("every_steps"), EveryTokens: d.Float("every_tokens"),
			OnStart: d.Bool("on_start"),
			Data:    p.World.Find(ref).Block.(*data.Data), // not used as an input: it changes no bit
			Windows: fineweb.Windows{Split: data.Splits[word], Length: s.Seq, Limit: int64(d.Int("max_tokens")), EndOfText: true}}
		diags = append(diags, s.HeldOut(d, e.Data, ref, e.Windows.Split)...)
		if e.Data.Conversations() && s.Tunes() == nil {
			diags = append(diags, Untuned(d, e.Data)...)
		}
		if e.Data.Source.DocumentMask != s.Mask {
			diags = append(diags, d.Error("data", "Another document mask", fmt.Sprintf("document_mask of %s is %t, and that of "+
				"%s, which the stage trains on, is %t. The model is measured by the program that trains it: make them the "+
				"same, or use an evaluate block of its own after the stage.", ref, e.Data.Source.DocumentMask, s.Data.Addr, s.Mask)))
		}
		s.Evaluations = append(s.Evaluations, e)
	}
	if v := t.Str("keep_best"); v != "" {
		s.Best = valueOf(v)
	}
	if d := t.Block("stop_when"); d != nil {
		s.Ending = &train.Ending{Value: *valueOf(d.Str("value")), Patience: d.Int("patience"), MinDelta: d.Float("min_delta")}
		if d.Has("threshold") {
			x := d.Float("threshold")
			s.Ending.Threshold = &x
		}
	}
	return diags
}

// valueOf reads NAME.VALUE.
func valueOf(text string) *train.Value {
	name, value, _ := strings.Cut(text, ".")
	return &train.Value{Evaluation: name, Name: value}
}

// decides reports whether values of evaluations decide what the stage's result is.
func (s *Stage) decides() bool { return s.Ending != nil || s.Best != nil }

// Due reports whether an evaluation follows a step, of which 0 is what comes before the first.
func (s *Stage) due(e *Evaluation, step int) bool {
	if step == 0 {
		return e.OnStart
	}
	return step == s.Steps || s.regular(e, step)
}

// regular reports whether an evaluation follows a step even if it is not the last.
func (s *Stage) regular(e *Evaluation, step int) bool {
	return s.before(e, step) > s.before(e, step-1)
}

// before returns how many evaluations there are at regular steps, up to one.
func (s *Stage) before(e *Evaluation, step int) float64 {
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
	n := int(s.before(e, s.Steps) - s.before(e, from))
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

// decided are the rules by which values of evaluations decide what the stage's result is, each with what identifies its
// evaluation: the part of a pace of stages that have such rules.
type decided struct {
	Ending   *train.Ending `json:"stop_when,omitempty"`
	EndingOf string        `json:"stop_when_of,omitempty"`
	Best     *train.Value  `json:"keep_best,omitempty"`
	BestOf   string        `json:"keep_best_of,omitempty"`
}

// rules returns what evaluations decide. Names of evaluations are no part of it.
func (s *Stage) rules() (r decided) {
	describe := func(v train.Value) (train.Value, string) {
		e := s.evaluation(v.Evaluation)
		return train.Value{Name: v.Name}, fmt.Sprintf("%s split %d every %d %v, %d", s.world.ID(e.Data.Addr),
			int(e.Windows.Split), e.EverySteps, e.EveryTokens, e.Windows.Limit)
	}
	if s.Ending != nil {
		x := *s.Ending
		x.Value, r.EndingOf = describe(x.Value)
		r.Ending = &x
	}
	if s.Best != nil {
		x, of := describe(*s.Best)
		r.Best, r.BestOf = &x, of
	}
	return r
}

// identifyRules writes what evaluations decide. An evaluation that decides nothing is no part of the stage's identity.
func (s *Stage) identifyRules(w io.Writer) {
	r := s.rules()
	if x := r.Ending; x != nil {
		fmt.Fprintf(w, "stop_when %s %d %v", x.Value.Name, x.Patience, x.MinDelta)
		if x.Threshold != nil {
			fmt.Fprintf(w, " %v", *x.Threshold)
		}
		fmt.Fprintf(w, " of %s\n", r.EndingOf)
	}
	if r.Best != nil {
		fmt.Fprintf(w, "keep_best %s of %s\n", r.Best.Name, r.BestOf)
	}
}

// follows reports whether a run by other rules, up to a step of it, is what this one is as far as rules go: it has what
// these rules need, and was not to go on at a step at which this one ends.
func (s *Stage) follows(was decided, wasSteps, step int) bool {
	if !s.decides() {
		return true
	}
	for _, e := range s.Evaluations { // one after a last step that is no regular one would count here, and not in a longer run
		if step == wasSteps && step != s.Steps && !s.regular(e, step) {
			return false
		}
	}
	is := s.rules()
	if is.Best != nil && (was.Best == nil || *was.Best != *is.Best || was.BestOf != is.BestOf) {
		return false
	}
	a, b := is.Ending, was.Ending
	if a == nil {
		return true
	}
	same := func(x, y *float64) bool { return x == nil && y == nil || x != nil && y != nil && *x == *y }
	return b != nil && is.EndingOf == was.EndingOf && a.Value == b.Value && a.MinDelta == b.MinDelta && same(a.Threshold, b.Threshold) &&
		(a.Patience == b.Patience || a.Patience == 0 || b.Patience > 0 && a.Patience > b.Patience)
}

// checkEvaluations warns of evaluations that are not made on the way, and of a patience that cannot end.
func (s *Stage) checkEvaluations(p *blocks.Planned) {
	for _, e := range s.Evaluations {
		if s.before(e, s.Steps) < 1 {
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

// micros is how many micro-batches an evaluation runs.
func (s *Stage) micros(e *Evaluation) int64 {
	return (e.takes.Sequences + int64(s.Micro) - 1) / int64(s.Micro)
}

// forecastEvaluations predicts the operations of the evaluations after a step.
func (s *Stage) forecastEvaluations(ctx context.Context, from int, t *dsl.Decoded) (flops float64, diags hcl.Diagnostics) {
	list := t.List("evaluate")
	for i, e := range s.Evaluations {
		var err error
		if e.takes, err = e.Data.Takes(ctx, s.Tokenizer.Ready(), e.Windows); err != nil {
			diags = append(diags, data.Unfit(list[i], "data", err)...)
		}
		flops += float64(s.count(e, from)) * float64(s.micros(e)) * float64(s.ProbeFLOPs())
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
		if e.takes.Tokens > 0 {
			flops := float64(s.micros(e)) * float64(s.ProbeFLOPs())
			text += fmt.Sprintf(" of %s tokens, %s, %sFLOP each: %.1f %% on top of the stage's", words.Count(e.takes.Tokens),
				e.takes.How, words.Count(flops), 100*flops*float64(n)/s.Figures.FLOPs)
		}
		list = append(list, blocks.Line{About: "evaluation", Text: text})
	}
	if s.Ending != nil {
		list = append(list, blocks.Line{About: "ends", Text: "earlier if " + s.Ending.String()})
	}
	if s.Best != nil {
		list = append(list, blocks.Line{About: "result", Text: fmt.Sprintf("the model with the lowest %s", s.Best)})
	}
	return list
}

// measuring returns what evaluates between steps for a run.
func (s *Stage) measuring(tok *bpe.Tokenizer) (list []*train.Evaluation) {
	for _, e := range s.Evaluations {
		w := e.Windows
		w.Batch = s.Micro
		list = append(list, &train.Evaluation{Name: e.Name, Due: func(step int) bool { return s.due(e, step) },
			Measure: &train.Documents{Tokenizer: tok, Windows: w, Open: func(ctx context.Context) (*fineweb.Set, error) {
				return s.Tunes().Open(ctx, e.Data, w.Open, tok)
			}}})
	}
	return list
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
