package program

import (
	"fmt"

	"stepflow/runtime/scaling"
)

// Shards lists what ranks may keep a part of, from least to most.
var Shards = []Shard{ShardNone, ShardOptimizer, ShardGradients}

// Scaled is a stage on a number of ranks.
type Scaled struct {
	Ranks  int              `json:"ranks"`
	Shard  Shard            `json:"shard"`
	Micro  int              `json:"micro_batch_size"`
	Bytes  int64            `json:"rank_bytes"` // of the rank that keeps most, as its program takes them
	ByKind map[string]int64 `json:"bytes"`
	scaling.Step
}

// Scale returns what each rank of a stage takes on a number of ranks, which need not be there. It compiles the program of the rank
// that keeps most. The error says why the ranks cannot share the batch.
func (p *Programs) Scale(s *Stage, ranks int, shard Shard, checkpointing string, v scaling.Speed, l scaling.Link) (*Scaled, error) {
	if ranks < 1 || s.Batch%ranks != 0 {
		return nil, fmt.Errorf("%d sequences a step cannot be shared out equally to %d ranks", s.Batch, ranks)
	}
	x := *s
	x.Inference, x.Program = nil, nil
	x.Ranks, x.Rank, x.Shard, x.FromZero = ranks, 0, shard, s.FromZero || shard != ShardNone
	if x.Fused {
		x.Micro = x.share()
	}
	for x.Micro = min(x.Micro, x.share()); x.share()%x.Micro != 0; {
		x.Micro--
	}
	if err := p.Compile(&x, checkpointing); err != nil { // rank 0's, by which owners are known
		return nil, err
	}
	if most := x.heaviest(); most > 0 {
		x.Rank = most
		if err := p.Compile(&x, checkpointing); err != nil {
			return nil, err
		}
	}
	return &Scaled{Ranks: ranks, Shard: shard, Micro: x.Micro, Bytes: x.Program.ArenaBytes, ByKind: BytesByKind(x.Program),
		Step: scaling.Predict(x.Program, x.parts(), v, l)}, nil
}

// parts are the segments of a step, and how often this rank runs each.
func (s *Stage) parts() (list []scaling.Part) {
	refresh := map[string]bool{}
	for _, every := range s.Refreshes() { // seldom enough not to count
		refresh[SegRefresh(every)] = true
	}
	for _, name := range s.Segments() {
		switch {
		case refresh[name]:
		case name == SegMicro:
			list = append(list, scaling.Part{Segment: name, Times: s.OwnSteps()})
		default:
			list = append(list, scaling.Part{Segment: name, Times: 1})
		}
	}
	return list
}
