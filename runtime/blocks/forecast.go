package blocks

import (
	"fmt"
	"math"
	"strings"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
)

// Forecast is what a planned block takes: device memory, operations, time.
type Forecast struct {
	Peak    int64            `json:"peak_bytes,omitempty"`  // of device memory
	ByKind  map[string]int64 `json:"bytes,omitempty"`       // its parts, named as those of a stage
	Written int64            `json:"write_bytes,omitempty"` // to disk
	Tokens  int64            `json:"tokens,omitempty"`      // predicted tokens, for a generation the most; 0 if unknown
	How     fineweb.How      `json:"tokens_known,omitempty"`
	FLOPs   float64          `json:"flops,omitempty"`
	Between float64          `json:"evaluation_flops,omitempty"` // of these, those of evaluations between the steps of a stage
	Seconds float64          `json:"seconds,omitempty"`          // 0 if no rate is known
	Rate    float64          `json:"rate,omitempty"`             // FLOP/s, or bytes/s for an export, that Seconds is by
	Least   bool             `json:"least,omitempty"`            // Rate is an upper bound, so Seconds is a lower one

	rates []string // names of the rates in the state that tell the time, the best first
}

// Work is a kind of work on a device, whose rate in FLOP/s the state keeps.
type Work string

// Rate returns the name under which the state keeps a rate. Each kind of work has its own, for each kind of device,
// each element type, and each power of two of operations a launch, times two to the power of shift: small products are
// slow.
func (w Work) Rate(caps gpu.Caps, t gpu.DType, p *gpu.Program, segment string, shift float64) string {
	flops, _ := p.FLOPs(segment)
	seg, _ := p.Segment(segment)
	size := math.Round(math.Log2(float64(max(flops, 1)) / float64(max(seg.Hi-seg.Lo, 1))))
	return fmt.Sprintf("%s %s %s 2^%.0f", w, caps.Kind, program.Precision(t), size+shift)
}

// PeakRate returns the name under which the state keeps the highest rate that was measured of a device's large products, or
// that a step has reached. A measurement while other programs run finds too little.
func PeakRate(caps gpu.Caps, t gpu.DType) string {
	return fmt.Sprintf("%s %d threads", peakOf(caps, t), caps.Threads)
}

// peakOf is how the names of the rates of a device begin, with any number of threads.
func peakOf(caps gpu.Caps, t gpu.DType) string {
	return fmt.Sprintf("peak %s %s", program.Precision(t), caps.Name)
}

// peak returns the highest rate of the device, of those that the state knows of and the measured one; 0 if none can be measured.
func (w *World) peak(t gpu.DType) float64 {
	most := w.Peak(t)
	for name, rate := range w.State.Rates {
		threads, is := strings.CutPrefix(name, peakOf(w.Caps, t)+" ")
		if most > 0 && is && strings.Count(threads, " ") == 1 { // not of a device whose name is longer
			most = max(most, rate)
		}
	}
	return most
}

// measurement is about the number of operations that Device.PeakFLOPs takes on the CPU.
const measurement = 5e9

// Predict sets the time that the operations of a forecast take, most of which are those of a program's segment. It uses
// the rate that the last block of this kind and size reached in this state, or one of half or twice the size. Without
// one it uses the rate of a large product, which gives the least time; it is measured for work that takes longer than
// that.
func (f *Forecast) Predict(w *World, work Work, t gpu.DType, program *gpu.Program, segment string) {
	if f.FLOPs == 0 {
		return
	}
	f.rates = nil
	for _, shift := range []float64{0, -1, 1} {
		f.rates = append(f.rates, work.Rate(w.Caps, t, program, segment, shift))
	}
	if *f = f.By(w.State.Rates); f.Rate == 0 && w.Peak != nil && f.FLOPs > measurement {
		if f.Rate, f.Least = w.peak(t), true; f.Rate > 0 {
			f.Seconds = f.FLOPs / f.Rate
		}
	}
}

// PredictBy sets the time that the bytes of a forecast take by the rate of a name.
func (f *Forecast) PredictBy(rates map[string]float64, name string) {
	f.rates = []string{name}
	*f = f.By(rates)
}

// amount is what a rate is a number of a second of.
func (f *Forecast) amount() float64 { return max(f.FLOPs, float64(f.Written)) }

// By returns the forecast with its time told by these rates, where they have one for its kind and size of work.
func (f Forecast) By(rates map[string]float64) Forecast {
	for _, name := range f.rates {
		if r := rates[name]; r > 0 {
			f.Rate, f.Least, f.Seconds = r, false, f.amount()/r
			break
		}
	}
	return f
}

// Reached notes among rates the one that the work reached, of which a share, without what is between steps, took so many
// seconds.
func (f *Forecast) Reached(rates map[string]float64, share, seconds float64) {
	if amount := share * (f.amount() - f.Between); len(f.rates) > 0 && amount > 0 && seconds > 0 {
		rates[f.rates[0]] = amount / seconds
	}
}

// Program sets the memory that a program takes.
func (f *Forecast) Program(p *gpu.Program) {
	f.Peak, f.ByKind = p.ArenaBytes, program.BytesByKind(p)
}

// Time writes how long something takes and how that is known, after a semicolon; "" if it is unknown. unit is the
// rate's unit, and of names what reached the rate last.
func (f *Forecast) Time(unit, of string) string {
	switch {
	case f.Seconds == 0, f.Seconds < 0.01 && f.Least: // so low a lower bound says nothing
		return ""
	case f.Seconds < 0.01:
		return "; less than 10ms"
	case f.Least:
		return fmt.Sprintf("; at least %s, at the %s%s of a large product", words.Duration(f.Seconds), words.Count(f.Rate),
			unit)
	}
	return fmt.Sprintf("; about %s, at the %s%s of %s", words.Duration(f.Seconds), words.Count(f.Rate), unit, of)
}
