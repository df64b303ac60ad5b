package observe

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"stepflow/gpu"
	"stepflow/tracing"
)

// group is a run of operations, one after the other, that a span holds together: those of a pass, of a layer, or of a
// module in it.
type group struct {
	name   string
	layer  int // -1 for none
	lo, hi int // operations
	groups []group
}

// passes groups the operations of a segment: by forward and backward pass, and in these by layer. What is computed again
// for the backward pass is part of it.
func passes(launches []gpu.Launch, micro bool) []group {
	if !micro {
		return layers(launches, 0, len(launches))
	}
	turn := len(launches)
	for i := range launches {
		if launches[i].Phase == gpu.Backward || launches[i].Recomputed {
			turn = i
			break
		}
	}
	var list []group
	for _, g := range []group{{name: tracing.SpanForward, hi: turn},
		{name: tracing.SpanBackward, lo: turn, hi: len(launches)}} {
		if g.lo < g.hi {
			g.layer, g.groups = -1, layers(launches, g.lo, g.hi)
			list = append(list, g)
		}
	}
	return list
}

// layers groups operations that stand one after the other and are of the same layer. Others are in no group.
func layers(launches []gpu.Launch, lo, hi int) (list []group) {
	for n, g := range stretches(launches, lo, hi, func(l *gpu.Launch) int { return l.Layer }) {
		if n >= 0 {
			g.name, g.layer, g.groups = fmt.Sprintf("%s %d", tracing.SpanLayer, n), n, modules(launches, g.lo, g.hi)
			list = append(list, g)
		}
	}
	return list
}

// stretches cuts operations where what is told of one changes.
func stretches[T comparable](launches []gpu.Launch, lo, hi int, tell func(*gpu.Launch) T) iter.Seq2[T, group] {
	return func(yield func(T, group) bool) {
		for i := lo; i < hi; {
			told, j := tell(&launches[i]), i+1
			for j < hi && tell(&launches[j]) == told {
				j++
			}
			if !yield(told, group{lo: i, hi: j}) {
				return
			}
			i = j
		}
	}
}

// moduleOperations is how many operations of a module are worth a group.
const moduleOperations = 4

// modules groups operations of a layer that stand one after the other and are of the same part of it.
func modules(launches []gpu.Launch, lo, hi int) (list []group) {
	for name, g := range stretches(launches, lo, hi, module) {
		if name != "" && g.hi-g.lo >= moduleOperations {
			g.name, g.layer = name, launches[lo].Layer
			list = append(list, g)
		}
	}
	return list
}

// module is the part of a layer to which an operation belongs, such as self_attn; empty if its name does not tell.
func module(l *gpu.Launch) string {
	_, inside, _ := strings.Cut(l.Name, fmt.Sprintf(".%d.", l.Layer))
	name, _, _ := strings.Cut(inside, ".")
	return name
}

// count counts groups with those in them.
func count(groups []group) int {
	n := len(groups)
	for i := range groups {
		n += count(groups[i].groups)
	}
	return n
}

// spansOf is how many spans the operations of a segment have, with their groups.
func (w *Work) spansOf(s Segment) int {
	seg, _ := w.Program.Segment(s.Name)
	if s.Whole {
		return 0
	}
	return seg.Hi - seg.Lo + count(passes(w.Program.Launches[seg.Lo:seg.Hi], s.Micro))
}

// detailed returns for how many micro-batches a traced step has a span for each operation, and how many spans the
// step has in its trace.
func (w *Work) detailed() (micros, spans int) {
	fixed, each := 2+w.Micros, 1 // the step and the wait for data; a span for each micro-batch
	for _, s := range w.Segments {
		if n := w.spansOf(s); s.Micro {
			each = max(n, 1)
		} else {
			fixed += 1 + n
		}
	}
	micros = min(max((stepSpans-fixed)/each, 1), w.Micros)
	return micros, fixed + micros*each
}

// operations records what a step was made of: the wait for data, the segments of the program, and below them passes,
// layers and device operations, at device times laid from the start of their run.
func (s *Steps) operations(step *tracing.Span, r *StepRun) {
	o := s.block.observer
	if !r.Data.Before(r.Start) { // of a step that was begun after the one before, the wait is part of that one
		o.span(step, tracing.SpanData, r.Data, r.Data.Add(r.Wait))
	}
	micro := 0
	for _, x := range r.Runs {
		segment := s.work.segment(x.Segment)
		name := segment.Span
		kvs := []tracing.KV{{Key: tracing.Operations, Value: len(x.Timings)}}
		if segment.Micro {
			name = fmt.Sprintf("%s %d", name, micro)
			kvs = append(kvs, tracing.KV{Key: tracing.MicroBatch, Value: micro})
			micro++
		}
		inside := o.span(step, name, x.Start, x.end(), kvs...)
		if !segment.Whole && (!segment.Micro || micro <= s.micros) {
			t := timed{o, s.work.Program, x}
			t.groups(inside, passes(t.launches(), segment.Micro), 0, len(x.Timings))
		}
	}
}

// span records a span that is over.
func (o *Observer) span(in *tracing.Span, name string, start, end time.Time, kvs ...tracing.KV) *tracing.Span {
	_, s := o.Trace.Begin(context.Background(), name, tracing.Opts{In: in, At: start}, kvs...)
	s.EndAt(end, nil)
	return s
}

// timed is a run of a segment, whose spans are recorded.
type timed struct {
	o       *Observer
	program *gpu.Program
	run     SegmentRun
}

// launches are the operations that were timed, in their order.
func (t *timed) launches() []gpu.Launch {
	list := make([]gpu.Launch, len(t.run.Timings))
	for i, x := range t.run.Timings {
		list[i] = t.program.Launches[x.Launch]
	}
	return list
}

// groups records the operations from lo to hi, those in groups below the spans of these.
func (t *timed) groups(in *tracing.Span, list []group, lo, hi int) {
	for _, g := range list {
		t.operations(in, lo, g.lo)
		start, end := t.bounds(g.lo, g.hi)
		var kvs []tracing.KV
		if g.layer >= 0 {
			kvs = append(kvs, tracing.KV{Key: tracing.Layer, Value: g.layer})
		}
		t.groups(t.o.span(in, g.name, start, end, kvs...), g.groups, g.lo, g.hi)
		lo = g.hi
	}
	t.operations(in, lo, hi)
}

// bounds is when the first of operations began and the last was over.
func (t *timed) bounds(lo, hi int) (start, end time.Time) {
	for i, x := range t.run.Timings[lo:hi] {
		s := t.run.Start.Add(x.Start)
		e := s.Add(x.Duration)
		if i == 0 || s.Before(start) {
			start = s
		}
		if e.After(end) {
			end = e
		}
	}
	return start, end
}

// operations records a span for each of the operations from lo to hi.
func (t *timed) operations(in *tracing.Span, lo, hi int) {
	for _, x := range t.run.Timings[lo:hi] {
		l := &t.program.Launches[x.Launch]
		kvs := []tracing.KV{{Key: tracing.OpKernel, Value: l.Kernel}, {Key: tracing.OpName, Value: l.Name},
			{Key: tracing.OpPhase, Value: l.Phase.String()}, {Key: tracing.Layer, Value: l.Layer},
			{Key: tracing.OpShapes, Value: Shapes(l)}, {Key: tracing.OpDType, Value: l.Out[0].Type.DType.String()},
			{Key: tracing.OpFLOPs, Value: l.FLOPs}, {Key: tracing.OpBytes, Value: l.Bytes},
			{Key: tracing.Device, Value: t.o.Device}}
		if sec := x.Duration.Seconds(); sec > 0 {
			kvs = append(kvs, tracing.KV{Key: tracing.OpGFLOPs, Value: float64(l.FLOPs) / sec / 1e9},
				tracing.KV{Key: tracing.OpGBs, Value: float64(l.Bytes) / sec / 1e9})
		}
		start := t.run.Start.Add(x.Start)
		t.o.span(in, l.Kernel, start, start.Add(x.Duration), kvs...)
	}
}

// Shapes lists the types of a launch's operands, such as "f32[2,3] f32[3,4] -> f32[2,4]".
func Shapes(l *gpu.Launch) string {
	part := func(ops []gpu.Operand) string {
		s := make([]string, len(ops))
		for i, o := range ops {
			s[i] = o.Type.String()
		}
		return strings.Join(s, " ")
	}
	return part(l.In) + " -> " + part(l.Out)
}
