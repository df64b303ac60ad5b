package words

import "testing"

func TestCount(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 0.25: "0.25", 999: "999", 999.4: "999.4", 1000: "1k", 1280000: "1.28M",
		999_000_000: "999M", 999_948_288: "1G", 1e9: "1G", 2.5e18: "2.5E"} {
		if got := Count(n); got != want {
			t.Errorf("%v is written %s, want %s", n, got, want)
		}
	}
}
