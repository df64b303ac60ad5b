package scaling

import (
	"math"
	"math/bits"

	"stepflow/gpu"
)

// Traffic is what a collective moves.
type Traffic struct {
	Sent     int64 // bytes by all ranks together
	Messages int   // one after the other on the rank that has most
	Most     int64 // bytes that this rank sends or receives, whichever are more
}

// Of returns the traffic of a launch; zero for one that is no collective. It follows gpu/cpu's collectives: sums are made of shares
// that ranks exchange with one another. Of a broadcast, which the engine carries out, it assumes that pieces are passed on from rank
// to rank.
func Of(l *gpu.Launch) (t Traffic) {
	k := gpu.Lookup(l.Kernel)
	if k == nil || !k.Collective || l.Attrs.Ranks < 2 {
		return t
	}
	w, size, n := l.Attrs.Ranks, l.In[0].Type.DType.Size(), l.In[0].Type.Shape.Elems()
	others := int64(w - 1)
	bytes := int64(n) * size
	switch l.Kernel {
	case "all_reduce": // each rank gives each other its share, and gets that rank's sums
		t.Sent = 2 * others * bytes
		for at := 0; at < n; at += gpu.CollectivePiece {
			piece := min(gpu.CollectivePiece, n-at)
			_, share := gpu.Share(piece, 0, w)
			t.Messages += 2 * (w - 1)
			t.Most += (int64(piece) - int64(share) + others*int64(share)) * size
		}
	case "reduce": // the root receives all
		_, step := gpu.Share(min(n, gpu.CollectivePiece), 0, w)
		t.Sent = others * bytes
		t.Messages = (n + step - 1) / step * (w - 1)
		t.Most = others * bytes
	case "bcast":
		t.Sent = others * bytes
		t.Messages = bits.Len(uint(w - 1))
		t.Most = bytes
	}
	return t
}

// Seconds is how long the traffic takes on a link.
func (t Traffic) Seconds(l Link) float64 {
	return float64(t.Messages)*l.Latency + float64(t.Most)/l.Bandwidth
}

// Part is a segment that a step runs, and how often.
type Part struct {
	Segment string
	Times   int
}

// Step is what a step of one rank is predicted to take.
type Step struct {
	Sent    int64   `json:"sent_bytes"`        // by a rank, in the mean of all
	Seconds float64 `json:"seconds,omitempty"` // 0 where the speed is not known
	Compute float64 `json:"compute_seconds,omitempty"`
	Link    float64 `json:"link_seconds,omitempty"` // that collectives take
	Exposed float64 `json:"exposed_seconds,omitempty"`
}

// Predict runs the launches of a step in thought: computing on one lane, collectives in their order on another. A launch waits for
// the collectives that it depends on, a collective for what it depends on, and the end of a segment for all.
func Predict(p *gpu.Program, parts []Part, v Speed, l Link) (s Step) {
	for _, part := range parts {
		seg, ok := p.Segment(part.Segment)
		if !ok {
			continue
		}
		compute, sent := 0.0, int64(0)
		ends := make([]float64, seg.Hi-seg.Lo) // of launches
		now, link, moving := 0.0, 0.0, 0.0
		for i := seg.Lo; i < seg.Hi; i++ {
			x := &p.Launches[i]
			ready := 0.0
			for _, d := range x.Deps {
				ready = max(ready, ends[d])
			}
			if t := Of(x); t.Messages > 0 {
				sent += t.Sent / int64(x.Attrs.Ranks)
				took := 0.0
				if l.Bandwidth > 0 {
					took = t.Seconds(l)
				}
				link = max(link, ready, now) + took
				moving += took
				ends[i-seg.Lo] = link
				continue
			}
			took := v.seconds(x)
			now = max(now, ready) + took
			compute += took
			ends[i-seg.Lo] = now
		}
		times := float64(part.Times)
		s.Sent += sent * int64(part.Times)
		s.Compute += times * compute
		s.Link += times * moving
		s.Seconds += times * max(now, link)
	}
	s.Exposed = math.Max(0, s.Seconds-s.Compute)
	if v.FLOPs == 0 {
		s.Seconds, s.Compute, s.Exposed = 0, 0, 0
	}
	return s
}

// seconds is how long a launch takes.
func (v Speed) seconds(l *gpu.Launch) (s float64) {
	if v.FLOPs > 0 {
		s = float64(l.FLOPs) / v.FLOPs
	}
	if v.Bandwidth > 0 {
		s = max(s, float64(l.Bytes)/v.Bandwidth)
	}
	return s
}
