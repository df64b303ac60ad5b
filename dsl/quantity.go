package dsl

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

var units = map[string]float64{"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}

// ParseBytes reads a number of bytes such as "16 GiB" (powers of 1024) or "5GB" (powers of 1000).
func ParseBytes(s string) (int64, error) {
	t := strings.TrimSpace(s)
	i := strings.IndexFunc(t, func(r rune) bool { return !(r >= '0' && r <= '9' || r == '.') })
	if i < 0 {
		i = len(t)
	}
	n, err := strconv.ParseFloat(t[:i], 64)
	unit, ok := units[strings.ToLower(strings.TrimSpace(t[i:]))]
	if err != nil || !ok || n*unit > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is not a number of bytes; write it like \"16 GiB\" or \"500 MB\"", s)
	}
	return int64(n * unit), nil
}

// ParseMemory reads an amount of memory as ParseBytes does. A small number without a unit is an error: "24" is rarely 24 bytes.
func ParseMemory(s string) (int64, error) {
	n, err := ParseBytes(s)
	if _, bare := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil && bare == nil && 0 < n && n < 1<<20 {
		return 0, fmt.Errorf("%q has no unit. Did you mean \"%sGiB\"?", s, strings.TrimSpace(s))
	}
	return n, err
}

// FormatBytes writes a number of bytes with three digits and a binary unit.
func FormatBytes(n int64) string {
	const names = "KMGT"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1000 && i < len(names)-1 {
		f /= 1024
		i++
	}
	return fmt.Sprintf("%.3g %ciB", f, names[i])
}
