package growth

import (
	"context"
	"math"
	"slices"
)

// assign returns for each row of cost [n, n] a column of its own, with the least sum of costs: the exact optimal transport
// between n equal masses. It grows an assignment by shortest augmenting paths (Jonker and Volgenant 1987, in the form of Crouse
// 2016), in n³ steps at most. It ends with ctx.
func assign(ctx context.Context, cost []float32, n int) ([]int, error) {
	u, v := make([]float64, n), make([]float64, n)  // the dual: cost[i][j] - u[i] - v[j] is never below 0
	column := slices.Repeat([]int{-1}, n)           // of a row
	row := slices.Clone(column)                     // of a column
	far, from := make([]float64, n), make([]int, n) // of a column: its distance, the row before it
	rest, rows := make([]int, n), make([]int, 0, n) // columns that are not reached, rows that are
	reached := make([]int, 0, n)                    // columns that are
	reduce(cost, n, v)
	for first := range n {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		rest = rest[:n]
		for j := range rest {
			rest[j], far[j] = j, math.Inf(1)
		}
		rows, reached = rows[:0], reached[:0]
		i, least, sink := first, 0.0, -1
		for sink < 0 {
			rows = append(rows, i)
			best, at := math.Inf(1), 0
			c, ui := cost[i*n:][:n], u[i]
			for k, j := range rest {
				if d := least + float64(c[j]) - ui - v[j]; d < far[j] {
					far[j], from[j] = d, i
				}
				if far[j] < best || far[j] == best && row[j] < 0 && row[rest[at]] >= 0 {
					best, at = far[j], k
				}
			}
			j := rest[at]
			least = best
			rest[at] = rest[len(rest)-1]
			rest = rest[:len(rest)-1]
			reached = append(reached, j)
			if row[j] < 0 {
				sink = j
			} else {
				i = row[j]
			}
		}
		u[first] += least
		for _, i := range rows[1:] {
			u[i] += least - far[column[i]]
		}
		for _, j := range reached {
			v[j] -= least - far[j]
		}
		for j := sink; ; {
			i := from[j]
			row[j] = i
			if j, column[i] = column[i], j; i == first {
				break
			}
		}
	}
	return column, nil
}

// reduce begins the dual of the columns with their least costs, so that the first paths are short.
func reduce(cost []float32, n int, v []float64) {
	for j := range v {
		v[j] = float64(cost[j])
	}
	for i := 1; i < n; i++ {
		for j, c := range cost[i*n:][:n] {
			v[j] = min(v[j], float64(c))
		}
	}
}
