package dsl

import (
	"fmt"
	"strings"
)

// Suggest returns " Did you mean …?" with the nearest of the names within two edits; "" if there is none. Two edits make another
// word of a short name, unless it begins with the same letter.
func Suggest(given string, names []string) string {
	const longest = 64 // the work grows with its square
	const short = 4    // letters
	best, least := "", 3
	for _, n := range names {
		if len(given) > longest || len(n) > longest {
			continue
		}
		d := distance(given, n)
		if d >= least || d >= len(given) || d == 2 && len(given) <= short && !strings.HasPrefix(n, given[:1]) {
			continue
		}
		best, least = n, d
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" Did you mean %q?", best)
}

// distance is the number of letters that are put in, left out, replaced or swapped with the next one, each letter once.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j-1]+cost, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
