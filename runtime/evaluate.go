package runtime

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/llama"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/state"
	"stepflow/runtime/train"
)

// Evaluation is a planned evaluate block.
type Evaluation struct {
	Stage     *Stage // what to evaluate; nil for an imported model
	Folder    string // of the imported model
	Model     llama.Config
	Params    []ops.Param
	DType     gpu.DType
	Tokenizer *Tokenizer
	Data      *Data
	Windows   fineweb.Windows
	Usual     bool // the window is usualContext, of a model that takes more
	Most      int  // sequences at a time that were asked for
	Fits      int  // of them that fit the device; Windows.Batch are taken
	Prompts   []string
	NewTokens int
	Sampling  Sampling
	Program   *gpu.Program // perplexity; generation is compiled for the length of its prompts
	Forecast  Forecast
}

// usualContext is how many tokens an imported model sees at once where nothing is said: what its configuration takes, but not
// more than this. Published perplexities of models with long contexts are mostly of windows of 2048.
const usualContext = 2048

func (p *planner) evaluate(a *Action, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	e := &Evaluation{Prompts: d.Strs("prompts"), NewTokens: d.Int("max_new_tokens"), DType: gpu.F32,
		Sampling: Sampling{d.Float("temperature"), d.Int("top_k"), d.Float("top_p"), uint64(d.Int("seed"))}}
	ref, _, _ := d.Ref("model")
	target := p.use(a, ref)
	usual := 0
	if s := target.Stage; s != nil {
		e.Stage, e.Model, e.Params, e.DType, e.Tokenizer, usual = s, s.Model, s.Params, s.DType, s.Tokenizer, s.Seq
	} else {
		m := target.model
		if m.Folder == "" {
			return nil, hcl.Diagnostics{d.Error("model", "Untrained model", fmt.Sprintf("%s has random weights: evaluate a stage, or a model read by from.", ref))}
		}
		e.Folder, e.Model, usual = m.Folder, m.Config, min(m.Config.MaxPositionEmbeddings, usualContext)
		e.Params = importedParams(m.Config)
	}
	if ref, _, ok := d.Ref("tokenizer"); ok {
		e.Tokenizer = p.use(a, ref).Token
	} else if e.Tokenizer != nil {
		a.Inputs[e.Tokenizer.Addr.String()] = p.ids[e.Tokenizer.Addr]
	} else {
		return nil, hcl.Diagnostics{d.Error("tokenizer", "No tokenizer", "A model that was not trained by a stage needs tokenizer.")}
	}
	delete(a.hashed, "tokenizer") // it is among the inputs, named or not
	if e.Tokenizer.VocabSize > e.Model.VocabSize {
		return nil, hcl.Diagnostics{d.Error("tokenizer", "Vocabulary too small", fmt.Sprintf("The model's vocab_size is %d, the tokenizer has %d tokens.", e.Model.VocabSize, e.Tokenizer.VocabSize))}
	}
	if other := target.model; other != nil {
		a.warn(other.otherTokens(e.Tokenizer))
	}
	if a.Addr.Type == "perplexity" {
		if diags := p.perplexity(a, e, d, usual); diags.HasErrors() {
			return nil, diags
		}
	}
	if s := e.Stage; s != nil && slices.Contains(e.Prompts, "") && !s.Data.Source.PredictFirst && (e.Tokenizer.loaded == nil || e.Tokenizer.loaded.BOS < 0) {
		return nil, hcl.Diagnostics{d.Error("prompts", "Nothing to continue", fmt.Sprintf("A prompt is empty, and %s was trained without the first tokens of documents: give the prompt text, or train on data with predict_first_token = true.", ref))}
	}
	a.Evaluate = e
	return map[string]cty.Value{}, nil
}

// importedParams are the parameters of an imported model, with their names as ids.
func importedParams(c llama.Config) []ops.Param {
	list := llama.Declare(c, make([]string, c.NumHiddenLayers))
	for i := range list {
		list[i].ID = list[i].Name
	}
	return list
}

// splits are the documents of data by the word behind its address.
var splits = map[string]fineweb.Split{"validation": fineweb.Validation, "all": fineweb.All}

// perplexity plans what an evaluation measures: documents, windows, program.
func (p *planner) perplexity(a *Action, e *Evaluation, d *dsl.Decoded, usual int) hcl.Diagnostics {
	ref, word, _ := d.Ref("data")
	e.Data = p.use(a, ref).Data
	trained := trainedOn(e.Stage, e.Data)
	w := &e.Windows
	*w = fineweb.Windows{Split: splits[word], Length: d.Int("sequence_length"), Stride: d.Int("stride"), Limit: int64(d.Int("max_tokens")), EndOfText: d.Bool("end_of_text")}
	switch {
	case w.Split == 0:
		return hcl.Diagnostics{d.Error("data", "Training data", fmt.Sprintf("Perplexity is measured on held-out documents: write %s.validation, and give the data a validation_fraction; or %s.all, if nothing is trained on them.", ref, ref))}
	case w.Split == fineweb.Validation && !e.Data.HoldsOut():
		return hcl.Diagnostics{d.Error("data", "Nothing held out", fmt.Sprintf("%s holds no documents out: set its validation_fraction, or measure %s.all if nothing is trained on them.", ref, ref))}
	case w.Split == fineweb.All && trained != nil:
		return hcl.Diagnostics{d.Error("data", "Training data", fmt.Sprintf("%s was trained on documents of %s: measure %s.validation.", trained.Addr, ref, ref))}
	}
	if d.Has("join") {
		join := d.Str("join")
		w.Join = &join
		for _, n := range e.Data.sources() {
			if n.Source.Format == "bin" {
				return hcl.Diagnostics{d.Error("join", "Tokens cannot be joined", fmt.Sprintf("%s holds tokens, and join takes texts: leave it out.", n.Addr))}
			}
		}
	}
	if !d.Has("end_of_text") {
		w.EndOfText = w.Join == nil
	}
	if w.Length == 0 {
		w.Length = usual
		e.Usual = e.Stage == nil && usual < e.Model.MaxPositionEmbeddings
	}
	if w.Length > e.Model.MaxPositionEmbeddings {
		return hcl.Diagnostics{d.Error("sequence_length", "Sequence too long", fmt.Sprintf("sequence_length %d is larger than the model's %s.", w.Length, e.Model.Longest()))}
	}
	if w.Length < 2 && w.Stride > 0 {
		return hcl.Diagnostics{d.Error("stride", "Nothing to predict", "The windows hold one token, as many as the model was trained on or takes, and of windows that slide the first token is not predicted. Leave stride out, or set sequence_length to 2 or more.")}
	}
	if w.Stride > w.Length {
		return hcl.Diagnostics{d.Error("stride", "Tokens left out", fmt.Sprintf("stride %d is larger than sequence_length %d: no window would hold the tokens between. Lower it.", w.Stride, w.Length))}
	}
	a.hashed["sequence_length"], a.hashed["end_of_text"] = strconv.Itoa(w.Length), strconv.FormatBool(w.EndOfText)
	e.Most = d.Int("batch_size")
	if diags := tooManyTokens(d, e.Most, w.Length); diags.HasErrors() {
		return diags
	}
	var err error
	for w.Batch = e.Most; ; w.Batch = (w.Batch + 1) / 2 { // the result does not depend on it
		if e.Program, err = p.programs.Pass(e.pass()); err != nil {
			return uncompiled(d, "model", "Evaluation cannot be compiled", w.Batch, w.Length, err)
		}
		if w.Batch == 1 || p.caps.Memory == 0 || e.Program.ArenaBytes <= p.caps.Memory {
			break
		}
	}
	e.Fits = w.Batch
	a.tooLarge(p.caps, e.Program.ArenaBytes, "the evaluation", "Lower sequence_length")
	return nil
}

// tooLarge notes that a program does not fit the device, and what to do about it.
func (a *Action) tooLarge(caps gpu.Caps, need int64, what, remedy string) {
	if missing := need - caps.Memory; caps.Memory > 0 && missing > 0 {
		a.TooLarge = fmt.Sprintf("%s takes %s of device memory and the device has %s: %d bytes are missing. %s", what, dsl.FormatBytes(need), dsl.FormatBytes(caps.Memory), missing, remedy)
		a.Warnings = append(a.Warnings, a.TooLarge)
	}
}

// trainedOn is the stage of those that led to one, itself included, that read data, alone or in a mixture; nil for none.
func trainedOn(s *Stage, n *Data) *Stage {
	for ; s != nil; s = s.From {
		for _, mine := range s.Data.sources() {
			for _, theirs := range n.sources() {
				if mine == theirs {
					return s
				}
			}
		}
	}
	return nil
}

// pass is the forward pass that measures the model on windows.
func (e *Evaluation) pass() train.Pass {
	return train.Pass{Model: e.Model, Params: e.Params, DType: e.DType, Batch: e.Windows.Batch, Seq: e.Windows.Length, Mask: e.Data.Source.DocumentMask}
}

// continuation is the forward pass that continues a text of so many tokens at most.
func (e *Evaluation) continuation(seq int) train.Pass {
	return train.Pass{Model: e.Model, Params: e.Params, DType: e.DType, Batch: 1, Seq: seq, Logits: true}
}

// load puts the model's weights into the program of a pass.
func (r *runner) load(ctx context.Context, e *Evaluation, program *gpu.Program, pass train.Pass) (*train.Forward, error) {
	dir := e.Folder
	if e.Stage != nil {
		var err error
		if dir, err = r.contentDir(e.Stage.Addr); err != nil {
			return nil, err
		}
	}
	return train.LoadForward(ctx, r.device, program, pass, dir)
}

func (r *runner) evaluate(ctx context.Context, a *Action, entry *state.Block) error {
	e := a.Evaluate
	tok, err := r.tokenizer(e.Tokenizer)
	if err != nil {
		return err
	}
	measure := r.perplexity
	if a.Addr.Type == "generation" {
		measure = r.generate
	}
	values, err := measure(ctx, a, e, tok)
	if err != nil {
		return err
	}
	entry.Values = writable(values)
	if s := diagnosisOf(values); s != "" {
		r.running.Warn(ctx, "%s", s)
	}
	return nil
}

// perplexity measures the loss of a model on documents.
func (r *runner) perplexity(ctx context.Context, a *Action, e *Evaluation, tok *tokenizer.Tokenizer) (map[string]any, error) {
	corpus, err := r.openWith(e.Data, e.Windows.Open)
	if err != nil {
		return nil, err
	}
	defer corpus.Close()
	l, err := r.load(ctx, e, e.Program, e.pass())
	if err != nil {
		return nil, err
	}
	defer l.Close()
	// Sums in float64, token by token in order: the result does not depend on the batch size.
	var sum, squares float64
	diagnosis, began, flops := "", time.Now(), 0.0
	each, _ := e.Program.FLOPs(train.SegProbe)
	held, err := corpus.Held(tok, e.Windows, func(b *fineweb.Batch) error {
		if ctx.Err() != nil {
			return observe.ErrInterrupted
		}
		if diagnosis != "" { // nothing makes it finite any more; the tokens are counted
			return nil
		}
		nll, err := l.NLL(b)
		if err != nil {
			return err
		}
		flops += float64(each)
		for i, x := range nll {
			if b.Targets[i] == fineweb.Ignored {
				continue
			}
			sum += float64(x)
			squares += float64(x) * float64(x)
			if !metrics.Finite(sum) {
				var err error
				diagnosis, err = l.Diagnose("loss is " + metrics.Text(sum))
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.took(rateName(rateMeasure, r.plan.Caps, e.DType, e.Program, train.SegProbe, 0), flops, time.Since(began))
	if diagnosis == "" && l.Flaw.Found() {
		r.running.Warn(ctx, "%s, which no token that was measured reads", l.Flaw.String())
	}
	n := float64(held.Tokens)
	loss := sum / n
	values := map[string]any{"loss": loss, "perplexity": math.Exp(loss), "bits_per_byte": sum / math.Ln2 / float64(held.Bytes), "word_perplexity": math.Exp(sum / float64(held.Words)),
		"tokens": n, "bytes": float64(held.Bytes), "words": float64(held.Words), "documents": float64(held.Documents),
		"stderr": math.Sqrt(math.Max(0, squares/n-loss*loss) / n), "unigram_entropy": entropy(held), "random_guess": math.Log(float64(e.Model.VocabSize))}
	for name, by := range map[string]int64{"bits_per_byte": held.Bytes, "word_perplexity": held.Words} {
		if by <= 0 {
			values[name] = nil
			r.running.Warn(ctx, "%s is not defined: %s", name, notDefined[name])
		}
	}
	if diagnosis != "" {
		values[valueDiagnosis] = diagnosis
	}
	step := 0
	if e.Stage != nil {
		step = e.Stage.Steps
	}
	return values, metrics.WriteEvaluation(filepath.Join(r.dir.Path, a.Dir()), step, loss, math.Exp(loss))
}

// entropy is that of the frequencies of the held-out tokens, in nats.
func entropy(h *fineweb.Held) (sum float64) {
	ids := make([]int32, 0, len(h.Counts))
	for id := range h.Counts {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	for _, id := range ids {
		p := float64(h.Counts[id]) / float64(h.Tokens)
		sum -= p * math.Log(p)
	}
	return sum
}
