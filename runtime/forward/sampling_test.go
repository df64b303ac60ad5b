package forward

import (
	"math/rand/v2"
	"testing"
)

func TestSampling(t *testing.T) {
	logits := []float32{1, 3, 2, -1}
	count := func(s Sampling) (n [4]int) {
		rng := rand.New(rand.NewPCG(1, 1))
		for i := 0; i < 4000; i++ {
			n[s.Next(logits, nil, rng)]++
		}
		return n
	}
	if n := count(Sampling{TopP: 1}); n[1] != 4000 {
		t.Errorf("greedy: %v", n)
	}
	if n := count(Sampling{Temperature: 1, TopP: 1}); n[1] < 2450 || n[1] > 2750 || n[3] == 0 { // softmax gives 0.64
		t.Errorf("temperature 1: %v", n)
	}
	if n := count(Sampling{Temperature: 1, TopP: 1, TopK: 2}); n[0] != 0 || n[3] != 0 || n[2] == 0 {
		t.Errorf("top_k 2: %v", n)
	}
	if n := count(Sampling{Temperature: 1, TopP: 0.6}); n[1] != 4000 {
		t.Errorf("top_p 0.6 holds the likeliest alone: %v", n)
	}
	if n := count(Sampling{Temperature: 100, TopP: 1}); n[3] < 800 {
		t.Errorf("a high temperature is nearly uniform: %v", n)
	}
}
