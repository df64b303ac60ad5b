package program

import (
	"math"
	"slices"
	"sort"
	"strconv"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// On returns the programs for a device that differs from p's in the amount of memory alone, 0 for any amount. What is known
// of sizes is shared, so a stage can be tried on many cards.
func (p *Programs) On(memory int64) *Programs {
	q := NewPrograms(p.caps)
	q.caps.Memory, q.sizes = memory, p.sizes
	return q
}

// Bytes is the arena of the program of a stage as it is set, Micro, Chunk and Recompute included. The program is not made.
func (p *Programs) Bytes(s *Stage) (int64, error) {
	as := *s
	as.AutoMicro = false
	key := asked("%s %d %d", as.asks(""), s.Chunk, s.Recompute)
	if s.Inference != nil {
		key = asked("%s %s", key, s.Inference.key())
	}
	if n, ok := p.sizes[key]; ok {
		return n, nil
	}
	n, err := graph.Bytes(StageGraph(s, p.caps), p.caps)
	if err == nil {
		p.sizes[key] = n
	}
	return n, err
}

// Sized is how many sizes of programs that were not made are known.
func (p *Programs) Sized() int { return len(p.sizes) }

// Fit is what a stage takes on a device, and what was given up to make it fit.
type Fit struct {
	Bytes     int64 `json:"peak_bytes"`
	Fits      bool  `json:"fits"`
	Micro     int   `json:"micro_batch_size"`
	Recompute int   `json:"recomputed_layers"`
	Chunk     int   `json:"logit_rows"`
}

// Try says what a stage would take, of which Compile gives up what checkpointing and AutoMicro allow. No program is made,
// and s stays as it is. With Inference the stage takes at most so much: Compile may run less at once between steps.
func (p *Programs) Try(s *Stage, checkpointing string) (Fit, error) {
	c := *s
	c.SumsInF32, c.Inference = p.caps.SumsInF32(), nil
	p.begin(&c, checkpointing)
	n, err := p.Bytes(&c)
	fits := p.caps.Memory == 0 || n <= p.caps.Memory
	if err == nil && !fits {
		if fits, err = p.giveUp(&c, checkpointing); err == nil {
			n, err = p.Bytes(&c)
		}
	}
	if err == nil && s.Inference != nil {
		n, err = p.bytesBetween(c, *s.Inference)
		fits = p.caps.Memory == 0 || n <= p.caps.Memory
	}
	return Fit{n, fits, c.Micro, c.Recompute, c.Chunk}, err
}

// bytesBetween is what a stage takes as it is set, with as much of x at once as fits the device, or the least.
func (p *Programs) bytesBetween(s Stage, x Inference) (int64, error) {
	x.take(&s)
	s.Inference = &x
	for x.size(p.caps); ; x.halve() {
		n, err := p.Bytes(&s)
		if err != nil || p.caps.Memory == 0 || n <= p.caps.Memory || x.Tokens/2 < leastTokens {
			return n, err
		}
	}
}

// Least is what a stage takes when all is given up that Compile may give up. Of two micro-batches that may take least it
// stops at one within enough.
func (p *Programs) Least(s *Stage, enough int64) (int64, error) {
	least := int64(math.MaxInt64)
	for _, c := range p.leasts(s) {
		n, err := p.Bytes(&c)
		if err != nil {
			return 0, err
		}
		if least = min(least, n); least <= enough {
			break
		}
	}
	return least, nil
}

// Floor is less than Least, and takes less time: what a stage keeps of its parameters between steps. It is linear in the layers.
func (p *Programs) Floor(s *Stage) (int64, error) {
	list := p.leasts(s)
	c := list[len(list)-1] // whose gradients are the narrowest
	b := newStageBuilder(&c, p.caps)
	b.declare()
	return b.g.Kept(p.caps, gpu.RoleWeight, gpu.RoleGradient, gpu.RoleOptimizer, gpu.RoleAdapter), b.g.Err()
}

// leasts lists a stage as it may take least: with one sequence at a time, and where gradients are then added up in fp32, with the
// fewest with which they are not.
func (p *Programs) leasts(s *Stage) (list []Stage) {
	c := *s
	c.SumsInF32 = p.caps.SumsInF32()
	micros := []int{1}
	switch {
	case s.Fused:
		micros[0] = s.share()
	case s.DType == gpu.BF16 && s.Accumulate == gpu.InvalidDType && s.Batch > bf16Additions:
		divisors := divisorsOf(s.share()) // the first has wide gradients, this one has not
		micros = append(micros, divisors[sort.Search(len(divisors), func(i int) bool { return s.Batch/divisors[i] <= bf16Additions })])
	}
	for _, c.Micro = range micros {
		c.Recompute, c.Chunk, c.Inference = len(c.Layers), min(leastChunk, c.Micro*c.Seq), s.Inference.least(&c)
		if c.Inference != nil { // for which no rows of logits are given up
			c.Chunk = ChunkRows(p.caps, c.Micro*c.Seq, c.Model.VocabSize)
		}
		list = append(list, c)
	}
	return list
}

// begin sets what a stage has before anything is given up.
func (p *Programs) begin(s *Stage, checkpointing string) {
	s.Recompute = recomputed(checkpointing, len(s.Layers))
	if s.AutoMicro {
		s.Micro = s.share()
	}
	s.Chunk = ChunkRows(p.caps, s.Micro*s.Seq, s.Model.VocabSize)
}

// recomputed is how many of a stage's layers keep only their input, whatever the device has.
func recomputed(checkpointing string, layers int) int {
	if checkpointing == "block" {
		return layers
	}
	n, _ := strconv.Atoi(checkpointing) // "none" and "auto" are 0
	return min(n, layers)
}

// giveUp sets what Compile says for a stage that does not fit as it begins, and reports whether it fits then.
func (p *Programs) giveUp(s *Stage, checkpointing string) (bool, error) {
	if ok, err := p.chunked(s); err != nil || ok {
		return ok, err
	}
	if s.AutoMicro {
		if ok, err := p.smaller(s); err != nil || ok {
			return ok, err
		}
	}
	if checkpointing != "auto" {
		return p.chunked(s)
	}
	if ok, err := p.recompute(s); err != nil || ok || !s.AutoMicro || s.Accumulate != gpu.InvalidDType || s.DType != gpu.BF16 {
		return ok, err
	}
	least := s.Micro // a larger micro-batch may take less, if gradients are then added up in bf16
	for _, s.Micro = range divisorsOf(s.share()) {
		if s.Micro > least && s.MicroSteps() <= bf16Additions {
			if ok, err := p.recompute(s); err != nil || ok {
				return ok, err
			}
			break
		}
	}
	s.Micro = least
	return p.chunked(s)
}

// smaller sets the largest micro-batch that fits, the least where none does. More sequences take more bytes, but so do more
// micro-batches than gradients are added up of in bf16: these are tried last.
func (p *Programs) smaller(s *Stage) (ok bool, err error) {
	divisors := divisorsOf(s.share())
	many := sort.Search(len(divisors), func(i int) bool { return s.Batch/divisors[i] <= bf16Additions })
	for _, list := range [][]int{divisors[many:], divisors[:many]} {
		if len(list) > 0 && s.SumsInF32 && s.alikeGradients(list[0], list[len(list)-1]) {
			s.Micro = list[0]
			if ok, err = p.possible(s); err != nil {
				return false, err
			}
			if !ok { // then none does
				continue
			}
		}
		i := sort.Search(len(list), func(i int) bool { // the first that does not fit
			if err == nil {
				s.Micro = list[i]
				ok, err = p.possible(s)
			}
			return err != nil || !ok
		})
		if err != nil {
			return false, err
		}
		if i > 0 {
			s.Micro = list[i-1]
			return p.chunked(s)
		}
	}
	s.Micro = divisors[0]
	return p.chunked(s)
}

// alikeGradients reports whether gradients have the same types with micro-batches of two sizes.
func (s Stage) alikeGradients(a, b int) bool {
	return !slices.ContainsFunc(s.Trainable(), func(x ops.Param) bool {
		s.Micro = a
		t := s.GradType(x)
		s.Micro = b
		return s.GradType(x) != t
	})
}

// recompute sets the fewest layers, from the bottom, whose activations are computed again so that the stage fits; all of
// them where it does not. The peak falls with every layer, nearly on a line, along which the next number to try is found.
func (p *Programs) recompute(s *Stage) (bool, error) {
	try := func(n int) (ok bool, bytes int64, err error) {
		s.Recompute = n
		if ok, err = p.possible(s); err == nil {
			bytes, err = p.Bytes(s)
		}
		return ok, bytes, err
	}
	no, yes := 0, len(s.Layers) // so many are too few, so many do
	ok, most, err := try(no)
	if err != nil {
		return false, err
	}
	if ok {
		return p.chunked(s)
	}
	ok, least, err := try(yes)
	if err != nil || !ok {
		return false, err
	}
	for halve := false; yes-no > 1; halve = !halve {
		n := no + (yes-no)/2
		if !halve && most > least {
			n = no + int(math.Ceil(float64(most-p.caps.Memory)/float64(most-least)*float64(yes-no)))
		}
		n = min(max(n, no+1), yes-1)
		ok, bytes, err := try(n)
		switch {
		case err != nil:
			return false, err
		case ok:
			yes, least = n, bytes
		default:
			no, most = n, bytes
		}
	}
	s.Recompute = yes
	return p.chunked(s)
}

// possible reports whether a stage fits with some number of rows of logits, and sets one of them, or the least.
func (p *Programs) possible(s *Stage) (bool, error) {
	if !s.SumsInF32 {
		return p.chunked(s)
	}
	return p.fitsIn(s, min(leastChunk, ChunkRows(p.caps, s.Micro*s.Seq, s.Model.VocabSize))) // fewer rows never take more
}

// fitsIn sets how many rows of logits are in memory at a time, and reports whether the stage then fits.
func (p *Programs) fitsIn(s *Stage, chunk int) (bool, error) {
	s.Chunk = chunk
	n, err := p.Bytes(s)
	return err == nil && n <= p.caps.Memory, err
}

// chunked sets as many rows of logits as help and fit, the least where none fit, and reports whether they do.
func (p *Programs) chunked(s *Stage) (bool, error) {
	most := ChunkRows(p.caps, s.Micro*s.Seq, s.Model.VocabSize)
	if s.SumsInF32 && most > leastChunk { // then fewer rows never take more, and most that do not fit are known at once
		if ok, err := p.fitsIn(s, leastChunk); err != nil || !ok {
			return false, err
		}
	}
	for chunk := most; ; chunk = max(leastChunk, chunk/2) {
		if ok, err := p.fitsIn(s, chunk); err != nil || ok || chunk <= leastChunk {
			return ok, err
		}
	}
}
