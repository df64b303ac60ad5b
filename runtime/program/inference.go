package program

import (
	"fmt"
	"slices"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/graph"
)

// Inference is a model that is run forward while keys and values of earlier tokens are kept: what its program is made
// from. The program has weights and cache once, and segments of several shapes that share them:
//
//   - SegContext(n) keeps keys and values of the next n tokens, at most, of Rows(n) texts, each in a slot.
//   - SegScore(n) scores continuations of n tokens at most, each of the text in a slot, and keeps nothing. A row begins with
//     the last token of its text.
//   - SegDecode gives the logits of the token after one more token of each of Texts texts, and keeps that.
//
// Programs.Inference sets Slots and Tokens.
type Inference struct {
	Model  arch.Model
	Params []ops.Param
	DType  gpu.DType

	Context      int // tokens of the longest text whose keys and values are kept
	Continuation int // tokens of the longest continuation that is scored; 0 if none is
	Texts        int // that are continued at once, a token each; 0 if none is

	Slots  int // texts whose keys and values are kept at once
	Tokens int // of a run of a segment, where rows are not longer: what suits the device, unless the caller sets the most
}

// Widen lets the program take what y takes too.
func (x *Inference) Widen(y Inference) {
	x.Context, x.Continuation, x.Texts = max(x.Context, y.Context), max(x.Continuation, y.Continuation), max(x.Texts, y.Texts)
}

// Buffers of a program of inference. Those that segments of several shapes read begin with what a run takes.
const (
	BufTextIDs       = "inference/ids"       // i32
	BufTextPositions = "inference/positions" // i32, of the tokens in their texts
	BufTextTargets   = "inference/targets"   // i32
	BufTextSlot      = "inference/slot"      // i32, a row
	BufTextPast      = "inference/past"      // i32, a row: how much of its text is kept
	BufTextCount     = "inference/count"     // i32, a row: how many of its tokens are to be kept
	BufTextLogits    = "inference/logits"    // [Texts, vocab]
)

// BufTextConst is a table of the model, by its name.
func BufTextConst(name string) string { return "inference/" + name }

// BufKeys and BufValues are what is kept of a layer.
func BufKeys(layer int) string   { return fmt.Sprintf("cache/%d/keys", layer) }
func BufValues(layer int) string { return fmt.Sprintf("cache/%d/values", layer) }

// BufScoreNLL and BufScoreGreedy are what SegScore(n) gives, [Rows(n), n].
func BufScoreNLL(n int) string    { return fmt.Sprintf("inference/nll %d", n) }
func BufScoreGreedy(n int) string { return fmt.Sprintf("inference/greedy %d", n) }

// SegDecode is a segment of a program of inference.
const SegDecode = "decode"

// SegContext and SegScore are segments for rows of n tokens, one of Inference's Lengths.
func SegContext(n int) string { return fmt.Sprintf("context %d", n) }
func SegScore(n int) string   { return fmt.Sprintf("score %d", n) }

// Tokens of a run: as many as products of them are efficient with. A card has more to keep busy.
const (
	runTokens     = 512
	cardRunTokens = 8192
	leastTokens   = 32
)

// slotTokens is how many tokens' keys and values are kept at once, in runs of a segment.
const slotTokens = 16

// lengths are those of rows up to most, so close that a row has little padding: 1, 2, 4, 8, 16, 24, 32, and then steps of
// an eighth to a quarter.
func lengths(most int) (list []int) {
	for n := 1; ; {
		list = append(list, n)
		if n >= most {
			return list
		}
		switch {
		case n < 8:
			n *= 2
		default:
			step := 8
			for step*8 <= n {
				step *= 2
			}
			n += step
		}
	}
}

// ContextLengths and ScoreLengths are the lengths of rows that the program has segments for, in order.
func (x *Inference) ContextLengths() []int { return lengths(min(max(x.Context-1, 1), x.Tokens)) }
func (x *Inference) ScoreLengths() []int {
	if x.Continuation == 0 {
		return nil
	}
	return lengths(x.Continuation)
}

// ContextRows and ScoreRows are how many rows of n tokens a segment has.
func (x *Inference) ContextRows(n int) int { return max(1, min(x.Tokens/n, x.Slots)) }
func (x *Inference) ScoreRows(n int) int   { return max(1, min(x.Tokens/n, 4*x.Slots)) }

// Positions is how many positions of a text may be read.
func (x *Inference) Positions() int {
	return min(x.Context+x.Continuation, x.Model.MaxPositionEmbeddings)
}

// Inference makes the program of x, for as much at once as fits the device: at least a text, of which it may still be too
// large. The results do not depend on how much that is.
func (p *Programs) Inference(x *Inference) (*gpu.Program, error) {
	x.size(p.caps)
	for ; ; x.halve() {
		least := x.Tokens/2 < leastTokens
		if !least && p.caps.Memory > 0 {
			fits, err := graph.Fits(inferenceGraph(x, p.caps), p.caps, p.caps.Memory)
			if err != nil {
				return nil, err
			}
			if !fits {
				continue
			}
		}
		return p.inference(x)
	}
}

// key identifies the shapes of the program.
func (x *Inference) key() string {
	return fmt.Sprintf("inference %d %d %d %d %d", x.Context, x.Continuation, x.Texts, x.Slots, x.Tokens)
}

// size sets how much is run at once on a device.
func (x *Inference) size(caps gpu.Caps) {
	if x.Tokens == 0 {
		x.Tokens = runTokens
		if caps.Workspace > 0 {
			x.Tokens = cardRunTokens
		}
	}
	if x.Slots = max(x.Texts, 1); x.Continuation > 0 {
		x.Slots = max(x.Slots, min(x.Tokens/8, slotTokens*x.Tokens/max(x.Context, 1)))
	}
}

// halve lets half as much be run at once.
func (x *Inference) halve() {
	x.Tokens /= 2
	x.size(gpu.Caps{})
}

// take lets x run the model of a stage, between whose steps it runs.
func (x *Inference) take(s *Stage) { x.Model, x.Params, x.DType = s.Model, s.Params, s.DType }

// least returns x for a stage, with as little at once as can be; nil for nil.
func (x *Inference) least(s *Stage) *Inference {
	if x == nil {
		return nil
	}
	less := *x
	less.take(s)
	for less.size(gpu.Caps{}); less.Tokens/2 >= leastTokens; {
		less.halve()
	}
	return &less
}

// inference compiles the program of x.
func (p *Programs) inference(x *Inference) (*gpu.Program, error) {
	key := asked("%s %s %#v %v", x.key(), x.Model.Key(), x.Params, x.DType)
	return p.once(key, func() *graph.Graph { return inferenceGraph(x, p.caps) })
}

// addInference adds to the program of a stage what scores and continues texts with its weights, adapters and all, as they are
// between two steps.
func (b *stageBuilder) addInference(caps gpu.Caps) {
	newInferenceBuilder(b.builder, b.s.Inference, caps, b.linear).segments()
}

// inferenceGraph is what the program of x computes.
func inferenceGraph(x *Inference, caps gpu.Caps) *graph.Graph {
	b := newBuilder(x.Params, x.DType, plain(x.DType), widened(x.Model, nil, caps))
	i := newInferenceBuilder(b, x, caps, arch.Plain)
	i.segments()
	return b.g
}

// inferenceBuilder holds the leaves that the segments of inference share.
type inferenceBuilder struct {
	*builder
	x      *Inference
	caps   gpu.Caps
	linear graph.Projection

	ids, positions, targets graph.Value // [tokens of the largest run]
	slot, past, count       graph.Value // [rows of the largest run]
	cache                   arch.Cache
	constants               map[string]graph.Value
}

// newInferenceBuilder declares the leaves besides the weights, which the builder has.
func newInferenceBuilder(b *builder, x *Inference, caps gpu.Caps, linear graph.Projection) *inferenceBuilder {
	i := &inferenceBuilder{builder: b, x: x, caps: caps, linear: linear}
	tokens, rows := x.largest()
	i.ids, i.positions = b.input(BufTextIDs, gpu.I32, tokens), b.input(BufTextPositions, gpu.I32, tokens)
	if x.Continuation > 0 {
		i.targets = b.input(BufTextTargets, gpu.I32, tokens)
	}
	i.slot, i.past, i.count = b.input(BufTextSlot, gpu.I32, rows), b.input(BufTextPast, gpu.I32, rows),
		b.input(BufTextCount, gpu.I32, rows)
	kept := gpu.Type{Shape: gpu.Shape{x.Slots, max(x.Context, 1), x.Model.KeptWidth()}, DType: x.DType}
	for l := range x.Model.NumHiddenLayers {
		i.cache.Keys = append(i.cache.Keys, b.g.Leaf(BufKeys(l), gpu.RoleCache, kept))
		i.cache.Values = append(i.cache.Values, b.g.Leaf(BufValues(l), gpu.RoleCache, kept))
	}
	i.constants = b.constants(x.Model, x.Positions(), BufTextConst)
	return i
}

// largest is the tokens of the largest run, and the rows of that with the most.
func (x *Inference) largest() (tokens, rows int) {
	add := func(n, of int) { tokens, rows = max(tokens, n*of), max(rows, n) }
	for _, n := range x.ContextLengths() {
		add(x.ContextRows(n), n)
	}
	for _, n := range x.ScoreLengths() {
		add(x.ScoreRows(n), n)
	}
	add(max(x.Texts, 1), 1)
	return tokens, rows
}

// segments adds the segments.
func (b *inferenceBuilder) segments() {
	x, g, m := b.x, b.g, b.x.Model
	if x.Context > 1 {
		for _, n := range x.ContextLengths() {
			g.Segment(SegContext(n), gpu.Forward)
			m.Keep(g, b.weight, b.inputs(x.ContextRows(n), n, true), b.linear)
		}
	}
	for _, n := range x.ScoreLengths() {
		rows := x.ScoreRows(n)
		nll, greedy := b.output(BufScoreNLL(n), rows, n), b.output(BufScoreGreedy(n), rows, n)
		g.Segment(SegScore(n), gpu.Forward)
		targets := g.View(b.targets, 0, gpu.Shape{rows, n})
		a, c := m.Score(g, b.weight, b.inputs(rows, n, false), targets, ChunkRows(b.caps, rows*n, m.VocabSize), b.linear)
		g.Update(nll, a)
		g.Update(greedy, c)
	}
	if x.Texts > 0 {
		t := gpu.Type{Shape: gpu.Shape{x.Texts, m.VocabSize}, DType: x.DType}
		out := g.Padded(BufTextLogits, gpu.RoleOutput, t, gpu.Shape{x.Texts, b.caps.Widen(m.VocabSize)})
		g.Segment(SegDecode, gpu.Forward)
		g.Update(out, m.Logits(g, b.weight, b.inputs(x.Texts, 1, true), b.linear))
	}
}

// inputs are those of a run of rows of n tokens.
func (b *inferenceBuilder) inputs(rows, n int, keeps bool) arch.Inputs {
	g, cache := b.g, b.cache
	each := func(v graph.Value) graph.Value { return g.View(v, 0, gpu.Shape{rows}) }
	cache.Slot, cache.Past = each(b.slot), each(b.past)
	if keeps {
		cache.Count = each(b.count)
	}
	all := func(v graph.Value) graph.Value { return g.View(v, 0, gpu.Shape{rows, n}) }
	return arch.Inputs{IDs: all(b.ids), Positions: all(b.positions), Cache: &cache, Constants: b.constants}
}

// FLOPs is the operations of a run of each segment of program p of x: those of the model, without padding of its matrices.
func (x *Inference) FLOPs(p *gpu.Program) func(segment string) int64 {
	count := modelFLOPs(p, func() *graph.Graph { return inferenceGraph(x, gpu.Caps{}) })
	return func(segment string) int64 { n, _ := count(segment); return n }
}

// Fitting is the first of lengths that holds n tokens.
func Fitting(lengths []int, n int) int {
	i, _ := slices.BinarySearch(lengths, n)
	return lengths[min(i, len(lengths)-1)]
}
