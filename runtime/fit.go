package runtime

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/ops/graph"
	"stepflow/ops/growth"
	"stepflow/ops/llama"
)

// Rows of logits in memory at a time: as many as a cache holds, but enough for the products with
// them to be efficient; where the device has less to give, down to leastChunk.
const (
	chunkBytes = 8 << 20
	usualChunk = 256
	leastChunk = 64
)

// compiled is what became of a stage that was compiled: its program, and what was given up to make it fit.
type compiled struct {
	program                 *gpu.Program
	micro, chunk, recompute int
}

// compile makes the stage's program; stages that ask for the same one share it.
func (p *planner) compile(s *Stage, checkpointing string) error {
	key := s.asks(checkpointing)
	c, ok := p.compiled[key]
	if !ok {
		if err := p.fit(s, checkpointing); err != nil {
			return err
		}
		if s.figures().StepFLOPs == math.MaxInt64 {
			return errFLOPs
		}
		c = compiled{s.Program, s.Micro, s.Chunk, s.Recompute}
		p.compiled[key] = c
	}
	s.Program, s.Micro, s.Chunk, s.Recompute = c.program, c.micro, c.chunk, c.recompute
	return nil
}

// errFLOPs is the error of a stage whose step has more operations than an int64 counts.
var errFLOPs = errors.New("more operations than can be counted")

// maxStepTokens bounds the tokens of a step, or of a batch that is evaluated, so that tokens times steps can be counted.
const maxStepTokens = math.MaxInt32

// tooManyTokens is the problem with a batch of more tokens than maxStepTokens; nil if there is none.
func tooManyTokens(d *dsl.Decoded, batch, seq int) hcl.Diagnostics {
	if n := gpu.Product(int64(batch), int64(seq)); n > maxStepTokens {
		return hcl.Diagnostics{d.Error(longer(batch, seq), "Batch too large", fmt.Sprintf("batch_size %d times sequence_length %d is more than %d tokens, the most at a time. Lower one of them.", batch, seq, maxStepTokens))}
	}
	return nil
}

// uncompiled is the problem with a program that could not be made: of a stage's train block, or of an evaluation.
func uncompiled(d *dsl.Decoded, attr, summary string, batch, seq int, err error) hcl.Diagnostics {
	switch {
	case errors.Is(err, graph.ErrTooLarge):
		err = fmt.Errorf("what is in memory for %d sequences of %d tokens takes %w; lower one of them", batch, seq, graph.ErrTooLarge)
	case errors.Is(err, errFLOPs):
		err = fmt.Errorf("batch_size %d times sequence_length %d takes %w; lower one of them", batch, seq, errFLOPs)
	default:
		return problem(d, attr, summary, err)
	}
	return problem(d, longer(batch, seq), "Batch too large", err)
}

// longer is the attribute to blame for a batch that is too large.
func longer(batch, seq int) string {
	if seq > batch {
		return "sequence_length"
	}
	return "batch_size"
}

// asks identifies the program that a stage asks for: all that fit and compileStage read.
func (s *Stage) asks(checkpointing string) string {
	model, optimizer, scale := s.Model, s.Optimizer, 0.0
	model.RopeScaling, optimizer.LearningRate = nil, 0 // what the host sets later, not the program
	if s.Peft != nil {
		scale = s.Peft.Scale()
	}
	micro := s.Micro
	if s.AutoMicro {
		micro = s.Batch // where the search begins
	}
	return asked("%#v %#v %#v %#v %#v %v %t %v %v %d %d %d %t %t %s", model, s.Params, s.Frozen, s.Adapters, optimizer, scale, s.keepsRemainders(),
		s.DType, s.Accumulate, s.Seq, s.Batch, micro, s.AutoMicro, s.Data.Source.DocumentMask, checkpointing)
}

// compileEvaluation makes the program that measures a model; evaluations of equal models share it.
func (p *planner) compileEvaluation(e *Evaluation) (*gpu.Program, error) {
	model, mask := e.Model, e.Data.Source.DocumentMask
	model.RopeScaling = nil
	key := asked("%#v %#v %v %d %d %t", model, e.Params, e.DType, e.Windows.Batch, e.Windows.Length, mask)
	if p.forward[key] == nil {
		program, err := compileForward(e.Model, e.Params, e.DType, e.Windows.Batch, e.Windows.Length, mask, false, p.caps)
		if err != nil {
			return nil, err
		}
		p.forward[key] = program
	}
	return p.forward[key], nil
}

// compileGeneration makes the program that continues a text of so many tokens at most.
func (p *planner) compileGeneration(e *Evaluation, seq int) (*gpu.Program, error) {
	model := e.Model
	model.RopeScaling = nil
	key := asked("generation %#v %#v %v %d", model, e.Params, e.DType, seq)
	if p.forward[key] == nil {
		program, err := compileForward(e.Model, e.Params, e.DType, 1, seq, false, true, p.caps)
		if err != nil {
			return nil, err
		}
		p.forward[key] = program
	}
	return p.forward[key], nil
}

// asked is a key for what a program is made of.
func asked(format string, args ...any) string {
	h := sha256.New()
	fmt.Fprintf(h, format, args...)
	return string(h.Sum(nil))
}

// fit makes the stage's program. Where it does not fit the device it gives up, in this order,
// what costs nothing and what costs most: rows of logits, sequences of a micro-batch when their
// number is "auto", and with activation checkpointing "auto" the activations of the fewest layers.
func (p *planner) fit(s *Stage, checkpointing string) error {
	if checkpointing == "block" {
		s.Recompute = len(s.Layers)
	}
	if s.AutoMicro {
		s.Micro = s.Batch
	}
	s.Chunk = chunkRows(s.Micro*s.Seq, s.Model.VocabSize)
	if err := p.make(s); err != nil || p.caps.Memory == 0 || s.Program.ArenaBytes <= p.caps.Memory {
		return err
	}
	if ok, err := p.chunked(s); err != nil || ok {
		return errors.Join(err, p.make(s))
	}
	if s.AutoMicro {
		divisors := divisorsOf(s.Batch)
		i := sort.Search(len(divisors), func(i int) bool { // the first that does not fit; the peak grows with it
			s.Micro = divisors[i]
			ok, err := p.chunked(s)
			return err != nil || !ok
		})
		s.Micro = divisors[max(i-1, 0)]
		if ok, err := p.chunked(s); err != nil || ok {
			return errors.Join(err, p.make(s))
		}
	}
	if checkpointing == "auto" {
		s.Recompute = 1 + sort.Search(len(s.Layers)-1, func(i int) bool { // the peak falls with every layer
			s.Recompute = i + 1
			ok, err := p.chunked(s)
			return err != nil || ok
		})
		if _, err := p.chunked(s); err != nil {
			return err
		}
	}
	return p.make(s)
}

// make compiles the stage as it is set.
func (p *planner) make(s *Stage) (err error) {
	s.Program, err = compileStage(s, s.Data.Source.DocumentMask, p.caps)
	return err
}

// chunked sets as many rows of logits as help and fit, the least where none fit, and reports whether they do.
func (p *planner) chunked(s *Stage) (bool, error) {
	fits := func(chunk int) (bool, error) {
		s.Chunk = chunk
		return graph.Fits(stageGraph(s, s.Data.Source.DocumentMask), p.caps, p.caps.Memory)
	}
	for chunk := chunkRows(s.Micro*s.Seq, s.Model.VocabSize); ; chunk = max(leastChunk, chunk/2) {
		if ok, err := fits(chunk); err != nil || ok || chunk <= leastChunk {
			return ok, err
		}
	}
}

// chunkRows is the number of rows of logits in memory where memory allows it.
func chunkRows(rows, vocab int) int {
	return min(rows, max(usualChunk, chunkBytes/(4*vocab)/leastChunk*leastChunk))
}

// divisorsOf lists the divisors of n in order.
func divisorsOf(n int) []int {
	var low, high []int
	for d := 1; d <= n/d; d++ {
		if n%d == 0 {
			low = append(low, d)
			if d != n/d {
				high = append(high, n/d)
			}
		}
	}
	slices.Reverse(high)
	return append(low, high...)
}

// vanillaOf plans the full model trained at once with the same batch and the same activation
// checkpointing: what a stage is measured against.
func (p *planner) vanillaOf(s *Stage, m *Model, mode string) (*Figures, error) {
	key := fmt.Sprintf("%s %d %t %d %d %v %v %t %s", m.Addr, s.Micro, s.AutoMicro, s.Batch, s.Seq, s.DType, s.Accumulate, s.Data.Source.DocumentMask, mode)
	if f := p.vanilla[key]; f != nil {
		return f, nil
	}
	v := &Stage{Model: m.Config, DType: s.DType, Seq: s.Seq, Batch: s.Batch, Micro: s.Micro, AutoMicro: s.AutoMicro, Accumulate: s.Accumulate, Optimizer: s.Optimizer, Frozen: map[string]bool{}, Data: s.Data}
	for i := 0; i < m.Config.NumHiddenLayers; i++ {
		v.Layers = append(v.Layers, growth.Layer{ID: fmt.Sprintf("%s.%d", layerPrefix(v), i), Old: -1})
	}
	v.Params = llama.Declare(v.Model, v.LayerIDs())
	if err := p.compile(v, mode); err != nil {
		return nil, err
	}
	f := v.figures()
	p.vanilla[key] = &f
	return &f, nil
}
