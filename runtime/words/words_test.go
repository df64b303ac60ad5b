package words

import (
	"math"
	"testing"
)

func TestDuration(t *testing.T) {
	for seconds, want := range map[float64]string{0: "0s", 0.004: "0s", 0.0512: "50ms", 1.234: "1.23s", 75.4: "1m15s", 3599.9: "1h0m0s",
		47 * 3600: "47h0m0s", 60 * 3600: "2.5 days", 68_062_397: "788 days", 1e9: "11574 days", 1e10: "317 years",
		1e12: "31688 years", 1e18: "1000000000 years", math.Inf(1): "1000000000 years"} {
		if got := Duration(seconds); got != want {
			t.Errorf("%v seconds are written %s, want %s", seconds, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 0.25: "0.25", 999: "999", 999.4: "999.4", 1000: "1k", 1280000: "1.28M",
		999_000_000: "999M", 999_948_288: "1G", 1e9: "1G", 2.5e18: "2.5E", 1.5e21: "1.5Z", 3e24: "3Y"} {
		if got := Count(n); got != want {
			t.Errorf("%v is written %s, want %s", n, got, want)
		}
	}
}

func TestFew(t *testing.T) {
	for want, names := range map[string][]string{"": nil, "a": {"a"}, "a, b, c, d, e": {"a", "b", "c", "d", "e"},
		"a, b, c, d, e and 2 more": {"a", "b", "c", "d", "e", "f", "g"}} {
		if got := Few(names); got != want {
			t.Errorf("%q are written %s, want %s", names, got, want)
		}
	}
}
