package runtime

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sort"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/llama"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/metrics"
	"stepflow/runtime/state"
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
	Seq       int
	Batch     int
	MaxTokens int64
	Prompts   []string
	NewTokens int
	Sampling  Sampling
	Program   *gpu.Program // perplexity; generation is compiled for the length of its prompts
}

// Sampling says how the next token is chosen.
type Sampling struct {
	Temperature float64
	TopK        int
	TopP        float64
	Seed        uint64
}

func (p *planner) evaluate(a *Action, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	e := &Evaluation{Seq: d.Int("sequence_length"), Batch: d.Int("batch_size"), MaxTokens: int64(d.Int("max_tokens")), Prompts: d.Strs("prompts"), NewTokens: d.Int("max_new_tokens"),
		Sampling: Sampling{d.Float("temperature"), d.Int("top_k"), d.Float("top_p"), uint64(d.Int("seed"))}, DType: gpu.F32}
	ref, _, _ := d.Ref("model")
	target := p.use(a, ref)
	if s := target.Stage; s != nil {
		e.Stage, e.Model, e.Params, e.DType, e.Tokenizer = s, s.Model, s.Params, s.DType, s.Tokenizer
		if e.Seq == 0 {
			e.Seq = s.Seq
		}
	} else {
		m := target.model
		if m.Folder == "" {
			return nil, hcl.Diagnostics{d.Error("model", "Untrained model", fmt.Sprintf("%s has random weights: evaluate a stage, or a model read by from.", ref))}
		}
		e.Folder, e.Model = m.Folder, m.Config
		e.Params = llama.Declare(m.Config, make([]string, m.Config.NumHiddenLayers))
		for i := range e.Params {
			e.Params[i].ID = e.Params[i].Name
		}
		if e.Seq == 0 {
			e.Seq = m.Config.MaxPositionEmbeddings
		}
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
	if e.Seq > e.Model.MaxPositionEmbeddings {
		return nil, hcl.Diagnostics{d.Error("sequence_length", "Sequence too long", fmt.Sprintf("sequence_length %d is larger than the model's max_position_embeddings %d.", e.Seq, e.Model.MaxPositionEmbeddings))}
	}
	if a.Addr.Type == "perplexity" {
		ref, split, _ := d.Ref("data")
		if split != "validation" {
			return nil, hcl.Diagnostics{d.Error("data", "Training data", fmt.Sprintf("Perplexity is measured on held-out documents: write %s.validation, and give the data a validation_fraction.", ref))}
		}
		e.Data = p.use(a, ref).Data
		if !e.Data.HoldsOut() {
			return nil, hcl.Diagnostics{d.Error("data", "Nothing held out", fmt.Sprintf("%s holds no documents out: set its validation_fraction.", ref))}
		}
		a.hashed["sequence_length"] = strconv.Itoa(e.Seq)
		if diags := tooManyTokens(d, e.Batch, e.Seq); diags.HasErrors() {
			return nil, diags
		}
		var err error
		if e.Program, err = p.compileEvaluation(e); err != nil {
			return nil, uncompiled(d, "model", "Evaluation cannot be compiled", e.Batch, e.Seq, err)
		}
	}
	if s := e.Stage; s != nil && slices.Contains(e.Prompts, "") && !s.Data.Source.PredictFirst && (e.Tokenizer.loaded == nil || e.Tokenizer.loaded.BOS < 0) {
		return nil, hcl.Diagnostics{d.Error("prompts", "Nothing to continue", fmt.Sprintf("A prompt is empty, and %s was trained without the first tokens of documents: give the prompt text, or train on data with predict_first_token = true.", ref))}
	}
	a.Evaluate = e
	return map[string]cty.Value{}, nil
}

// load puts a trained model's weights into a program for evaluation.
func (r *runner) load(e *Evaluation, p *gpu.Program, seq int) (gpu.Loaded, error) {
	dir := e.Folder
	if e.Stage != nil {
		var err error
		if dir, err = r.contentDir(e.Stage.Addr); err != nil {
			return nil, err
		}
	}
	l, err := r.device.Load(p)
	if err != nil {
		return nil, err
	}
	f, err := checkpoint.OpenFolder(dir)
	if err != nil {
		l.Close()
		return nil, err
	}
	defer f.Close()
	err = fill(r.ctx, e.Params, "", f, func(id string, v []float32) error {
		b, _ := p.Buffer(id)
		return l.CopyIn(b.Operand, gpu.Float32Bytes(v, b.Operand.Type.DType))
	})
	if err == nil {
		err = setConstants(l, p, e.Model, seq)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (r *runner) evaluate(a *Action, entry *state.Block) error {
	e := a.Evaluate
	tok, err := r.tokenizer(e.Tokenizer)
	if err != nil {
		return err
	}
	if a.Addr.Type == "generation" {
		texts, err := r.generate(e, tok)
		entry.Values = map[string]any{"texts": texts}
		return err
	}
	corpus, err := r.open(e.Data)
	if err != nil {
		return err
	}
	defer corpus.Close()
	held, err := corpus.Held(tok, e.Seq, e.Batch, e.MaxTokens)
	if err != nil {
		return err
	}
	l, err := r.load(e, e.Program, e.Seq)
	if err != nil {
		return err
	}
	defer l.Close()
	seg, _ := e.Program.Segment(segProbe)
	out, _ := e.Program.Buffer(bufNLL)
	raw := make([]byte, out.Operand.Type.Bytes())
	// Sums in float64, token by token in order: the result does not depend on the batch size.
	var sum, squares float64
	for _, b := range held.Batches {
		if r.ctx.Err() != nil {
			return ErrInterrupted
		}
		if err := feed(l, e.Program, b, 0, e.Batch, e.Seq); err != nil {
			return err
		}
		if err := l.Run(seg.Lo, seg.Hi, false); err != nil {
			return err
		}
		if err := l.CopyOut(raw, out.Operand); err != nil {
			return err
		}
		for i, x := range gpu.BytesFloat32(raw, gpu.F32) {
			if b.Targets[i] != fineweb.Ignored {
				sum += float64(x)
				squares += float64(x) * float64(x)
			}
		}
	}
	n := float64(held.Tokens)
	loss := sum / n
	entry.Values = map[string]any{"loss": loss, "perplexity": math.Exp(loss), "bits_per_byte": sum / math.Ln2 / float64(max(held.Bytes, 1)), "tokens": n,
		"stderr": math.Sqrt(math.Max(0, squares/n-loss*loss) / n), "unigram_entropy": entropy(held), "documents": float64(held.Documents), "bytes": float64(held.Bytes),
		"random_guess": math.Log(float64(e.Model.VocabSize))}
	step := 0
	if e.Stage != nil {
		step = e.Stage.Steps
	}
	return metrics.WriteEvaluation(filepath.Join(r.dir.Path, a.Dir()), step, loss, math.Exp(loss))
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

// generate continues each prompt token by token. The whole sequence is run forward for each token.
func (r *runner) generate(e *Evaluation, tok *tokenizer.Tokenizer) ([]string, error) {
	var texts []string
	for i, prompt := range e.Prompts {
		var ids []int32
		if tok.BOS >= 0 {
			ids = append(ids, tok.BOS)
		}
		ids, err := tok.Encode(ids, prompt)
		if err != nil {
			return nil, fmt.Errorf("prompt %d: %w", i, err)
		}
		if len(ids) == 0 {
			ids = append(ids, tok.EOS) // it stands before every document that was trained on
		}
		seq := min(len(ids)+e.NewTokens, e.Model.MaxPositionEmbeddings)
		if len(ids) >= seq {
			return nil, fmt.Errorf("prompt %d has %d tokens, and the model takes %d in all: shorten it", i, len(ids), e.Model.MaxPositionEmbeddings)
		}
		p, err := compileForward(e.Model, e.Params, e.DType, 1, seq, false, true, r.plan.Caps)
		if err != nil {
			return nil, err
		}
		ids, err = r.continueText(e, p, ids, seq, i, tok.EOS)
		if err != nil {
			return nil, err
		}
		texts = append(texts, tok.Decode(ids, true))
	}
	return texts, nil
}

func (r *runner) continueText(e *Evaluation, p *gpu.Program, ids []int32, seq, n int, eos int32) ([]int32, error) {
	l, err := r.load(e, p, seq)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	in, _ := p.Buffer(bufIDs)
	out, _ := p.Buffer(bufLogits)
	seg, _ := p.Segment(segProbe)
	rng := rand.New(rand.NewPCG(e.Sampling.Seed, uint64(n)))
	row := out.Operand
	row.Type.Shape = gpu.Shape{e.Model.VocabSize}
	raw := make([]byte, row.Type.Bytes())
	for len(ids) < seq {
		if r.ctx.Err() != nil {
			return nil, ErrInterrupted
		}
		padded := make([]int32, seq)
		copy(padded, ids)
		if err := l.CopyIn(in.Operand, gpu.Int32Bytes(padded)); err != nil {
			return nil, err
		}
		if err := l.Run(seg.Lo, seg.Hi, false); err != nil {
			return nil, err
		}
		at := row
		at.Offset += int64(len(ids)-1) * row.Type.Bytes()
		if err := l.CopyOut(raw, at); err != nil {
			return nil, err
		}
		id := e.Sampling.next(gpu.BytesFloat32(raw, row.Type.DType), rng)
		if id == eos {
			break
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// next chooses a token: the likeliest at temperature 0, else a sample of softmax(logits/temperature)
// cut to the k likeliest and to the smallest set that holds probability p (Holtzman et al. 2020).
func (s Sampling) next(logits []float32, rng *rand.Rand) int32 {
	order := make([]int32, len(logits))
	for i := range order {
		order[i] = int32(i)
	}
	sort.SliceStable(order, func(i, j int) bool { return logits[order[i]] > logits[order[j]] })
	if s.Temperature == 0 {
		return order[0]
	}
	if s.TopK > 0 && s.TopK < len(order) {
		order = order[:s.TopK]
	}
	p := make([]float64, len(order))
	var sum float64
	for i, id := range order {
		p[i] = math.Exp(float64(logits[id]-logits[order[0]]) / s.Temperature)
		sum += p[i]
	}
	if s.TopP < 1 {
		var kept float64
		for i := range p {
			kept += p[i]
			if kept >= s.TopP*sum {
				p, sum = p[:i+1], kept
				break
			}
		}
	}
	x := rng.Float64() * sum
	for i := range p {
		if x -= p[i]; x < 0 {
			return order[i]
		}
	}
	return order[len(p)-1]
}
