package program

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"stepflow/gpu"
	"stepflow/ops/arch"
	"stepflow/ops/graph"
	"stepflow/runtime/observe"
)

// Rows of logits in memory at a time: on a CPU as many as a cache holds, but enough for the products with them to be
// efficient; where the device has less to give, down to leastChunk.
//
// On a card each chunk reads and writes the fp32 sums of the weight's gradient: 8·vocab·hidden bytes beside
// 6·rows·vocab·hidden operations. At 3.3 TB/s and 600 TFLOP/s these are 242/rows of the products' time: 12 % at 2,048,
// one in a hundred of a step of 368M parameters. More rows are worth a small part of the card's memory and no more.
const (
	chunkBytes = 8 << 20
	usualChunk = 256
	leastChunk = 64

	cardChunk = 2048
	cardShare = 128 // one part of a card's memory is for more rows
)

// ErrFLOPs is the error of a stage whose step has more operations than an int64 counts.
var ErrFLOPs = errors.New("more operations than can be counted")

// ErrHeadAdapter is the error of a stage whose head has an adapter, and which is to score continuations between steps.
var ErrHeadAdapter = errors.New("the head has an adapter: continuations cannot be scored between steps")

// FullModel is the name among Programs.Made of what a stage is measured against.
const FullModel = "full model"

// Programs compiles for a device. What asks for the same program shares it.
type Programs struct {
	caps     gpu.Caps
	stages   map[string]compiled
	betweens map[string]inferring
	passes   map[string]*gpu.Program
	sizes    map[string]int64 // of programs that were not made; see Bytes
	last     []observe.Past   // the passes of the latest program of a stage
	Made     []observe.Past   // the stages that were compiled so far, with the passes of each
}

// compiled is what became of a stage that was compiled: its program, and what was given up to make it fit.
type compiled struct {
	program                 *gpu.Program
	flops                   counted
	micro, chunk, recompute int
}

// inferring is a program of a stage with what its Inference came to.
type inferring struct {
	program   *gpu.Program
	inference Inference
}

// NewPrograms returns the programs for a device, none of them made yet.
func NewPrograms(caps gpu.Caps) *Programs {
	return &Programs{caps: caps, stages: map[string]compiled{}, betweens: map[string]inferring{}, passes: map[string]*gpu.Program{},
		sizes: map[string]int64{}}
}

// Compile makes the stage's program, and sets with it Micro, Chunk, Recompute and SumsInF32. Where it does not fit the
// device it gives up, in this order, what costs nothing and what costs most: rows of logits, sequences of a micro-batch if
// AutoMicro, and with checkpointing "auto" the activations of the fewest layers; "block" are those of all layers, "none"
// of no layer, and a number of so many. The program may still be too large. Errors are ErrFLOPs, ErrHeadAdapter,
// graph.ErrTooLarge and those of the graph.
func (p *Programs) Compile(s *Stage, checkpointing string) error {
	s.SumsInF32 = p.caps.SumsInF32()
	between := s.Inference
	s.Inference = nil // what trains does not depend on it
	err := p.training(s, checkpointing)
	if s.Inference = between; between == nil || err != nil {
		return err
	}
	return p.between(s, checkpointing)
}

// training makes the program of a stage without Inference.
func (p *Programs) training(s *Stage, checkpointing string) error {
	key := s.asks(checkpointing)
	c, ok := p.stages[key]
	if !ok {
		start := time.Now()
		p.last = nil
		if err := p.fit(s, checkpointing); err != nil {
			return err
		}
		p.Made = append(p.Made, observe.Past{Start: start, Took: time.Since(start), Parts: p.last})
		if n, _ := s.stepFLOPs(); n == math.MaxInt64 {
			return ErrFLOPs
		}
		c = compiled{s.Program, s.flops, s.Micro, s.Chunk, s.Recompute}
		p.stages[key] = c
	}
	s.Program, s.flops, s.Micro, s.Chunk, s.Recompute = c.program, c.flops, c.micro, c.chunk, c.recompute
	return nil
}

// cacheShare bounds the keys and values that are kept between steps: one part of the memory that the steps take.
const cacheShare = 8

// between adds to a stage that is compiled what its Inference runs between steps: as much at once as takes no more memory for
// activations than the steps do, a share of it for keys and values, and fits the device. It may still be too large.
func (p *Programs) between(s *Stage, checkpointing string) error {
	x, alone, flops := s.Inference, s.Program, *s.counted()
	if s.adaptsHead() && x.Continuation > 0 {
		return ErrHeadAdapter
	}
	x.take(s)
	x.size(p.caps)
	key := asked("%s %s %d %d %d", s.asks(checkpointing), x.key(), s.Micro, s.Chunk, s.Recompute)
	c, ok := p.betweens[key]
	for start := time.Now(); !ok; {
		if err := p.make(s); err != nil {
			return err
		}
		fits := (p.caps.Memory == 0 || s.Program.ArenaBytes <= p.caps.Memory) && s.Program.TransientBytes <= alone.TransientBytes &&
			BytesByKind(s.Program)["cache"] <= alone.ArenaBytes/cacheShare
		if ok = fits || x.Tokens/2 < leastTokens; !ok {
			x.halve()
			continue
		}
		p.Made = append(p.Made, observe.Past{Start: start, Took: time.Since(start), Parts: p.last})
		c = inferring{s.Program, *x}
		p.betweens[key] = c
	}
	s.Program, *x = c.program, c.inference
	s.flops = flops
	s.flops.program = c.program
	return nil
}

// Vanilla returns the figures of the full model trained at once with the same batch and the same activation checkpointing:
// what a stage is measured against. Errors are those of Compile.
func (p *Programs) Vanilla(s *Stage, full arch.Model, checkpointing string) (*Figures, error) {
	v := &Stage{Model: full, DType: s.DType, Seq: s.Seq, Batch: s.Batch, Micro: s.Micro, AutoMicro: s.AutoMicro,
		Accumulate: s.Accumulate, Optimizer: s.Optimizer, Mask: s.Mask, Frozen: map[string]bool{}}
	v.Layers = v.NewLayers(full.NumHiddenLayers)
	v.Params = v.Model.Declare(v.LayerIDs())
	before := len(p.Made)
	if err := p.Compile(v, checkpointing); err != nil {
		return nil, err
	}
	for i := range p.Made[before:] {
		p.Made[before+i].Name = FullModel
	}
	f := FiguresOf(v, 0)
	return &f, nil
}

// Pass makes the program of a forward pass.
func (p *Programs) Pass(x Pass) (*gpu.Program, error) {
	key := asked("%s %#v %v %d %d %t %t", x.Model.Key(), x.Params, x.DType, x.Batch, x.Seq, x.Mask, x.Logits)
	return p.once(key, func() *graph.Graph { return passGraph(x, p.caps) })
}

// once compiles a graph, unless the program of its key is there already.
func (p *Programs) once(key string, build func() *graph.Graph) (*gpu.Program, error) {
	if p.passes[key] == nil {
		program, err := graph.Compile(build(), p.caps)
		if err != nil {
			return nil, err
		}
		p.passes[key] = program
	}
	return p.passes[key], nil
}

// asks identifies the program that a stage asks for: all that fit and StageGraph read.
func (s *Stage) asks(checkpointing string) string {
	scale := 0.0
	if s.Peft != nil {
		scale = s.Peft.Scale()
	}
	micro := s.Micro
	if s.AutoMicro {
		micro = s.share() // where the search begins
	}
	return asked("%s %#v %#v %v %#v %s %v %t %v %v %d %d %d %t %t %t %v %s %t", s.Model.Key(), s.Params, s.Frozen, s.FrozenDType,
		s.Adapters, s.Optimizer.Key(), scale, s.KeepsRemainders(), s.DType, s.Accumulate, s.Seq, s.Batch, micro, s.AutoMicro, s.Mask,
		s.Fused, s.NEFTuneAlpha, checkpointing, s.merges()) + asked("%d %d %s %t", s.Ranks, s.Rank, s.Shard, s.FromZero)
}

// asked is a key for what a program is made of.
func asked(format string, args ...any) string {
	h := sha256.New()
	fmt.Fprintf(h, format, args...)
	return string(h.Sum(nil))
}

// fit makes the stage's program, as Compile says.
func (p *Programs) fit(s *Stage, checkpointing string) error {
	p.begin(s, checkpointing)
	if s.sharded() {
		return p.fitAll(s, checkpointing)
	}
	if err := p.make(s); err != nil || p.caps.Memory == 0 || s.Program.ArenaBytes <= p.caps.Memory {
		return err
	}
	if _, err := p.giveUp(s, checkpointing); err != nil {
		return err
	}
	return p.make(s)
}

// fitAll is fit where ranks keep unlike parts. All give up the same, by the rank that keeps most.
func (p *Programs) fitAll(s *Stage, checkpointing string) error {
	if p.caps.Memory > 0 {
		mine := s.Rank
		s.Rank = s.heaviest()
		n, err := p.Bytes(s)
		if err == nil && n > p.caps.Memory {
			_, err = p.giveUp(s, checkpointing)
		}
		if s.Rank = mine; err != nil {
			return err
		}
	}
	return p.make(s)
}

// make compiles the stage as it is set.
func (p *Programs) make(s *Stage) (err error) {
	start := time.Now()
	g := StageGraph(s, p.caps)
	p.last = []observe.Past{{Name: "build", Start: start, Took: time.Since(start)}}
	g.Timed = func(pass string, start time.Time, took time.Duration) {
		p.last = append(p.last, observe.Past{Name: pass, Start: start, Took: took})
	}
	s.Program, err = graph.Compile(g, p.caps)
	return err
}

// ChunkRows is the number of rows of logits in memory where memory allows it. Chunks of a card are of like size.
func ChunkRows(caps gpu.Caps, rows, vocab int) int {
	fit := func(bytes int64) int { return int(bytes/int64(4*vocab)) / leastChunk * leastChunk }
	if caps.Workspace == 0 {
		return min(rows, max(usualChunk, fit(chunkBytes)))
	}
	most := max(cardChunk, fit(caps.Memory/cardShare))
	chunks := (rows + most - 1) / most
	return min(rows, int(gpu.Align(int64((rows+chunks-1)/chunks), leastChunk)))
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
