package tasks

import (
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Result is what came of a task or a group.
type Result struct {
	Name      string
	Documents int
	Metrics   map[string]float64 // by metric, with the filter where that is not "none": "acc", "exact_match,strict-match"
	Stderr    map[string]float64 // of those that have one
	Chance    float64            // the accuracy of guessing; NaN where nothing is chosen
}

// Score makes the metrics of a task of what came of its documents.
func (r *Requests) Score(list []Judgement) *Result {
	t := r.Task
	s := &Result{Name: t.Name, Documents: len(list), Metrics: map[string]float64{}, Stderr: map[string]float64{},
		Chance: math.NaN()}
	if t.Output == MultipleChoice {
		s.Chance = sum(len(r.Items), func(i int) float64 {
			return float64(len(r.Items[i].Gold)) / float64(len(r.Items[i].Asked.Choices))
		}) / float64(len(r.Items))
	}
	for i := range t.Filters {
		for k := range t.Metrics {
			m := &t.Metrics[k]
			key := m.Name + "," + t.Filters[i].Name
			values := make([]Value, len(list))
			for n, j := range list {
				values[n] = j.Values[key]
			}
			key = strings.TrimSuffix(key, ",none")
			s.Metrics[key] = aggregations[m.Aggregation](values)
			if f := standardErrors[m.Aggregation]; f != nil && len(values) > 1 {
				s.Stderr[key] = f(values)
			}
		}
	}
	return s
}

// aggregations make one number of those of the documents.
var aggregations = map[string]func([]Value) float64{
	"mean":                mean,
	"brier_score":         mean,
	"median":              median,
	"perplexity":          func(list []Value) float64 { return math.Exp(-mean(list)) },
	"weighted_perplexity": func(list []Value) float64 { return math.Exp(-weighted(list)) },
	"bits_per_byte":       func(list []Value) float64 { return -weighted(list) / math.Ln2 },
}

// Bootstraps is how many times the harness draws the documents anew to find a standard error, in chunks that have a seed
// each.
const (
	Bootstraps     = 100_000
	bootstrapChunk = 1000
)

// standardErrors are those of the aggregations that have one in the harness.
var standardErrors = map[string]func([]Value) float64{
	"mean":       func(list []Value) float64 { return deviation(list) / math.Sqrt(float64(len(list))) },
	"perplexity": func(list []Value) float64 { return bootstrap(list, aggregations["perplexity"], Bootstraps) },
	"median":     func(list []Value) float64 { return bootstrap(list, median, Bootstraps) },
}

// sum adds numbers as Python does from 3.12 on, with what each addition loses (Neumaier 1974).
func sum(n int, x func(i int) float64) float64 {
	s, lost := 0.0, 0.0
	for i := range n {
		v := x(i)
		t := s + v
		if math.Abs(s) >= math.Abs(v) {
			lost += (s - t) + v
		} else {
			lost += (v - t) + s
		}
		s = t
	}
	if math.IsNaN(lost) || math.IsInf(lost, 0) {
		return s
	}
	return s + lost
}

func mean(list []Value) float64 {
	return sum(len(list), func(i int) float64 { return list[i].X }) / float64(len(list))
}

func weighted(list []Value) float64 {
	return sum(len(list), func(i int) float64 { return list[i].X }) / sum(len(list), func(i int) float64 { return list[i].Weight })
}

func median(list []Value) float64 {
	x := make([]float64, len(list))
	for i, v := range list {
		x[i] = v.X
	}
	slices.Sort(x)
	return x[len(x)/2]
}

// deviation is the standard deviation of a sample.
func deviation(list []Value) float64 {
	m := mean(list)
	return math.Sqrt(sum(len(list), func(i int) float64 { d := list[i].X - m; return d * d }) / float64(len(list)-1))
}

// bootstrap is the deviation of an aggregation over documents that are drawn anew, with the harness's seeds: the number
// of a chunk. Chunks run side by side, and their values stand in order.
func bootstrap(list []Value, f func([]Value) float64, times int) float64 {
	chunk := min(bootstrapChunk, times)
	all := make([]Value, times/chunk*chunk)
	next := make(chan int)
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			drawn := make([]Value, len(list))
			for c := range next {
				r := NewRandom(uint64(c))
				for k := range chunk {
					for i := range drawn {
						drawn[i] = list[int(r.Float()*float64(len(list)))]
					}
					all[c*chunk+k].X = f(drawn)
				}
			}
		})
	}
	for c := range times / chunk {
		next <- c
	}
	close(next)
	wait.Wait()
	return deviation(all)
}
