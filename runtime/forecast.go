package runtime

import (
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime/train"
)

// Forecast is what a block takes that is planned: bytes of the device, operations, time.
type Forecast struct {
	Peak    int64            `json:"peak_bytes,omitempty"`  // of device memory
	ByKind  map[string]int64 `json:"bytes,omitempty"`       // its parts, named as those of a stage
	Written int64            `json:"write_bytes,omitempty"` // to disk
	Tokens  int64            `json:"tokens,omitempty"`      // that are predicted, of a generation at most; 0 where that is not known
	How     fineweb.How      `json:"tokens_known,omitempty"`
	FLOPs   float64          `json:"flops,omitempty"`
	Seconds float64          `json:"seconds,omitempty"` // 0 where no rate is known
	Rate    float64          `json:"rate,omitempty"`    // FLOP/s, or of an export bytes/s, by which Seconds were told
	Least   bool             `json:"least,omitempty"`   // the rate is one that is not reached: the time is at least so long
}

// Rates that a state keeps, of the latest that was measured: FLOP/s, and bytes/s of disk.
const (
	rateTrain    = "train"
	rateMeasure  = "perplexity"
	rateGenerate = "generation"
	rateDisk     = "disk"
)

// rateName is the name under which a rate is kept. Each kind of work has its own, and of it each kind of device, each element type, and
// each power of two of operations a launch, times two to the power of shift: small products are slow.
func rateName(kind string, caps gpu.Caps, t gpu.DType, p *gpu.Program, segment string, shift float64) string {
	flops, _ := p.FLOPs(segment)
	seg, _ := p.Segment(segment)
	size := math.Round(math.Log2(float64(max(flops, 1)) / float64(max(seg.Hi-seg.Lo, 1))))
	return fmt.Sprintf("%s %s %s 2^%.0f", kind, caps.Kind, train.Precision(t), size+shift)
}

// took notes the rate at which something was done, for plans to come. What took no time to speak of tells nothing.
func (r *runner) took(name string, amount float64, time time.Duration) {
	if s := time.Seconds(); s > 0.05 && amount > 0 {
		r.dir.State.Rate(name, amount/s)
	}
}

// predict tells how long the operations of a forecast take, most of them those of a program's segment: by the rate that the last block
// of this kind and size reached in this state, or of half or twice the size, else at least as long as at the rate of a large product.
func (p *planner) predict(f *Forecast, kind string, t gpu.DType, program *gpu.Program, segment string) {
	if f.FLOPs == 0 {
		return
	}
	for _, shift := range []float64{0, -1, 1} {
		if f.Rate = p.state.Rates[rateName(kind, p.caps, t, program, segment, shift)]; f.Rate > 0 {
			break
		}
	}
	if f.Rate == 0 && p.peak != nil {
		f.Rate, f.Least = p.peak(t), true
	}
	if f.Rate > 0 {
		f.Seconds = f.FLOPs / f.Rate
	}
}

// program notes what a program takes.
func (f *Forecast) program(p *gpu.Program) {
	f.Peak, f.ByKind = p.ArenaBytes, train.BytesByKind(p)
}

// forecast tells what a block takes that is to run.
func (p *planner) forecast(a *Action, d *dsl.Decoded) hcl.Diagnostics {
	switch e := a.Evaluate; {
	case a.Token != nil && a.Token.TrainOn != nil:
		if err := p.holdsText(a.Token.TrainOn); err != nil {
			return unfit(d, "train_on", err)
		}
	case a.Stage != nil:
		p.forecastStage(a)
	case a.Export != nil:
		p.forecastExport(a.Export)
	case e != nil && e.Program != nil:
		if err := p.forecastPerplexity(e); err != nil {
			return unfit(d, "data", err)
		}
	case e != nil:
		lengths, diags := p.lengths(e, d)
		if diags.HasErrors() {
			return diags
		}
		if err := p.forecastGeneration(e, lengths); err != nil {
			return problem(d, "max_new_tokens", "Generation cannot be compiled", err)
		}
		a.tooLarge(p.caps, e.Forecast.Peak, "the generation", "Lower max_new_tokens, or shorten the prompts")
	}
	return nil
}

// forecastPerplexity tells what an evaluation takes: its tokens and windows are counted where they are few, else estimated.
func (p *planner) forecastPerplexity(e *Evaluation) error {
	f, w := &e.Forecast, e.Windows
	f.program(e.Program)
	effort, err := p.effort(e)
	if err != nil {
		return err
	}
	sequences := effort.Sequences
	if f.Tokens, f.How = effort.Tokens, fineweb.Exact; !effort.Whole {
		size, err := p.heldSize(e.Data, e.Tokenizer, w.Split)
		if err != nil || size.Tokens == 0 {
			return err
		}
		if f.Tokens, f.How = size.Tokens, size.How; f.How == fineweb.Exact { // of the documents, and not of what is predicted
			f.How = fineweb.BySample
		}
		if w.Limit > 0 {
			f.Tokens = min(f.Tokens, w.Limit)
		}
		sequences = w.Sequences(f.Tokens)
		if effort.Tokens > 0 && w.Join == nil {
			sequences = int64(math.Ceil(float64(f.Tokens) * float64(effort.Sequences) / float64(effort.Tokens)))
		}
	}
	batches := (sequences + int64(w.Batch) - 1) / int64(w.Batch)
	if effort.Whole && batches > 0 { // as many batches of fewer sequences leave less to fill up
		e.Windows.Batch = int((sequences + batches - 1) / batches)
		if e.Program, err = p.programs.Pass(e.pass()); err != nil {
			return err
		}
		f.program(e.Program)
	}
	flops, _ := e.Program.FLOPs(train.SegProbe)
	f.FLOPs = float64(flops) * float64(batches)
	p.predict(f, rateMeasure, e.DType, e.Program, train.SegProbe)
	return nil
}

// forecastGeneration tells what a generation takes at most: all new tokens of all prompts. long is the most tokens that a prompt
// and what continues it take.
func (p *planner) forecastGeneration(e *Evaluation, lengths []length) error {
	f, long := &e.Forecast, 0
	for _, n := range lengths {
		long = max(long, n.all)
	}
	if long == 0 {
		return nil
	}
	program, err := p.programs.Pass(e.continuation(long))
	if err != nil {
		return err
	}
	f.program(program)
	flops, _ := program.FLOPs(train.SegProbe)
	for _, n := range lengths {
		f.Tokens += int64(n.all - n.prompt)
		f.FLOPs += float64(flops) * float64(n.all) / float64(long) * float64(n.all-n.prompt)
	}
	p.predict(f, rateGenerate, e.DType, program, train.SegProbe)
	return nil
}

// forecastExport tells what an export writes.
func (p *planner) forecastExport(e *Export) {
	f := &e.Forecast
	for _, x := range e.Stage.Params {
		f.Written = gpu.Sum(f.Written, gpu.Product(x.Elems(), e.Stage.DType.Size()))
	}
	if f.Rate = p.state.Rates[rateDisk]; f.Rate > 0 {
		f.Seconds = float64(f.Written) / f.Rate
	}
}

// forecastStage tells how long a stage takes from the step it goes on from.
func (p *planner) forecastStage(a *Action) {
	s := a.Stage
	s.Forecast = Forecast{Peak: s.Figures.Peak, FLOPs: math.Max(0, float64(s.Steps-a.FromStep)) * (float64(s.Figures.StepFLOPs) + float64(s.Figures.RecomputeFLOPs))}
	p.predict(&s.Forecast, rateTrain, s.DType, s.Program, train.SegMicro)
}
