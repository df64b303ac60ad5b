// Package probe measures a device kernel by kernel: each runs alone, on operands as large as a
// training step's, and its time is set against the rates of the device.
package probe

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"time"

	"stepflow/gpu"
)

// Case is one launch to measure.
type Case struct {
	Name   string // what it is in a training step
	Kernel string
	Attrs  gpu.Attrs
	In     []gpu.Type
	Copies int // of the operands; 0 for as many as are cold
}

// Result is what a case took.
type Result struct {
	Case
	FLOPs, Bytes int64
	Seconds      float64 // median of the runs
}

// GFLOPs is the rate in GFLOP/s.
func (r Result) GFLOPs() float64 { return float64(r.FLOPs) / r.Seconds / 1e9 }

// GBs is the rate in GB/s, every operand counted once.
func (r Result) GBs() float64 { return float64(r.Bytes) / r.Seconds / 1e9 }

// Shapes sizes the cases: a LLaMA layer's.
type Shapes struct {
	Batch, Seq, Hidden, Intermediate, Heads, KVHeads, Vocab, Rank int
}

// On is the shapes of a step on a device, which may store matrices wider than the model has them.
func (s Shapes) On(c gpu.Caps) Shapes {
	s.Intermediate, s.Vocab, s.Rank = c.Widen(s.Intermediate), c.Widen(s.Vocab), c.Widen(s.Rank)
	return s
}

// Tokens is the number of rows of most operands.
func (s Shapes) Tokens() int { return s.Batch * s.Seq }

// Check reports whether the sizes belong together.
func (s Shapes) Check() error {
	for _, x := range []struct {
		name string
		n    int
	}{{"batch", s.Batch}, {"sequence", s.Seq}, {"hidden", s.Hidden}, {"intermediate", s.Intermediate},
		{"heads", s.Heads}, {"kv-heads", s.KVHeads}, {"vocab", s.Vocab}, {"rank", s.Rank}} {
		if x.n < 1 {
			return fmt.Errorf("%s is %d: it is at least 1", x.name, x.n)
		}
	}
	if s.Hidden%s.Heads != 0 || s.Hidden/s.Heads%2 != 0 {
		return fmt.Errorf("hidden %d is not a multiple of heads %d, or a head's channels are not even",
			s.Hidden, s.Heads)
	}
	if s.Heads%s.KVHeads != 0 {
		return fmt.Errorf("heads %d is not a multiple of kv-heads %d", s.Heads, s.KVHeads)
	}
	return nil
}

// Cases lists the hot kernels of a training step with weights and activations of type t, and those of a step that
// generates a token of each sequence, over caches that are full.
func Cases(s Shapes, t gpu.DType) []Case {
	f := func(shape ...int) gpu.Type { return gpu.Type{Shape: shape, DType: t} }
	f32 := func(shape ...int) gpu.Type { return gpu.Type{Shape: shape, DType: gpu.F32} }
	i32 := func(shape ...int) gpu.Type { return gpu.Type{Shape: shape, DType: gpu.I32} }
	n, h, m, d := s.Tokens(), s.Hidden, s.Intermediate, s.Hidden/s.Heads
	x, wide := f(s.Batch, s.Seq, h), f(s.Batch, s.Seq, m)
	kv, now := f(s.Batch, s.Seq, d*s.KVHeads), f(s.Batch, 1, d*s.KVHeads)
	heads := gpu.Attrs{Heads: s.Heads, KVHeads: s.KVHeads}
	lse, seg := f32(s.Batch, s.Heads, s.Seq), i32(s.Batch, s.Seq)
	nt, nn, tn := gpu.Attrs{TransB: true, Alpha: 1}, gpu.Attrs{Alpha: 1}, gpu.Attrs{TransA: true, Alpha: 1}
	adamw := gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1}
	w, wf := f(m, h), f32(m, h)
	update := Case{Name: "update", Kernel: "adamw", Attrs: adamw, In: []gpu.Type{w, w, wf, wf, f32(1), f32(gpu.HyperLen)}}
	if t != gpu.F32 {
		update.Kernel, update.In = "adamw_master", append([]gpu.Type{w, w, wf}, update.In[2:]...)
	}
	return []Case{
		{Name: "attention projection", Kernel: "matmul", Attrs: nt, In: []gpu.Type{x, f(h, h)}},
		{Name: "projection with residual", Kernel: "matmul", Attrs: nt, In: []gpu.Type{wide, f(h, m), x}},
		{Name: "gate projection", Kernel: "matmul", Attrs: nt, In: []gpu.Type{x, f(m, h)}},
		{Name: "up projection and activation", Kernel: "matmul_swiglu", Attrs: nt, In: []gpu.Type{x, f(m, h), wide}},
		{Name: "its input gradient", Kernel: "matmul", Attrs: nn, In: []gpu.Type{wide, f(m, h)}},
		{Name: "its weight gradient", Kernel: "matmul", Attrs: tn, In: []gpu.Type{wide, x, f(m, h)}},
		{Name: "adapter, down", Kernel: "matmul", Attrs: nt, In: []gpu.Type{x, f(s.Rank, h)}},
		{Name: "adapter, up", Kernel: "matmul", Attrs: nt,
			In: []gpu.Type{f(s.Batch, s.Seq, s.Rank), f(m, s.Rank), wide}},
		{Name: "adapter, gradient of A", Kernel: "matmul", Attrs: tn,
			In: []gpu.Type{f(s.Batch, s.Seq, s.Rank), x, f(s.Rank, h)}},
		{Name: "adapter, gradient of B", Kernel: "matmul", Attrs: tn,
			In: []gpu.Type{wide, f(s.Batch, s.Seq, s.Rank), f(m, s.Rank)}},
		{Name: "attention", Kernel: "attention", Attrs: heads, In: []gpu.Type{x, kv, kv, seg}},
		{Name: "attention, backward", Kernel: "attention_grad", Attrs: heads,
			In: []gpu.Type{x, x, kv, kv, x, lse, seg}},
		{Name: "logits and loss", Kernel: "linear_cross_entropy", Attrs: gpu.Attrs{Chunk: 512},
			In: []gpu.Type{x, f(s.Vocab, h), i32(s.Batch, s.Seq)}},
		{Name: "logits and loss, backward", Kernel: "linear_cross_entropy_grad", Attrs: gpu.Attrs{Chunk: 512},
			In: []gpu.Type{f32(s.Batch, s.Seq), x, f(s.Vocab, h), i32(s.Batch, s.Seq), f(s.Vocab, h)}},
		{Name: "norm", Kernel: "rmsnorm", Attrs: gpu.Attrs{Eps: 1e-5}, In: []gpu.Type{x, f(h)}},
		{Name: "norm, input gradient", Kernel: "rmsnorm_grad_x", Attrs: gpu.Attrs{},
			In: []gpu.Type{x, x, f(h), f32(n)}},
		{Name: "norm, gain gradient", Kernel: "rmsnorm_grad_w", Attrs: gpu.Attrs{}, In: []gpu.Type{x, x, f32(n)}},
		{Name: "rotary embedding", Kernel: "rope", Attrs: gpu.Attrs{Heads: s.Heads},
			In: []gpu.Type{x, f32(s.Seq, d/2), f32(s.Seq, d/2)}},
		{Name: "activation", Kernel: "swiglu", Attrs: gpu.Attrs{}, In: []gpu.Type{wide, wide}},
		{Name: "activation, backward", Kernel: "swiglu_grad", Attrs: gpu.Attrs{}, In: []gpu.Type{wide, wide, wide}},
		{Name: "sum", Kernel: "add", Attrs: gpu.Attrs{}, In: []gpu.Type{x, x}},
		{Name: "embedding", Kernel: "embedding", Attrs: gpu.Attrs{}, In: []gpu.Type{seg, f(s.Vocab, h)}},
		{Name: "embedding, backward", Kernel: "embedding_grad", Attrs: gpu.Attrs{},
			In: []gpu.Type{seg, x, f(s.Vocab, h)}},
		{Name: "gradient norm", Kernel: "sum_squares", Attrs: gpu.Attrs{}, In: []gpu.Type{f(m, h)}},
		update,
		{Name: "momentum", Kernel: "ema", Attrs: gpu.Attrs{Beta1: 0.95}, In: []gpu.Type{wf, w, f32(1)}},
		{Name: "orthogonal update", Kernel: "sgdw", Attrs: gpu.Attrs{Alpha: 0.2, WeightDecay: 0.1},
			In: []gpu.Type{wf, wf, f32(1), f32(gpu.HyperLen)}},
		{Name: "one token: gate projection", Kernel: "matmul", Attrs: nt, In: []gpu.Type{f(s.Batch, 1, h), f(m, h)}},
		{Name: "one token: attention", Kernel: "attention_cached", Attrs: heads, In: []gpu.Type{f(s.Batch, 1, h), now, now,
			kv, kv, i32(s.Batch), i32(s.Batch)}},
		{Name: "one token: logits and score", Kernel: "linear_score", Attrs: gpu.Attrs{Chunk: 512},
			In: []gpu.Type{f(s.Batch, 1, h), f(s.Vocab, h), i32(s.Batch, 1)}},
		{Name: "zeroed gradient", Kernel: "zero", Attrs: gpu.Attrs{}, In: []gpu.Type{f(m, h)}},
	}
}

// inPlace lists the kernels that in a step change an accumulator or a state where it is.
var inPlace = map[string]bool{"matmul": true, "embedding_grad": true, "linear_cross_entropy_grad": true, "adamw": true,
	"adamw_master": true, "adamw_stochastic": true, "ema": true, "sgdw": true, "zero": true}

// Program lays a case out for a device as a program of equal launches, each with operands of its own.
func (c Case) Program(caps gpu.Caps) (*gpu.Program, error) {
	k := gpu.Lookup(c.Kernel)
	if k == nil {
		return nil, fmt.Errorf("probe: no kernel %s", c.Kernel)
	}
	out, err := k.Infer(c.Attrs, c.In)
	if err != nil {
		return nil, fmt.Errorf("probe: %s: %w", c.Kernel, err)
	}
	var at int64
	place := func(t gpu.Type) gpu.Operand {
		o := gpu.Operand{Offset: at, Type: t}
		at += gpu.Align(o.Span(), max(caps.Alignment, 64))
		return o
	}
	bytes := gpu.Bytes(c.In, out)
	p := &gpu.Program{}
	copies := int64(c.Copies)
	if copies == 0 {
		copies = min(max(cold/bytes, 1), mostCopies)
	}
	for ; copies > 0; copies-- {
		l := gpu.Launch{Kernel: c.Kernel, Attrs: c.Attrs, Layer: -1, Name: c.Name, Phase: gpu.Forward,
			FLOPs: k.FLOPs(c.Attrs, c.In, out), Bytes: bytes}
		for _, t := range c.In {
			l.In = append(l.In, place(t))
		}
		for i, t := range out {
			o, shared := gpu.Operand{}, false
			for _, p := range k.InPlace {
				if p[0] == i && p[1] < len(c.In) && inPlace[c.Kernel] && t.Equal(c.In[p[1]]) {
					o, shared = l.In[p[1]], true
				}
			}
			if !shared {
				o = place(t)
			}
			l.Out = append(l.Out, o)
		}
		if n := k.ScratchOn(caps, c.Attrs, c.In, out); n > 0 {
			l.Scratch = place(gpu.Type{Shape: gpu.Shape{int(n+3) / 4}, DType: gpu.F32})
		}
		p.Launches = append(p.Launches, l)
	}
	p.ArenaBytes, p.Segments = at, []gpu.Segment{{Name: "probe", Lo: 0, Hi: len(p.Launches)}}
	return p, nil
}

// cold is the memory that the copies of a case take, so that each run finds its operands where a
// training step finds them: out of the caches. Copies beyond mostCopies would make little difference.
const (
	cold       = 128 << 20
	mostCopies = 64
)

// Open loads a case on a device with random operands; ids and targets are rows of the smallest table.
func (c Case) Open(d gpu.Device) (gpu.Loaded, *gpu.Program, error) {
	p, err := c.Program(d.Caps())
	if err != nil {
		return nil, nil, err
	}
	l, err := d.Load(p)
	if err != nil {
		return nil, nil, err
	}
	for i, t := range c.In {
		n := t.Shape.Elems()
		var b []byte
		if t.DType == gpu.I32 {
			v := make([]int32, n)
			for j := range v {
				v[j] = c.integer(i, j)
			}
			b = gpu.Int32Bytes(v)
		} else {
			b = gpu.Float32Bytes(random(n, uint64(i), nonNegative[c.Kernel] > 0 && i >= nonNegative[c.Kernel]), t.DType)
		}
		for _, x := range p.Launches {
			if err := l.CopyIn(x.In[i], b); err != nil {
				l.Close()
				return nil, nil, err
			}
		}
	}
	return l, p, nil
}

// integer is element j of input i.
func (c Case) integer(i, j int) int32 {
	switch {
	case c.Kernel == "attention" || c.Kernel == "attention_grad": // documents: one
		return 0
	case c.Kernel == "attention_cached" && i == 5: // each sequence has a slot
		return int32(j)
	case c.Kernel == "attention_cached": // which is full
		return int32(c.In[3].Shape[1])
	}
	return int32(j * 7919 % c.rows())
}

// nonNegative names, for kernels whose last operands are never negative in a step, the first of them: second moments, the
// factor that clips and the scalars of an update, whose roots are taken.
var nonNegative = map[string]int{"adamw": 3, "adamw_master": 4, "ema": 2, "sgdw": 2}

// random returns numbers of a normal distribution: a card that computes with zeros, or with few different numbers, takes
// less power and runs faster than in training. They repeat after a while.
func random(n int, seed uint64, positive bool) []float32 {
	const period = 1 << 20
	r := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, n)
	for j := range v {
		if j >= period {
			copy(v[j:], v[:period])
			break
		}
		x := r.NormFloat64()
		if positive {
			x = math.Abs(x)
		}
		v[j] = float32(x)
	}
	for at := 2 * period; at < n; at *= 2 {
		copy(v[at:], v[:at])
	}
	return v
}

// rows bounds the ids of a case: the rows of the table they point into.
func (c Case) rows() int {
	n := 1 << 30
	for _, t := range c.In {
		if len(t.Shape) == 2 && t.DType.IsFloat() {
			n = min(n, t.Shape[0])
		}
	}
	return n
}

// Measure runs a case for at least the time given, five rounds at least, and gives the median. A round runs the copies
// of the case one behind the other, as launches follow each other in a step.
func Measure(d gpu.Device, c Case, least time.Duration) (Result, error) {
	l, p, err := c.Open(d)
	if err != nil {
		return Result{}, err
	}
	defer l.Close()
	r := Result{Case: c, FLOPs: p.Launches[0].FLOPs, Bytes: p.Launches[0].Bytes}
	const warmUp, rounds = 1, 5
	var times []float64
	for i, start := 0, time.Now(); i < warmUp+rounds || time.Since(start) < least; i++ {
		if err := l.Run(0, len(p.Launches), true); err != nil {
			return Result{}, err
		}
		list, err := l.Sync()
		if err != nil {
			return Result{}, err
		}
		for _, t := range list {
			if i >= warmUp {
				times = append(times, t.Duration.Seconds())
			}
		}
	}
	sort.Float64s(times)
	r.Seconds = times[len(times)/2]
	return r, nil
}
