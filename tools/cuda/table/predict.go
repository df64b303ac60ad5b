package main

import (
	"cmp"
	"slices"
	"strings"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
	"stepflow/runtime/program"
)

// row is what the launches of one kernel of gpu's table take in a step.
type row struct {
	kernel   string
	launches int
	bytes    float64 // that they read and write at least
	flops    float64
	time     float64 // s
	bound    string  // what the longest of them waits for
	longest  float64 // s
}

// step is what a training step is expected to take.
type step struct {
	rows  []*row // the costliest first
	calls int    // of our kernels and of cuBLASLt
	time  float64
	flops float64 // of the model
	used  map[string]*cuda.Call
}

// predict says how long each launch of a step takes: as long as the slowest of the card's memory, its tensor cores and
// the instructions that it issues.
func predict(s size, kernels map[string]*code) (*step, error) {
	stage, err := s.compile()
	if err != nil {
		return nil, err
	}
	p := stage.Program
	l, err := load(p)
	if err != nil {
		return nil, err
	}
	t := &step{used: map[string]*cuda.Call{}, flops: float64(program.FiguresOf(stage, 0).StepFLOPs)}
	rows := map[string]*row{}
	for _, name := range program.StepSegments {
		times := 1
		if name == program.SegMicro {
			times = stage.MicroSteps()
		}
		g, _ := p.Segment(name)
		all, err := l.run(g.Lo, g.Hi)
		if err != nil {
			return nil, err
		}
		t.calls += times * (len(all.calls) + len(all.products))
		for i := g.Lo; i < g.Hi; i++ {
			x := &p.Launches[i]
			one, err := l.run(i, i+1)
			if err != nil {
				return nil, err
			}
			if rows[x.Kernel] == nil {
				rows[x.Kernel] = &row{kernel: x.Kernel}
				t.rows = append(t.rows, rows[x.Kernel])
			}
			rows[x.Kernel].add(x, one, float64(times), kernels)
			for _, c := range one.calls {
				t.used[c.Kernel] = c
			}
		}
	}
	for _, r := range t.rows {
		t.time += r.time
	}
	t.time += float64(t.calls) * launchTime
	slices.SortFunc(t.rows, func(a, b *row) int {
		return cmp.Or(cmp.Compare(b.time, a.time), strings.Compare(a.kernel, b.kernel))
	})
	return t, nil
}

// add counts a launch that runs so many times a step.
func (r *row) add(x *gpu.Launch, work recorder, times float64, kernels map[string]*code) {
	bound, time := "memory", float64(x.Bytes)/(copyRate*bandwidth)
	slower := func(what string, t float64) {
		if t > time {
			bound, time = what, t
		}
	}
	if len(work.products) > 0 {
		slower("tensor cores", float64(x.FLOPs)/(library*tensorRate))
	}
	for _, c := range work.calls {
		if rate := attentionRates[c.Kernel]; rate > 0 {
			slower("tensor cores, shared memory", float64(x.FLOPs)/rate)
		} else if k := kernels[c.Kernel]; k != nil && len(work.calls) == 1 && len(work.products) == 0 {
			s := k.hot()
			slower("instructions", float64(x.Bytes)/float64(max(s.bytes, 1)*32)*float64(s.instructions)/
				(issueRate*processors*clock))
		}
	}
	r.launches += int(times)
	r.bytes += times * float64(x.Bytes)
	r.flops += times * float64(x.FLOPs)
	r.time += times * time
	if time > r.longest {
		r.longest, r.bound = time, bound
	}
}

// attentionRates are the FLOP/s expected of launches of attention, by the costliest of their kernels: docs/cuda.md,
// Attention.
var attentionRates = map[string]float64{"attention_bf16_d64": 300e12, "attention_bf16_d128": 312e12,
	"attention_grad_kv_bf16_d64": 232e12, "attention_grad_kv_bf16_d128": 204e12}
