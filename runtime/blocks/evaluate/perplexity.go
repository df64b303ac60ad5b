package evaluate

import (
	"context"
	"fmt"
	"maps"
	"math"
	"sort"
	"strconv"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/forward"
	"stepflow/runtime/metrics"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
	"stepflow/tracing"
)

// measuring is the work of a Perplexity.
const measuring blocks.Work = "perplexity"

// Perplexity measures the loss of a model on documents.
type Perplexity struct {
	*Subject
	Data    *data.Data
	Windows fineweb.Windows // of the documents; Batch is as many as fit the device
	Program *gpu.Program
	Leaks   contamination

	usual bool // the window is usualContext, and the model takes more
	most  int  // sequences at a time that the block asks for
	fits  int  // how many of them fit the device
}

// pass returns the forward pass that measures.
func (e *Perplexity) pass() program.Pass {
	return program.Pass{Model: e.Model, Params: e.Params, DType: e.DType, Batch: e.Windows.Batch, Seq: e.Windows.Length,
		Mask: e.Data.Source.DocumentMask}
}

// Plan reads the documents and the windows, and compiles the program.
func (e *Perplexity) Plan(ctx context.Context, p *blocks.Planned, d *dsl.Decoded, sees int) hcl.Diagnostics {
	if diags := e.readDocuments(p, d); diags.HasErrors() {
		return diags
	}
	if diags := e.readWindows(d, sees); diags.HasErrors() {
		return diags
	}
	var diags hcl.Diagnostics
	if e.Leaks, diags = e.readContamination(p, d); diags.HasErrors() {
		return diags
	}
	return e.fit(p, d)
}

// readDocuments reads what is measured.
func (e *Perplexity) readDocuments(p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	ref, word, _ := d.Ref("data")
	e.Data = p.Use(ref).(*data.Data)
	talk := e.Data.Conversations()
	if talk && e.Stage.Tunes() == nil {
		return stage.Untuned(d, e.Data)
	}
	for _, x := range []string{"stride", "join", "end_of_text"} {
		if talk && d.Has(x) {
			return hcl.Diagnostics{d.Error(x, "Conversations", fmt.Sprintf("%s holds conversations, which lie whole in windows, and %s "+
				"is for documents: leave it out.", ref, x))}
		}
	}
	w := &e.Windows
	*w = fineweb.Windows{Split: data.Splits[word], Length: d.Int("sequence_length"), Stride: d.Int("stride"),
		Limit: int64(d.Int("max_tokens")), EndOfText: d.Bool("end_of_text")}
	if diags := e.Stage.HeldOut(d, e.Data, ref, w.Split); diags.HasErrors() {
		return diags
	}
	if d.Has("join") {
		join := d.Str("join")
		w.Join = &join
		for _, n := range e.Data.InFiles() {
			if n.Source.Format == "bin" {
				return hcl.Diagnostics{d.Error("join", "Tokens cannot be joined",
					fmt.Sprintf("%s holds tokens, and join takes texts: leave it out.", n.Addr))}
			}
		}
	}
	if !d.Has("end_of_text") {
		w.EndOfText = w.Join == nil
	}
	return nil
}

// readWindows finds the length of the windows, of a model that sees so many tokens unless the block says otherwise.
func (e *Perplexity) readWindows(d *dsl.Decoded, sees int) hcl.Diagnostics {
	w := &e.Windows
	if w.Length == 0 {
		w.Length = sees
		e.usual = e.Stage == nil && sees < e.Model.MaxPositionEmbeddings
	}
	if w.Length > e.Model.MaxPositionEmbeddings {
		return hcl.Diagnostics{d.Error("sequence_length", "Sequence too long",
			fmt.Sprintf("sequence_length %d is larger than the model's %s.", w.Length, e.Model.Longest()))}
	}
	if w.Length < 2 && w.Stride > 0 {
		return hcl.Diagnostics{d.Error("stride", "Nothing to predict",
			"The windows hold one token, and the first token of a sliding window is not "+
				"predicted. Leave stride out, or set sequence_length to 2 or more.")}
	}
	if w.Stride > w.Length {
		return hcl.Diagnostics{d.Error("stride", "Tokens left out",
			fmt.Sprintf("stride %d is larger than sequence_length %d: no window would hold the tokens between. Lower it.",
				w.Stride, w.Length))}
	}
	return nil
}

// fit compiles the program, for as many sequences at a time as fit the device.
func (e *Perplexity) fit(p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	w := &e.Windows
	p.Hashed["sequence_length"], p.Hashed["end_of_text"] = strconv.Itoa(w.Length), strconv.FormatBool(w.EndOfText)
	e.most = d.Int("batch_size")
	if diags := blocks.TooManyTokens(d, e.most, w.Length); diags.HasErrors() {
		return diags
	}
	var err error
	for w.Batch = e.most; ; w.Batch = (w.Batch + 1) / 2 { // the result does not depend on it
		if e.Program, err = p.World.Programs.Pass(e.pass()); err != nil {
			return blocks.Uncompiled(d, "model", "Evaluation cannot be compiled", w.Batch, w.Length, err)
		}
		if w.Batch == 1 || p.World.Caps.Memory == 0 || e.Program.ArenaBytes <= p.World.Caps.Memory {
			break
		}
	}
	e.fits = w.Batch
	p.CheckFits(e.Program.ArenaBytes, "the evaluation", "Lower sequence_length")
	return nil
}

// Forecast predicts what the evaluation takes. Its tokens and windows are counted if they are few, and else estimated.
func (e *Perplexity) Forecast(ctx context.Context, p *blocks.Planned, d *dsl.Decoded,
	f *blocks.Forecast) hcl.Diagnostics {
	if err := e.forecast(ctx, p.World, f); err != nil {
		return data.Unfit(d, "data", err)
	}
	return nil
}

func (e *Perplexity) forecast(ctx context.Context, world *blocks.World, f *blocks.Forecast) error {
	w, tok := e.Windows, e.Tokenizer.Ready()
	f.Program(e.Program)
	takes, err := e.Data.Takes(ctx, tok, w)
	if err != nil || takes.Tokens == 0 {
		return err
	}
	f.Tokens, f.How = takes.Tokens, takes.How
	batches := (takes.Sequences + int64(w.Batch) - 1) / int64(w.Batch)
	if takes.Whole && batches > 0 { // the same number of smaller batches has less padding
		e.Windows.Batch = int((takes.Sequences + batches - 1) / batches)
		if e.Program, err = world.Programs.Pass(e.pass()); err != nil {
			return err
		}
		f.Program(e.Program)
	}
	f.FLOPs = float64(e.pass().FLOPs(e.Program)) * float64(batches)
	f.Predict(world, measuring, e.DType, e.Program, program.SegProbe)
	return nil
}

// Documents returns the documents that are measured.
func (e *Perplexity) Documents() (*data.Data, fineweb.Windows) { return e.Data, e.Windows }

// Known returns the values that are known before it runs.
func (e *Perplexity) Known() map[string]cty.Value { return e.Leaks.known() }

// Details returns the windows, and what measuring them takes.
func (e *Perplexity) Details(f *blocks.Forecast) (list []blocks.Line) {
	w := e.Windows
	text := fmt.Sprintf("windows of %d tokens", w.Length)
	if w.Stride > 0 {
		text += fmt.Sprintf(", sliding by %d", w.Stride)
	}
	if e.usual {
		text += fmt.Sprintf(": the model takes %d, and published figures are mostly of windows of %d; sequence_length "+
			"sets it",
			e.Model.MaxPositionEmbeddings, w.Length)
	}
	if e.fits < e.most {
		text += fmt.Sprintf("; %d at a time, the most of %d that fit", e.fits, e.most)
	}
	takes := "an unknown time: the number of tokens is known only when the data are read"
	if f.Tokens > 0 {
		takes = fmt.Sprintf("%s tokens, %s; %sFLOP%s", words.Count(f.Tokens), f.How, words.Count(f.FLOPs),
			f.Time("FLOP/s", "the last one like it"))
	}
	list = []blocks.Line{{About: "context", Text: text}, {About: "takes", Text: takes}}
	return append(list, e.Leaks.details()...)
}

// Run measures the loss of the model on the documents.
func (e *Perplexity) Run(ctx context.Context, r *blocks.Run, tok *bpe.Tokenizer) (map[string]any, error) {
	corpus, err := e.Stage.Tunes().Open(ctx, e.Data, e.Windows.Open, tok)
	if err != nil {
		return nil, err
	}
	defer corpus.Close()
	weights, err := e.weights(r)
	if err != nil {
		return nil, err
	}
	var model *forward.Forward
	err = r.Observe.Inside(ctx, tracing.SpanWeights, func(context.Context) error {
		model, err = forward.Load(ctx, r.Device, e.Program, e.pass(), weights)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer model.Close()
	began, m := time.Now(), measured{model: model}
	batches := r.Observe.Batches(ctx, tracing.SpanBatch, tracing.Tokens)
	turns := newTurns(r.Comm, &m, func(b *fineweb.Batch) { batches.Done(int64(b.Valid)) })
	held, err := corpus.Held(tok, e.Windows, func(b *fineweb.Batch) error { return turns.add(ctx, b) })
	if err == nil {
		err = turns.end(ctx)
	}
	batches.End()
	if err != nil || r.Follows() {
		return nil, err
	}
	each := e.pass().FLOPs(e.Program)
	rate := measuring.Rate(r.World.Caps, e.DType, e.Program, program.SegProbe, 0)
	r.Took(rate, float64(each)*float64(m.batches), time.Since(began))
	if m.diagnosis == "" && model.Flaw.Found() {
		r.Observe.Warn(ctx, "%s; no measured token reads it", model.Flaw.String())
	}
	values := m.values(held)
	if e.Leaks.looks {
		maps.Copy(values, unknownContamination())
		err := e.contaminated(ctx, r, tok, weights, func(k *fineweb.Check) error {
			return corpus.Measured(k, tok, e.Windows)
		}, func(k *fineweb.Check, trained []*data.Data) {
			found := k.Result()
			maps.Copy(values, contaminationValues(found))
			tellContamination(ctx, r, "", found, trained, []*data.Data{e.Data})
		})
		if err != nil {
			return nil, err
		}
	}
	values["random_guess"] = math.Log(float64(e.Model.VocabSize))
	for name, by := range map[string]int64{"bits_per_byte": held.Bytes, "word_perplexity": held.Words} {
		if by <= 0 {
			values[name] = nil
			r.Observe.Warn(ctx, "%s is not defined: %s", name, blocks.NotDefined[name])
		}
	}
	loss := values["loss"].(float64)
	return values, metrics.WriteEvaluation(r.Folder(), e.step(weights), loss, math.Exp(loss))
}

// measured is what a model made of the batches so far.
type measured struct {
	forward.Loss
	model     *forward.Forward
	batches   int    // that this rank measured
	diagnosis string // why the loss is not finite; only tokens are counted then
}

// values returns what the block exports, of the tokens held out.
func (m *measured) values(held *fineweb.Held) map[string]any {
	values := map[string]any{"tokens": float64(held.Tokens), "bytes": float64(held.Bytes), "words": float64(held.Words),
		"documents": float64(held.Documents), "unigram_entropy": entropy(held)}
	for name, v := range m.Values(held) {
		values[name] = v
	}
	if m.diagnosis != "" {
		values[blocks.Flaw] = m.diagnosis
	}
	return values
}

// entropy returns the entropy of the frequencies of the measured tokens, in nats.
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
