// Package look draws a plan and a training step, and profiles the time and memory of a step.
package look

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/program"
	"stepflow/runtime/train"
)

// Profile is where the time and the memory of a stage's training step go.
type Profile struct {
	Stage     string  `json:"stage"`
	Device    string  `json:"device"`
	Precision string  `json:"precision"`
	Tokens    int64   `json:"tokens"`  // of a step
	Steps     int     `json:"steps"`   // measured, after two to warm up
	Seconds   float64 `json:"seconds"` // of the median step, whose operations are listed below
	FLOPs     int64   `json:"flops"`
	Peak      float64 `json:"peak_flops"`      // measured, FLOP/s
	Bandwidth float64 `json:"bandwidth_bytes"` // measured, bytes/s

	Kernels []Share `json:"kernels"`
	Layers  []Share `json:"layers"`
	Phases  []Share `json:"phases"`

	Memory     MemoryPeak  `json:"memory"`
	Operations []Operation `json:"-"` // in the order in which they ran
}

// Share is what a group of operations takes of a step.
type Share struct {
	Name     string  `json:"name"`
	Calls    int     `json:"calls"`
	Seconds  float64 `json:"seconds"`
	Of       float64 `json:"share"` // of the step's operations
	FLOPs    int64   `json:"flops"`
	Bytes    int64   `json:"bytes"`
	Bound    string  `json:"bound"`    // what limits them at full rate: "compute" or "memory" (Williams et al. 2009)
	Roofline float64 `json:"roofline"` // the time that the device's measured rates allow, divided by the time taken
}

// GFLOPs is the rate in GFLOP/s.
func (s Share) GFLOPs() float64 { return float64(s.FLOPs) / s.Seconds / 1e9 }

// GBs is the rate in GB/s, every operand counted once.
func (s Share) GBs() float64 { return float64(s.Bytes) / s.Seconds / 1e9 }

// Operation is one launch of the measured step.
type Operation struct {
	Launch   *gpu.Launch
	Segment  string
	Run      int           // which run of a segment in the step, from 0
	Start    time.Duration // since the step began
	Duration time.Duration
	Alive    int64 // bytes of the arena in use while it runs
}

// MemoryPeak is the moment of a step at which most of the arena is in use.
type MemoryPeak struct {
	Bytes     int64       `json:"bytes"`
	Arena     int64       `json:"arena_bytes"`
	Operation string      `json:"operation"` // the one that runs then
	Segment   string      `json:"segment"`
	Alive     []AliveItem `json:"alive"` // largest first
}

// AliveItem is a tensor, or all named buffers of one kind.
type AliveItem struct {
	Kind  string `json:"kind"` // one of ByteKinds
	Name  string `json:"name"`
	Type  string `json:"type,omitempty"`
	Bytes int64  `json:"bytes"`
}

// ProfileStage runs a few steps of a stage and measures every operation. It needs the plan alone: weights are the
// first ones, and each sequence is one document of random tokens. Reading data is not measured.
func ProfileStage(ctx context.Context, s *stage.Stage, d gpu.Device, steps int) (*Profile, error) {
	if err := program.Computes(d.Caps(), s.DType); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(s.Seed, 1))
	list, err := train.TimeSteps(ctx, &s.Stage, d, steps, func() *fineweb.Batch { return randomBatch(s, rng) })
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b train.TimedStep) int { return cmp.Compare(a.Seconds, b.Seconds) })
	median := list[len(list)/2]
	p := &Profile{Stage: s.Addr.String(), Device: d.Caps().Name, Precision: program.Precision(s.DType),
		Tokens: s.StepTokens(), Steps: steps,
		Seconds: median.Seconds, FLOPs: s.Figures.StepFLOPs + s.Figures.RecomputeFLOPs, Peak: d.PeakFLOPs(s.DType),
		Bandwidth: d.Bandwidth(),
		Memory:    memoryPeak(s)}
	p.operations(s, median)
	return p, nil
}

func randomBatch(s *stage.Stage, rng *rand.Rand) *fineweb.Batch {
	n := s.Batch * s.Seq
	b := &fineweb.Batch{IDs: make([]int32, n), Targets: make([]int32, n), Segments: make([]int32, n), Valid: n}
	for i := range b.IDs {
		b.IDs[i], b.Targets[i] = rng.Int32N(int32(s.Model.VocabSize)), rng.Int32N(int32(s.Model.VocabSize))
	}
	return b
}

// operations lists the step's launches and adds them up.
func (p *Profile) operations(s *stage.Stage, step train.TimedStep) {
	alive := map[string][]int64{}
	kernels, layers, phases := map[string]*Share{}, map[string]*Share{}, map[string]*Share{}
	order := map[string]int{}
	bound := map[*Share][2]float64{} // seconds at full rate: arithmetic, traffic
	var total float64
	for run, r := range step.Runs {
		seg, _ := s.Program.Segment(r.Segment)
		if alive[r.Segment] == nil {
			alive[r.Segment] = s.Program.AliveBytes(seg)
		}
		for _, x := range r.Timings {
			l := &s.Program.Launches[x.Launch]
			p.Operations = append(p.Operations, Operation{l, r.Segment, run, r.Start.Sub(step.Start) + x.Start, x.Duration,
				alive[r.Segment][x.Launch-seg.Lo]})
			total += x.Duration.Seconds()
			layer := "outside the layers"
			if l.Layer >= 0 {
				layer = fmt.Sprintf("layer %d", l.Layer)
			}
			order[layer] = l.Layer
			for _, g := range []struct {
				m    map[string]*Share
				name string
			}{{kernels, l.Kernel}, {layers, layer}, {phases, l.Phase.String()}} {
				h := g.m[g.name]
				if h == nil {
					h = &Share{Name: g.name}
					g.m[g.name] = h
				}
				h.Calls++
				h.Seconds += x.Duration.Seconds()
				h.FLOPs += l.FLOPs
				h.Bytes += l.Bytes
				b := bound[h]
				c, m := float64(l.FLOPs)/p.Peak, float64(l.Bytes)/p.Bandwidth
				h.Roofline += max(c, m)
				bound[h] = [2]float64{b[0] + c, b[1] + m}
			}
		}
	}
	shares := func(m map[string]*Share, less func(a, b Share) int) (list []Share) {
		for _, h := range m {
			h.Bound = "compute"
			if b := bound[h]; b[1] > b[0] {
				h.Bound = "memory"
			}
			h.Of, h.Roofline = h.Seconds/total, h.Roofline/h.Seconds
			list = append(list, *h)
		}
		slices.SortFunc(list, less)
		return list
	}
	bySeconds := func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Name, b.Name))
	}
	p.Kernels = shares(kernels, bySeconds)
	p.Layers = shares(layers, func(a, b Share) int { return cmp.Compare(order[a.Name], order[b.Name]) })
	p.Phases = shares(phases, bySeconds)
}

// memoryPeak finds the launch of a step at which most bytes are in use, and what they hold.
func memoryPeak(s *stage.Stage) MemoryPeak {
	p := s.Program
	peak := MemoryPeak{Arena: p.ArenaBytes}
	at, in := 0, gpu.Segment{}
	for _, name := range s.Segments() {
		seg, _ := p.Segment(name)
		for i, n := range p.AliveBytes(seg) {
			if n > peak.Bytes {
				peak.Bytes, at, in = n, seg.Lo+i, seg
			}
		}
	}
	l := &p.Launches[at]
	peak.Operation, peak.Segment = l.Kernel+" "+l.Name, in.Name
	kinds := program.BytesByKind(p)
	delete(kinds, "activations") // listed one by one
	delete(kinds, "workspace")
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		peak.Alive = append(peak.Alive, AliveItem{Kind: k, Name: "all " + k, Bytes: kinds[k]})
	}
	for _, t := range p.Transients(in) {
		if t.First <= at && at <= t.Last {
			name := t.Name
			if t.Output > 0 {
				name = fmt.Sprintf("%s, output %d", name, t.Output)
			}
			peak.Alive = append(peak.Alive, AliveItem{"activations", name, t.Operand.Type.String(), t.Bytes()})
		}
	}
	if n := l.Scratch.Type.Bytes(); n > 0 {
		peak.Alive = append(peak.Alive, AliveItem{"workspace", "scratch of " + peak.Operation, l.Scratch.Type.String(), n})
	}
	slices.SortStableFunc(peak.Alive, func(a, b AliveItem) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return peak
}
