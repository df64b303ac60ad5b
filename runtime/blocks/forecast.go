package blocks

import (
	"fmt"
	"math"

	"stepflow/runtime/program"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime/words"
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

// Work is a kind of work on a device, whose rate in FLOP/s the state keeps.
type Work string

// Rate is the name under which a rate is kept. Each kind of work has its own, and of it each kind of device, each element type, and
// each power of two of operations a launch, times two to the power of shift: small products are slow.
func (w Work) Rate(caps gpu.Caps, t gpu.DType, p *gpu.Program, segment string, shift float64) string {
	flops, _ := p.FLOPs(segment)
	seg, _ := p.Segment(segment)
	size := math.Round(math.Log2(float64(max(flops, 1)) / float64(max(seg.Hi-seg.Lo, 1))))
	return fmt.Sprintf("%s %s %s 2^%.0f", w, caps.Kind, program.Precision(t), size+shift)
}

// Predict tells how long the operations of a forecast take, most of them those of a program's segment: by the rate that the last block
// of this kind and size reached in this state, or of half or twice the size, else at least as long as at the rate of a large product.
func (f *Forecast) Predict(w *World, work Work, t gpu.DType, program *gpu.Program, segment string) {
	if f.FLOPs == 0 {
		return
	}
	for _, shift := range []float64{0, -1, 1} {
		if f.Rate = w.State.Rates[work.Rate(w.Caps, t, program, segment, shift)]; f.Rate > 0 {
			break
		}
	}
	if f.Rate == 0 && w.Peak != nil {
		f.Rate, f.Least = w.Peak(t), true
	}
	if f.Rate > 0 {
		f.Seconds = f.FLOPs / f.Rate
	}
}

// Program notes what a program takes.
func (f *Forecast) Program(p *gpu.Program) {
	f.Peak, f.ByKind = p.ArenaBytes, program.BytesByKind(p)
}

// Time says how long something takes, and how that is known, behind a semicolon; "" where it is not. unit is that of the rate,
// and of is what reached it last.
func (f *Forecast) Time(unit, of string) string {
	switch {
	case f.Seconds == 0, f.Seconds < 0.01 && f.Least: // it may take longer than any time so short
		return ""
	case f.Seconds < 0.01:
		return "; less than 10ms"
	case f.Least:
		return fmt.Sprintf("; at least %s, at the %s%s of a large product", words.Duration(f.Seconds), words.Count(f.Rate), unit)
	}
	return fmt.Sprintf("; about %s, at the %s%s of %s", words.Duration(f.Seconds), words.Count(f.Rate), unit, of)
}
