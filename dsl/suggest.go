package dsl

import "fmt"

// Suggest returns " Did you mean …?" with the nearest of the names within two edits; "" if there is none.
func Suggest(given string, names []string) string {
	const longest = 64 // the work grows with its square
	best, least := "", 3
	for _, n := range names {
		if len(given) > longest || len(n) > longest {
			continue
		}
		if d := distance(given, n); d < least && d < len(given) {
			best, least = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" Did you mean %q?", best)
}

// distance returns the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diag
			if a[i-1] != b[j-1] {
				cost = 1 + min(diag, row[j], row[j-1])
			}
			diag, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}
