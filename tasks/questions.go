package tasks

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
)

// Questions are the requests of several tasks, in the tokens of a model.
type Questions struct {
	Tasks   []*Requests
	Pairs   []Pair   // to be scored, of all tasks
	Prompts []Prompt // to be continued

	tok   *tokenizer.Tokenizer
	spans [][]span // of each task's requests, among Pairs or Prompts
}

// Prompt is a text that the model continues.
type Prompt struct {
	IDs     []int32
	Writing *Writing
	Until   []string // what ends it, the tokenizer's end of text included
	Draw    int      // which of several that are drawn with one seed
}

// span are the pairs or prompts of a request.
type span struct{ from, n int }

// Encode makes tokens of requests. It notes whose context was cut.
func (e *Encoder) Encode(list []*Requests) (*Questions, error) {
	q := &Questions{Tasks: list, tok: e.tok}
	for _, r := range list {
		r.Notes.Cut = 0
		var spans []span
		for _, x := range r.List {
			s, err := e.add(q, r, x)
			if err != nil {
				return nil, r.Items[x.Document].Document.at(r.Task.Name, err)
			}
			spans = append(spans, s)
		}
		q.spans = append(q.spans, spans)
	}
	return q, nil
}

// Unencoded stands for questions of a model whose tokenizer is not known yet: with a token for each byte, and no more than
// the model takes, it has at least as much to read.
func Unencoded(list []*Requests, positions int) *Questions {
	q := &Questions{Tasks: list}
	for _, r := range list {
		for _, x := range r.List {
			n := min(max(len(x.Continuation), 1), positions)
			if r.Task.Output == Generate {
				most := min(r.Task.Writing.MaxTokens, positions-1)
				q.Prompts = append(q.Prompts, Prompt{IDs: make([]int32, min(len(x.Context)+1, positions-most)), Writing: &r.Task.Writing})
				continue
			}
			q.Pairs = append(q.Pairs, Pair{make([]int32, max(1, min(len(x.Context)+1, positions+1-n))), make([]int32, n)})
		}
	}
	return q
}

// add encodes a request.
func (e *Encoder) add(q *Questions, r *Requests, x Request) (span, error) {
	if r.Task.Output == Generate {
		g := &r.Task.Writing
		ids, cut, err := e.Prompt(x.Context, g.MaxTokens)
		if err != nil {
			return span{}, err
		}
		r.Notes.Cut += count(cut)
		until := slices.Clone(g.Until)
		if end := e.tok.Token(e.tok.EOS); e.tok.EOS >= 0 && !slices.Contains(until, end) {
			until = append(until, end)
		}
		s := span{len(q.Prompts), r.Task.Repeats}
		for k := range r.Task.Repeats {
			q.Prompts = append(q.Prompts, Prompt{ids, g, until, x.Document*r.Task.Repeats + k})
		}
		return s, nil
	}
	s := span{from: len(q.Pairs)}
	if r.Task.Output == Rolling {
		windows, err := e.Rolling(x.Continuation)
		q.Pairs, s.n = append(q.Pairs, windows...), len(windows)
		return s, err
	}
	p, cut, err := e.Pair(x.Context, x.Continuation)
	r.Notes.Cut += count(cut)
	q.Pairs, s.n = append(q.Pairs, p), 1
	return s, err
}

// Ends reports whether a text that the model writes has come to its end: it holds one of what ends it.
func (q *Questions) Ends(prompt int, ids []int32) bool {
	const tail = 64 // tokens that may hold what ends it; longer ones are found after all tokens
	text := q.tok.Decode(ids[max(0, len(ids)-tail):], false)
	return slices.ContainsFunc(q.Prompts[prompt].Until, func(s string) bool { return s != "" && strings.Contains(text, s) })
}

// Text is what the model wrote, up to what ends it.
func (q *Questions) Text(prompt int, ids []int32) string {
	text := q.tok.Decode(ids, true)
	for _, s := range q.Prompts[prompt].Until {
		if s != "" {
			text, _, _ = strings.Cut(text, s)
		}
	}
	return text
}

// Answers are what a model made of the requests of a task, by its pairs and by what it wrote.
func (q *Questions) answers(task int, scores []Answer, written []string) []Answer {
	list := make([]Answer, len(q.spans[task]))
	for i, s := range q.spans[task] {
		if q.Tasks[task].Task.Output == Generate {
			list[i].Texts = written[s.from : s.from+s.n]
			continue
		}
		list[i].Greedy = true
		for _, a := range scores[s.from : s.from+s.n] {
			list[i].LogLikelihood += a.LogLikelihood
			list[i].Greedy = list[i].Greedy && a.Greedy
		}
	}
	return list
}

// Results are what came of tasks, and of the groups among names. scores are those of Pairs, and written is what the
// model made of Prompts. A line of JSON about each document is written to samples, unless that is nil.
func (q *Questions) Results(c *Collection, names []string, scores []Answer, written []string,
	samples io.Writer) (results map[string]*Result, notes []string, err error) {
	judged, err := q.Judge(scores, written, samples)
	if err != nil {
		return nil, nil, err
	}
	return q.Score(c, names, judged, func(*Item) bool { return true })
}

// Judged is what came of the documents of each task.
type Judged [][]Judgement

// Judge measures the answers about each document. A line of JSON about it is written to samples, unless that is nil.
func (q *Questions) Judge(scores []Answer, written []string, samples io.Writer) (all Judged, err error) {
	for i, r := range q.Tasks {
		answers := q.answers(i, scores, written)
		var list []Judgement
		for _, x := range r.Items {
			mine := answers[x.First : x.First+x.N]
			j, err := r.Judge(x, mine)
			if err == nil && samples != nil {
				err = r.sample(samples, x, mine, &j)
			}
			if err != nil {
				return nil, err
			}
			list = append(list, j)
		}
		all = append(all, list)
	}
	return all, nil
}

// Score makes the results of tasks, and of the groups among names, over the documents that count. A task without such
// documents has no result.
func (q *Questions) Score(c *Collection, names []string, judged Judged, counts func(*Item) bool) (results map[string]*Result,
	notes []string, err error) {
	results = map[string]*Result{}
	for i, r := range q.Tasks {
		some, list := &Requests{Task: r.Task}, []Judgement(nil)
		var unfound []error
		for k, x := range r.Items {
			if counts(x) {
				some.Items, list = append(some.Items, x), append(list, judged[i][k])
				if err := judged[i][k].Unfound; err != nil {
					unfound = append(unfound, err)
				}
			}
		}
		if len(unfound) > 0 {
			notes = append(notes, fmt.Sprintf("%s: what was written for %d of %d documents counts as if the pattern of a filter "+
				"did not match. The first: %v", r.Task.Name, len(unfound), len(list), unfound[0]))
		}
		if len(list) > 0 {
			results[r.Task.Name] = some.Score(list)
		}
	}
	for _, name := range names {
		more, err := c.pooled(name, results)
		if err != nil {
			return nil, nil, err
		}
		notes = append(notes, more...)
	}
	return results, notes, nil
}

// pooled adds the results of a group and of those in it.
func (c *Collection) pooled(name string, results map[string]*Result) (notes []string, err error) {
	g := c.Groups[name]
	if g == nil || results[name] != nil {
		return nil, nil
	}
	for _, m := range g.Members {
		more, err := c.pooled(m, results)
		if err != nil {
			return nil, err
		}
		notes = append(notes, more...)
	}
	s, more, err := c.Pool(g, results)
	if s != nil {
		results[name] = s
	}
	return append(notes, more...), err
}

// Sample is what came of a document, as a line of the samples. Two runs measured the same documents where Task, Document
// and Hash are the same, and asked the same about them where Prompt is.
type Sample struct {
	Task     string `json:"task"`
	Document int    `json:"document"` // its number among those of its split, from 0
	Hash     string `json:"hash"`     // of its fields
	Where    string `json:"where"`

	Gold           []int               `json:"gold,omitempty"`
	Prediction     *int                `json:"prediction,omitempty"`
	LogLikelihoods []*float64          `json:"log_likelihoods,omitempty"` // null where one is not finite
	Greedy         []bool              `json:"greedy,omitempty"`
	Written        []string            `json:"written,omitempty"`
	Answers        map[string]string   `json:"answers,omitempty"` // by filter
	Prompt         string              `json:"prompt"`            // a hash of all requests about it
	Contamination  *float64            `json:"contaminated_ngrams,omitempty"`
	Metrics        map[string]*float64 `json:"metrics"`
}

// sample writes the line of a document.
func (r *Requests) sample(w io.Writer, x *Item, answers []Answer, j *Judgement) error {
	s := Sample{Task: r.Task.Name, Document: x.Document.Number, Hash: x.Document.hash(), Where: x.Document.Where, Gold: x.Gold,
		Answers: j.Texts, Prompt: r.prompt(x), Contamination: x.Contamination, Metrics: map[string]*float64{}}
	if j.Prediction >= 0 {
		s.Prediction = &j.Prediction
	}
	for _, a := range answers {
		if a.Texts != nil {
			s.Written = append(s.Written, a.Texts...)
			continue
		}
		s.LogLikelihoods, s.Greedy = append(s.LogLikelihoods, finite(a.LogLikelihood)), append(s.Greedy, a.Greedy)
	}
	for key, v := range j.Values {
		s.Metrics[strings.TrimSuffix(key, ",none")] = finite(v.X)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// prompt is a hash of the requests about a document.
func (r *Requests) prompt(x *Item) string {
	h := sha256.New()
	for _, q := range r.List[x.First : x.First+x.N] {
		fmt.Fprintf(h, "%q %q ", q.Context, q.Continuation)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// finite is a number that JSON can hold, or null.
func finite(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

// hash is that of a document's fields.
func (d *Document) hash() string {
	h := sha256.New()
	write(h, d.Fields)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// write writes a value so that no two write the same.
func write(w io.Writer, v any) {
	switch v := v.(type) {
	case fineweb.List:
		fmt.Fprintf(w, "[%d ", len(v))
		for _, x := range v {
			write(w, x)
		}
	case fineweb.Object:
		fmt.Fprintf(w, "{%d ", len(v))
		for _, f := range v {
			fmt.Fprintf(w, "%q ", f.Name)
			write(w, f.Value)
		}
	default:
		fmt.Fprintf(w, "%#v ", v)
	}
}
