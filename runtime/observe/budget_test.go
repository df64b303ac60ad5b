package observe

import "testing"

func TestSampler(t *testing.T) {
	for _, s := range []sampler{{first: 1, last: 100, every: 50}, {first: 1, last: 1, every: 50}, {first: 50, last: 120, every: 50}, {first: 7, last: 9, every: 50}, {first: 5, last: 4, every: 3}, {first: 3, last: 30, every: 1}} {
		n := 0
		for i := s.first; i <= s.last; i++ {
			if s.reason(i) != "" {
				n++
			}
		}
		if n != s.count() {
			t.Errorf("%+v: %d steps are sampled, %d counted", s, n, s.count())
		}
	}
	s := sampler{first: 1, last: 1000, every: 1000}
	for i := 0; i < 200; i++ {
		if slow := s.slow(1 + float64(i%3)*0.1); slow {
			t.Fatal("an ordinary step is slow")
		}
	}
	if !s.slow(3.4) || s.slow(3) {
		t.Error("slow is more than three times the median, 1.1")
	}
}
