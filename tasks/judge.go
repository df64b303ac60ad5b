package tasks

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// Answer is what a model made of a request.
type Answer struct {
	LogLikelihood float64  // of the continuation, in nats
	Greedy        bool     // whether each of its tokens is the likeliest
	Texts         []string // what it wrote, each time that it was asked
}

// Value is what a metric has of one document.
type Value struct{ X, Weight float64 }

// Judgement is what came of one document.
type Judgement struct {
	Prediction int               // of a multiple choice, the likeliest one; -1 elsewhere
	Texts      map[string]string // of what was written, by filter
	Values     map[string]Value  // by metric and filter, "acc,none"
	Unfound    error             // why what was written counts as if a pattern did not match, though it may
}

// Judge measures the answers about a document.
func (r *Requests) Judge(x *Item, answers []Answer) (j Judgement, err error) {
	t := r.Task
	j = Judgement{Prediction: -1, Values: map[string]Value{}}
	switch t.Output {
	case MultipleChoice:
		j.Prediction = t.choose(&j, x, answers)
	case Likelihood:
		j.put(t, "perplexity", Value{X: answers[0].LogLikelihood})
		j.put(t, "acc", Value{X: float64(count(answers[0].Greedy))})
	case Rolling:
		text := x.Asked.Target.(string)
		if t.Count.given() {
			if text, err = t.Count.text(x.Document); err != nil {
				return j, x.Document.at("doc_to_count", err)
			}
		}
		ll := answers[0].LogLikelihood
		j.put(t, "word_perplexity", Value{ll, float64(words(text))})
		j.put(t, "byte_perplexity", Value{ll, float64(len(text))})
		j.put(t, "bits_per_byte", Value{ll, float64(len(text))})
	case Generate:
		return j, t.compare(&j, x, answers[0].Texts)
	}
	return j, nil
}

// put notes a value of a metric that the task has, under each filter.
func (j *Judgement) put(t *Task, metric string, v Value) {
	if !t.has(metric) {
		return
	}
	for i := range t.Filters {
		j.Values[metric+","+t.Filters[i].Name] = v
	}
}

// words counts as re.split(r"\s+", text) does, which takes white space at an end for the border of an empty word.
func words(text string) int {
	n, space := 1, false
	for _, r := range text {
		s := isSpace(r)
		n += count(s && !space)
		space = s
	}
	return n
}

// choose measures a multiple choice, and gives the likeliest one.
func (t *Task) choose(j *Judgement, x *Item, answers []Answer) int {
	n := len(x.Asked.Choices)
	plain, norm, bytes, info := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	for i, c := range x.Asked.Choices {
		ll := answers[i].LogLikelihood
		plain[i], norm[i], bytes[i] = ll, ll/float64(utf8.RuneCountInString(c)), ll/float64(len(c))
		if len(answers) == 2*n {
			info[i] = ll - answers[n+i].LogLikelihood
		}
	}
	for metric, list := range map[string][]float64{"acc": plain, "acc_norm": norm, "acc_bytes": bytes, "acc_mutual_info": info} {
		j.put(t, metric, Value{X: float64(count(slices.Contains(x.Gold, argmax(list))))})
	}
	j.put(t, "exact_match", Value{X: float64(count(slices.ContainsFunc(x.Gold, func(g int) bool { return answers[g].Greedy })))})
	gold := -1
	if len(x.Gold) > 0 {
		gold = x.Gold[0]
	}
	j.put(t, "brier_score", Value{X: brier(plain, gold)})
	return argmax(plain)
}

// argmax is numpy's: the first of the largest, and not a number is the largest of all.
func argmax(list []float64) (best int) {
	for i, x := range list {
		if math.IsNaN(x) {
			return i
		}
		if x > list[best] {
			best = i
		}
	}
	return best
}

// brier is the squared distance of the probabilities from the truth.
func brier(ll []float64, gold int) (sum float64) {
	most := slices.Max(ll)
	p, all := make([]float64, len(ll)), 0.0
	for i, x := range ll {
		p[i] = math.Exp(x - most)
		all += p[i]
	}
	for i := range p {
		d := p[i]/all - float64(count(i == gold))
		sum += d * d
	}
	return sum
}

// compare measures what a model wrote.
func (t *Task) compare(j *Judgement, x *Item, written []string) error {
	gold, err := t.wanted(x)
	if err != nil {
		return x.Document.at("doc_to_target", err)
	}
	j.Texts = map[string]string{}
	for i := range t.Filters {
		f := &t.Filters[i]
		answer, unfound, err := f.apply(written)
		if err != nil {
			return x.Document.at("filter_list", err)
		}
		if unfound != nil && j.Unfound == nil {
			j.Unfound = x.Document.at("filter_list", unfound)
		}
		j.Texts[f.Name] = answer
		for k := range t.Metrics {
			m, score := &t.Metrics[k], 0
			for _, g := range gold {
				same, err := m.match.same(answer, g)
				if err != nil {
					return x.Document.at("metric_list", err)
				}
				score = max(score, count(same))
			}
			j.Values[m.Name+","+f.Name] = Value{X: float64(score)}
		}
	}
	return nil
}

// wanted are the right answers to a question that is answered in writing.
func (t *Task) wanted(x *Item) (list []string, err error) {
	gold := x.Asked.Target
	if x.Asked.Choices != nil {
		n, ok := integer(gold)
		if !ok || n < 0 || n >= len(x.Asked.Choices) {
			return nil, fmt.Errorf("it is %s, and there are %d choices, numbered from 0", asText(gold), len(x.Asked.Choices))
		}
		return x.Asked.Choices[n : n+1], nil
	}
	if l := listOf(gold); l != nil {
		for _, g := range l {
			list = append(list, asText(g))
		}
		return list, nil
	}
	return []string{asText(gold)}, nil
}
