package runtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"

	"stepflow/runtime/look"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
)

func TestProfile(t *testing.T) {
	p := planOf(t, pipeline(t))
	for _, a := range p.Actions {
		s := stageOf(a)
		if s == nil {
			continue
		}
		r, err := look.ProfileStage(context.Background(), s, cpuDevice(t, 2), 3)
		must(t, err)
		launches := func(name string) int { seg, _ := s.Program.Segment(name); return seg.Hi - seg.Lo }
		if want := launches(program.SegZero) + s.MicroSteps()*launches(program.SegMicro) + launches(program.SegUpdate); len(r.Operations) != want {
			t.Errorf("%s: %d operations, want %d", a.Addr, len(r.Operations), want)
		}
		for _, g := range [][]look.Share{r.Kernels, r.Layers, r.Phases} {
			share, calls, flops := 0.0, 0, int64(0)
			for _, x := range g {
				share, calls, flops = share+x.Of, calls+x.Calls, flops+x.FLOPs
				if x.Seconds <= 0 || x.Roofline <= 0 || x.Bound != "compute" && x.Bound != "memory" {
					t.Errorf("%+v", x)
				}
			}
			if math.Abs(share-1) > 1e-9 || calls != len(r.Operations) || flops != r.FLOPs {
				t.Errorf("%s: shares add up to %g, %d calls of %d, %d FLOPs of %d", a.Addr, share, calls, len(r.Operations), flops, r.FLOPs)
			}
		}
		// The tensors that are alive at the peak are what the arena was laid out for, but for the alignment.
		sum := int64(0)
		for _, x := range r.Memory.Alive {
			sum += x.Bytes
		}
		if sum != r.Memory.Bytes || r.Memory.Bytes > s.Figures.LowerBound || float64(r.Memory.Bytes) < 0.99*float64(s.Figures.LowerBound) {
			t.Errorf("%s: %d bytes alive, listed %d, the plan's lower bound is %d", a.Addr, r.Memory.Bytes, sum, s.Figures.LowerBound)
		}
		checkChromeTrace(t, r, 2+s.MicroSteps())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, a := range p.Actions {
		if s := stageOf(a); s != nil {
			if _, err := look.ProfileStage(ctx, s, cpuDevice(t, 1), 3); !errors.Is(err, observe.ErrInterrupted) {
				t.Errorf("interrupted: %v", err)
			}
		}
	}
}

// checkChromeTrace reads the trace back strictly and checks what viewers rely on: known phases, names, times that do not
// run backwards, no overlap on a track, and a counter that stays within the arena.
func checkChromeTrace(t *testing.T, r *look.Profile, runs int) {
	t.Helper()
	var b bytes.Buffer
	must(t, r.WriteChromeTrace(&b))
	var file struct {
		TraceEvents []struct {
			Name string         `json:"name"`
			Cat  string         `json:"cat"`
			Ph   string         `json:"ph"`
			TS   *float64       `json:"ts"`
			Dur  float64        `json:"dur"`
			PID  *int           `json:"pid"`
			TID  *int           `json:"tid"`
			Args map[string]any `json:"args"`
		} `json:"traceEvents"`
		DisplayTimeUnit string         `json:"displayTimeUnit"`
		OtherData       map[string]any `json:"otherData"`
	}
	d := json.NewDecoder(&b)
	d.DisallowUnknownFields()
	must(t, d.Decode(&file))
	counts := map[string]int{}
	ends := map[int]float64{}
	segments := 0
	for _, e := range file.TraceEvents {
		counts[e.Ph]++
		if e.Name == "" || e.TS == nil || e.PID == nil || e.TID == nil {
			t.Fatalf("an event lacks what every event has: %+v", e)
		}
		switch e.Ph {
		case "M":
			if name, ok := e.Args["name"].(string); !ok || name == "" {
				t.Errorf("%+v", e)
			}
		case "C":
			if n, ok := e.Args["bytes"].(float64); !ok || n <= 0 || n > float64(r.Memory.Bytes) {
				t.Errorf("memory is %v, at the peak %d", e.Args, r.Memory.Bytes)
			}
		case "X":
			if *e.TS < ends[*e.TID] || e.Dur < 0 {
				t.Errorf("%s at %g overlaps the one before, which ends at %g", e.Name, *e.TS, ends[*e.TID])
			}
			ends[*e.TID] = *e.TS + e.Dur - 1e-3
			if e.Cat == "segment" {
				segments++
			}
		default:
			t.Errorf("phase %q", e.Ph)
		}
	}
	if counts["X"] != len(r.Operations)+segments || counts["C"] != len(r.Operations) || segments != runs {
		t.Errorf("%v, %d segments of %d operations", counts, segments, len(r.Operations))
	}
}
