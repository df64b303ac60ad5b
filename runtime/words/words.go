// Package words writes counts, bytes and times the way people read them.
package words

import (
	"fmt"
	"strings"
	"time"

	"stepflow/dsl"
)

// Count writes a number with three digits and a unit: 1.28M.
func Count[T int | int64 | float64](n T) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e24, "Y"}, {1e21, "Z"}, {1e18, "E"}, {1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if float64(n) >= 0.9995*u.size { // what rounds up to the unit has it
			return fmt.Sprintf("%.3g%s", float64(n)/u.size, u.name)
		}
	}
	return fmt.Sprintf("%.4g", float64(n))
}

// Plural writes a number of things.
func Plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Few lists the first of some names, and how many more there are.
func Few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// From so many seconds on a time is written in years. A time.Duration holds no more than 292 of them.
const (
	year  = 365.25 * 24 * 60 * 60
	Years = 100 * year
)

// Duration writes a time in seconds; one of more than two days in days, and a very long one in years.
func Duration(seconds float64) string {
	switch days := seconds / (24 * 60 * 60); {
	case seconds >= Years:
		return fmt.Sprintf("%.0f years", min(seconds/year, 1e9))
	case days >= 10:
		return fmt.Sprintf("%.0f days", days)
	case days > 2:
		return fmt.Sprintf("%.1f days", days)
	}
	d := time.Duration(seconds * float64(time.Second))
	if d < 10*time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// Kinds lists the kinds of memory that have bytes, in the given order.
func Kinds(order []string, bytes map[string]int64) string {
	var parts []string
	for _, k := range order {
		if bytes[k] > 0 {
			parts = append(parts, k+" "+dsl.FormatBytes(bytes[k]))
		}
	}
	return strings.Join(parts, ", ")
}
