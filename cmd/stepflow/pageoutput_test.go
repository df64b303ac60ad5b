package main

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// near is by how much, relative to it, a number with a fraction may differ from what a page shows: processors round
// differently, and training makes more of that.
const near = 0.01

// varying is what is compared in a way of its own, and how: by a pattern that what is printed has instead.
var varying = []struct{ shown, printed string }{
	{`…`, `.*`},
	{`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?`, ``}, // times of day
	{`(?:\d+(?:\.\d+)?(?:ns|µs|ms|s|m|h))+\b`, ``},             // durations
	{`\d+(?:\.\d+)?[kMGTP]?(?: ?[A-Za-z]+)?/s\b`, ``},          // rates
	{`MFU \d+ %`, ``}, // what rates are to the device's
	{`-?\d+\.\d+(?:[eE][-+]?\d+)?`, `(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)`}, // numbers with a fraction
	{` +`, ` +`}, // columns
}

var varyingWords = func() *regexp.Regexp {
	var all []string
	for _, v := range varying {
		all = append(all, "("+v.shown+")")
	}
	return regexp.MustCompile(strings.Join(all, "|"))
}()

// anyNumber matches the numbers that may differ where they were measured.
var anyNumber = regexp.MustCompile(`\d+(?:\.\d+)?(?:[eE][-+]?\d+)?[kMGTP]?\b`)

// matches reports whether a page may show an output so. A line of … alone stands for any lines. Where numbers were
// measured, all that matters is where they stand.
func matches(shown, printed string, measured bool) bool {
	if measured {
		shown, printed = anyNumber.ReplaceAllString(shown, "0"), anyNumber.ReplaceAllString(printed, "0")
	}
	return matchLines(strings.Split(strings.Trim(shown, "\n"), "\n"), strings.Split(strings.Trim(printed, "\n"), "\n"))
}

func matchLines(shown, printed []string) bool {
	for len(shown) > 0 {
		if strings.TrimSpace(shown[0]) == "…" {
			for i := range len(printed) + 1 {
				if matchLines(shown[1:], printed[i:]) {
					return true
				}
			}
			return false
		}
		if len(printed) == 0 || !matchLine(shown[0], printed[0]) {
			return false
		}
		shown, printed = shown[1:], printed[1:]
	}
	return len(printed) == 0
}

func matchLine(shown, printed string) bool {
	var pattern strings.Builder
	var numbers []string
	pattern.WriteString("^")
	at := 0
	for _, m := range varyingWords.FindAllStringSubmatchIndex(shown, -1) {
		pattern.WriteString(regexp.QuoteMeta(shown[at:m[0]]))
		at = m[1]
		for i, v := range varying {
			if m[2*i+2] < 0 {
				continue
			}
			if v.printed == "" {
				v.printed = v.shown
			}
			pattern.WriteString(v.printed)
			if strings.HasPrefix(v.printed, "(-") {
				numbers = append(numbers, shown[m[0]:m[1]])
			}
		}
	}
	pattern.WriteString(regexp.QuoteMeta(strings.TrimRight(shown[at:], " \n")) + " *$")
	m := regexp.MustCompile(pattern.String()).FindStringSubmatch(printed)
	if m == nil {
		return false
	}
	for i, n := range numbers {
		if !isNear(n, m[i+1]) {
			return false
		}
	}
	return true
}

// isNear compares numbers: to within near, or one in the last place that the page shows.
func isNear(shown, printed string) bool {
	a, err := strconv.ParseFloat(shown, 64)
	b, err2 := strconv.ParseFloat(printed, 64)
	mantissa, exponent, _ := strings.Cut(strings.ToLower(shown), "e")
	_, fraction, _ := strings.Cut(mantissa, ".")
	e, _ := strconv.Atoi(exponent)
	place := math.Pow10(e - len(fraction))
	return err == nil && err2 == nil && math.Abs(a-b) <= math.Max(near*math.Abs(a), place*1.01)
}

// TestOutputsMatch holds what pages may leave open, and what they may not.
func TestOutputsMatch(t *testing.T) {
	for _, x := range []struct {
		shown, printed string
		want           bool
	}{
		{"loss 5.02501, tokens 204243", "loss 5.02713, tokens 204243", true},
		{"loss 5.02501, tokens 204243", "loss 5.12501, tokens 204243", false},
		{"loss 5.02501, tokens 204243", "loss 5.02501, tokens 204244", false},
		{"loss 5.0", "loss 5.09", true},
		{"loss 5.0", "loss 5.2", false},
		{"error 2.4e-06", "error 2.39e-06", true},
		{"error 2.4e-06", "error 3.4e-06", false},
		{"peak 39.6 MiB", "peak 40 MiB", false},
		{"peak 39.6 MiB", "peak 39.7 MiB", true},
		{"done in 17s", "done in 1m3.5s", true},
		{"done in 17s", "done in 900ms", true},
		{"done in 17s", "done in time", false},
		{"11.4k tokens/s  MFU 35 % of 229GFLOP/s measured", "900 tokens/s MFU 7 % of 1.2TFLOP/s measured", true},
		{"ran at 2026-11-25 10:07", "ran at 2030-01-02 00:00", true},
		{"a     b", "a b", true},
		{"a", "  a", false},
		{"one … three", "one two three", true},
		{"one … three", "one two four", false},
		{"one …", "one (two) three", true},
		{"one\n…\nfour", "one\ntwo\nthree\nfour", true},
		{"one\n…\nfour", "one\nfour", true},
		{"one\n…\nfour", "one\ntwo\nthree\nfive", false},
		{"one", "one\ntwo", false},
		{"one\n\ntwo", "one\ntwo", false},
		{"f(x) [a] *", "f(x) [a] *", true},
		{"layers 5", "layers 6", false},
	} {
		if got := matches(x.shown, x.printed, false); got != x.want {
			t.Errorf("%q for %q: %v, want %v", x.shown, x.printed, got, x.want)
		}
	}
	if shown, printed := "matmul  590  36.7  60%", "matmul 12 4 7%"; !matches(shown, printed, true) || matches(shown, printed, false) ||
		matches(shown, "matmul 590", true) {
		t.Error("measured numbers are not compared as they should be")
	}
}
