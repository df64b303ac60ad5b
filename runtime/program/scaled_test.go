package program

import (
	"testing"

	"stepflow/gpu/cpu"
	"stepflow/runtime/scaling"
)

// TestScaleIsThePrograms compares what is said of ranks with the programs of all of them.
func TestScaleIsThePrograms(t *testing.T) {
	s := stageOf(4)
	s.Batch, s.Micro = 12, 3
	caps := cpu.PlanCaps("")
	p := NewPrograms(caps)
	for _, ranks := range []int{1, 2, 4} {
		for _, shard := range Shards {
			x, err := p.Scale(s, ranks, shard, "none", scaling.Speed{FLOPs: 1e9}, scaling.Link{Latency: 1e-6, Bandwidth: 1e9})
			must(t, err)
			var most, sum int64
			for r := range ranks {
				y := *s
				y.Ranks, y.Rank, y.Shard, y.FromZero = ranks, r, shard, shard != ShardNone
				must(t, NewPrograms(caps).Compile(&y, "none"))
				most = max(most, y.Program.ArenaBytes)
			}
			for _, n := range x.ByKind {
				sum += n
			}
			if x.Bytes != most || sum != most {
				t.Errorf("%d ranks, %s: %d bytes by kind, %d in all, the programs take %d", ranks, shard, sum, x.Bytes, most)
			}
			if (x.Sent > 0) != (ranks > 1) || x.Seconds < x.Compute || x.Compute <= 0 {
				t.Errorf("%d ranks, %s: %+v", ranks, shard, x.Step)
			}
		}
	}
	if _, err := p.Scale(s, 5, ShardNone, "none", scaling.Speed{}, scaling.Link{}); err == nil {
		t.Error("12 sequences are shared out to 5 ranks")
	}
}
