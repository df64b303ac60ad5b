package forward

import (
	"math/rand/v2"
	"testing"
	"time"
	"stepflow/ops/arch"
	"stepflow/runtime/program"
)

func TestPad(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	ids := func(n int) []int32 { v := make([]int32, n); for i := range v { v[i] = int32(rng.IntN(2000)) }; return v }
	for _, n := range []int{64, 2000} {
		var rs []Request
		real := 0
		for range n {
			c := ids(30 + rng.IntN(90))
			real += len(c)
			for range 4 { rs = append(rs, Request{c, ids(10 + rng.IntN(40))}); real += len(rs[len(rs)-1].Continuation) }
		}
		for _, T := range []int{256, 512, 1024, 2048} {
			x := program.Inference{Model: arch.Model{Config: arch.Config{MaxPositionEmbeddings: 512}}}
			x.Context, x.Continuation = LongestRequest(rs)
			x.Tokens = T
			x.Slots = max(1, min(T/8, 16*T/x.Context))
			s := schedule(&x, rs)
			t.Log(n, T, "slots", x.Slots, "runs", len(s), "padded/real", float64(tokens(&x, s))/float64(real))
		}
	}
	// few-shot
	var rs []Request
	begin := ids(700)
	real := 0
	for range 300 {
		c := append(append([]int32{}, begin...), ids(40+rng.IntN(60))...)
		real += len(c)+4
		for range 4 { rs = append(rs, Request{c, ids(1)}) }
	}
	for _, T := range []int{512, 1024} {
		x := program.Inference{Model: arch.Model{Config: arch.Config{MaxPositionEmbeddings: 2048}}}
		x.Context, x.Continuation = LongestRequest(rs)
		x.Tokens = T
		x.Slots = max(1, min(T/8, 16*T/x.Context))
		b := time.Now()
		s := schedule(&x, rs)
		t.Log("fewshot", T, "slots", x.Slots, "runs", len(s), "padded/real", float64(tokens(&x, s))/float64(real), time.Since(b))
	}
}
