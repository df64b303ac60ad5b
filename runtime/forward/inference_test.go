package forward_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/ref"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/optim"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// model is a model with random weights in a folder. Its sizes are no multiples of what a processor computes at once.
type model struct {
	arch.Model
	params []ops.Param
	folder string
	tokens int // of a run; 0 for what suits the device
}

func newModel(t testing.TB, m arch.Model) model {
	t.Helper()
	m.Fill()
	params := m.Declare(make([]string, m.NumHiddenLayers))
	rng := rand.New(rand.NewPCG(1, 2))
	var tensors []checkpoint.Tensor
	for i := range params {
		p := &params[i]
		p.ID = p.Name
		v := make([]float32, p.Elems())
		for j := range v {
			if v[j] = float32(rng.NormFloat64()) * 0.3; len(p.Shape) == 1 {
				v[j]++
			}
		}
		tensors = append(tensors, checkpoint.Tensor{Name: p.Name, DType: gpu.F32, Shape: p.Shape,
			Data: func() ([]byte, error) { return gpu.Float32Bytes(v, gpu.F32), nil }})
	}
	dir := filepath.Join(t.TempDir(), "model")
	_, err := checkpoint.Write(dir, []checkpoint.Part{checkpoint.Tensors("model.safetensors", tensors)})
	must(t, err)
	return model{m, params, dir, 0}
}

func small(t testing.TB, a *arch.Architecture) model {
	m := newModel(t, arch.Model{Arch: a, Config: arch.Config{VocabSize: 37, HiddenSize: 20, IntermediateSize: 28,
		NumHiddenLayers: 4, NumAttentionHeads: 2, NumKeyValueHeads: 1, HeadDim: 6, MaxPositionEmbeddings: 48}})
	m.tokens = 64
	return m
}

func openCPU(t testing.TB) gpu.Device {
	t.Helper()
	d, err := cpu.Open(2, "")
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// ids are n random tokens of a model.
func (m model) ids(rng *rand.Rand, n int) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = int32(rng.IntN(m.VocabSize))
	}
	return list
}

// requests are contexts of all kinds of lengths with one to four continuations.
func (m model) requests(contexts int) (list []forward.Request) {
	rng := rand.New(rand.NewPCG(3, 4))
	begin := m.ids(rng, 9)
	for c := range contexts {
		context := m.ids(rng, 1+rng.IntN(30))
		if c%3 == 0 {
			context = append(slices.Clone(begin), context...) // as behind common examples
		}
		for range 1 + rng.IntN(4) {
			most := m.MaxPositionEmbeddings + 1 - len(context)
			list = append(list, forward.Request{Context: context, Continuation: m.ids(rng, 1+rng.IntN(min(most, 20)))})
		}
	}
	whole := m.ids(rng, m.MaxPositionEmbeddings+1) // as long as the model takes
	return append(list, forward.Request{Context: whole[:1], Continuation: whole[1:]},
		forward.Request{Context: whole[:len(whole)-1], Continuation: whole[len(whole)-1:]})
}

// scorer loads a program for requests.
func (m model) scorer(t testing.TB, d gpu.Device, as gpu.DType, requests []forward.Request) *forward.Scorer {
	t.Helper()
	x := program.Inference{Model: m.Model, Params: m.params, DType: as, Tokens: m.tokens}
	x.Context, x.Continuation = forward.LongestRequest(requests)
	p, err := program.NewPrograms(d.Caps()).Inference(&x)
	must(t, err)
	s, err := forward.LoadScorer(t.Context(), d, p, x, m.folder)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// whole loads a program that runs a whole text for each token, without anything that is kept.
func (m model) whole(t *testing.T, d gpu.Device) *forward.Forward {
	t.Helper()
	pass := program.Pass{Model: m.Model, Params: m.params, DType: gpu.F32, Batch: 1, Seq: m.MaxPositionEmbeddings, Logits: true}
	p, err := program.NewPrograms(d.Caps()).Pass(pass)
	must(t, err)
	f, err := forward.Load(t.Context(), d, p, pass, m.folder)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// plain scores a request by logits of whole texts.
func plain(t *testing.T, f *forward.Forward, r forward.Request) (x forward.Likelihood) {
	t.Helper()
	x.Greedy = true
	for i, target := range r.Continuation {
		logits, err := f.Logits(append(slices.Clone(r.Context), r.Continuation[:i]...))
		must(t, err)
		most, sum := slices.Max(logits), 0.0
		for _, l := range logits {
			sum += math.Exp(float64(l - most))
		}
		x.Sum += float64(logits[target]-most) - math.Log(sum)
		x.Greedy = x.Greedy && slices.Index(logits, most) == int(target)
	}
	return x
}

// TestScore compares likelihoods with those of passes over whole texts, of all architectures.
func TestScore(t *testing.T) {
	for _, a := range arch.All() {
		t.Run(a.Type, func(t *testing.T) {
			m := small(t, a)
			requests := m.requests(5)
			for _, d := range []gpu.Device{&ref.Device{}, openCPU(t)} {
				requests := requests
				if d.Caps().Kind != "cpu" {
					requests = requests[:3] // it is slow
				}
				got, err := m.scorer(t, d, gpu.F32, requests).Score(t.Context(), requests, nil)
				must(t, err)
				whole := m.whole(t, d)
				for i, r := range requests {
					want := plain(t, whole, r)
					if diff := math.Abs(got[i].Sum - want.Sum); !(diff <= 1e-5*math.Abs(want.Sum)) || got[i].Greedy != want.Greedy {
						t.Errorf("%s: request %d of %d and %d tokens: %v, want %v", d.Caps().Kind, i, len(r.Context),
							len(r.Continuation), got[i], want)
					}
				}
			}
		})
	}
}

// TestScoreAlone compares bits: a likelihood does not depend on the requests beside it, nor on their order.
func TestScoreAlone(t *testing.T) {
	d := openCPU(t)
	for _, as := range []gpu.DType{gpu.F32, gpu.BF16} {
		m := small(t, arch.Lookup("qwen3"))
		requests := m.requests(14)
		s := m.scorer(t, d, as, requests)
		want, err := s.Score(t.Context(), requests, nil)
		must(t, err)
		rng := rand.New(rand.NewPCG(5, 6))
		for _, size := range []int{1, 7, 64} {
			order, counted := rng.Perm(len(requests)), 0
			for part := range slices.Chunk(order, size) {
				var some []forward.Request
				for _, i := range part {
					some = append(some, requests[i])
				}
				got, err := s.Score(t.Context(), some, func(n int) { counted += n })
				must(t, err)
				for j, i := range part {
					if got[j] != want[i] {
						t.Fatalf("%v, %d at a time: request %d: %v, and %v with all others", as, size, i, got[j], want[i])
					}
				}
			}
			if counted != len(requests) {
				t.Errorf("%d of %d requests were told of", counted, len(requests))
			}
		}
		m.tokens = 0 // a program of other shapes
		got, err := m.scorer(t, d, as, requests[:3]).Score(t.Context(), requests[:3], nil)
		must(t, err)
		if !slices.Equal(got, want[:3]) {
			t.Errorf("%v: %v, and %v by another program", as, got, want[:3])
		}
	}
}

// TestGenerate compares greedy texts with those of passes over whole texts, and texts that are continued together with each
// alone.
func TestGenerate(t *testing.T) {
	for _, a := range arch.All() {
		t.Run(a.Type, func(t *testing.T) {
			m, d := small(t, a), openCPU(t)
			whole := m.whole(t, d)
			rng := rand.New(rand.NewPCG(7, 8))
			var prompts []forward.Prompt
			for n := range 7 {
				prompts = append(prompts, forward.Prompt{IDs: m.ids(rng, 1+3*n), NewTokens: 10 + n%3, Draw: n})
				if n > 3 {
					prompts[n].Sampling = forward.Sampling{Temperature: 1, TopP: 0.9, TopK: 20, RepetitionPenalty: 1.1, Seed: 5}
				}
			}
			together := m.generate(t, d, 3, prompts)
			for n, p := range prompts {
				if len(together[n].IDs) != p.NewTokens || together[n].End != forward.Full {
					t.Errorf("prompt %d: %v", n, together[n])
				}
				alone := m.generate(t, d, 1, prompts[n:n+1])[0]
				if !slices.Equal(alone.IDs, together[n].IDs) {
					t.Errorf("prompt %d: %v, and %v beside others", n, alone.IDs, together[n].IDs)
				}
				if p.Sampling.Temperature == 0 {
					if want := greedy(t, whole, p); !slices.Equal(alone.IDs, want) {
						t.Errorf("prompt %d: %v, want %v", n, alone.IDs, want)
					}
				}
			}
		})
	}
}

// generate continues prompts, so many at once.
func (m model) generate(t *testing.T, d gpu.Device, texts int, prompts []forward.Prompt) []forward.Generated {
	t.Helper()
	g := m.generator(t, d, texts, 40)
	list, err := g.Generate(t.Context(), prompts, nil)
	must(t, err)
	return list
}

func (m model) generator(t testing.TB, d gpu.Device, texts, most int) *forward.Generator {
	t.Helper()
	x := program.Inference{Model: m.Model, Params: m.params, DType: gpu.F32, Context: most, Texts: texts, Tokens: m.tokens}
	p, err := program.NewPrograms(d.Caps()).Inference(&x)
	must(t, err)
	g, err := forward.LoadGenerator(t.Context(), d, p, x, m.folder)
	must(t, err)
	t.Cleanup(func() { g.Close() })
	return g
}

// greedy continues a prompt by logits of whole texts.
func greedy(t *testing.T, f *forward.Forward, p forward.Prompt) []int32 {
	t.Helper()
	ids := slices.Clone(p.IDs)
	for range p.NewTokens {
		logits, err := f.Logits(ids)
		must(t, err)
		ids = append(ids, int32(slices.Index(logits, slices.Max(logits))))
	}
	return ids[len(p.IDs):]
}

// TestGenerateGoesOn continues a conversation: what the slot holds is not computed again, and the text is the same.
func TestGenerateGoesOn(t *testing.T) {
	m, d := small(t, arch.Lookup("llama")), openCPU(t)
	rng := rand.New(rand.NewPCG(9, 10))
	g := m.generator(t, d, 1, 40)
	first := forward.Prompt{IDs: m.ids(rng, 7), NewTokens: 5}
	list, err := g.Generate(t.Context(), []forward.Prompt{first}, nil)
	must(t, err)
	next := forward.Prompt{IDs: slices.Concat(first.IDs, list[0].IDs, m.ids(rng, 6)), NewTokens: 5}
	got, err := g.Generate(t.Context(), []forward.Prompt{next}, nil)
	must(t, err)
	if want := m.generate(t, d, 1, []forward.Prompt{next}); !slices.Equal(got[0].IDs, want[0].IDs) {
		t.Errorf("%v, want %v", got[0].IDs, want[0].IDs)
	}
	// Ends: a token, a reader, and one token that fills the program.
	stop := got[0].IDs[2]
	next.Stop = []int32{stop}
	ended, err := g.Generate(t.Context(), []forward.Prompt{next}, nil)
	must(t, err)
	if ended[0].End != forward.Stopped || !slices.Equal(ended[0].IDs, got[0].IDs[:slices.Index(got[0].IDs, stop)]) {
		t.Errorf("%v", ended)
	}
	next.Stop = nil
	ended, err = g.Generate(t.Context(), []forward.Prompt{next}, func(n int, id int32) bool { return id != stop })
	must(t, err)
	if ended[0].End != forward.Stopped || ended[0].IDs[len(ended[0].IDs)-1] != stop {
		t.Errorf("%v", ended)
	}
	if _, err := g.Generate(t.Context(), []forward.Prompt{{IDs: m.ids(rng, 40), NewTokens: 2}}, nil); err == nil ||
		fmt.Sprint(err) != "prompt 0: 40 tokens, and 2 to follow: the program takes one at least, and 41 in all" {
		t.Error(err)
	}
	full, err := g.Generate(t.Context(), []forward.Prompt{{IDs: m.ids(rng, 40), NewTokens: 1}}, nil)
	must(t, err)
	if len(full[0].IDs) != 1 {
		t.Errorf("%v", full)
	}
}

// TestScoreFlawed scores with a weight that is infinite for one token: what reads it has no likelihood, and the weight is named;
// what does not read it is as without the flaw.
func TestScoreFlawed(t *testing.T) {
	d := openCPU(t)
	sound := small(t, arch.Lookup("llama"))
	requests := []forward.Request{{Context: []int32{1, 2, 3}, Continuation: []int32{4, 5}},
		{Context: []int32{1, 7, 3}, Continuation: []int32{4, 5}}, {Context: []int32{1, 2, 3}, Continuation: []int32{7}},
		{Context: []int32{1, 2, 3}, Continuation: []int32{7, 1}}}
	want, err := sound.scorer(t, d, gpu.F32, requests).Score(t.Context(), requests, nil)
	must(t, err)
	m := flawed(t, sound, arch.EmbedTokens, 7*sound.HiddenSize+2, float32(math.Inf(1)))
	s := m.scorer(t, d, gpu.F32, requests)
	got, err := s.Score(t.Context(), requests, nil)
	must(t, err)
	for i, reads := range []bool{false, true, false, true} {
		if reads != math.IsNaN(got[i].Sum) || !reads && got[i] != want[i] {
			t.Errorf("request %d: %v, and %v without the flaw", i, got[i], want[i])
		}
	}
	if says := "a log-likelihood is NaN; model.embed_tokens.weight holds 1 non-finite value of 740, Infinity at [7, 2]"; s.Diagnosis != says {
		t.Errorf("%q, want %q", s.Diagnosis, says)
	}
	// Where the weights are finite, and what is computed of a context is not.
	m = flawed(t, sound, "model.layers.1.mlp.up_proj.weight", 3, 3e38)
	s = m.scorer(t, d, gpu.F32, requests)
	_, err = s.Score(t.Context(), requests, nil)
	must(t, err)
	if says := "all weights are finite, and of what is computed from them the first that is not: output 0 of matmul"; !strings.Contains(s.Diagnosis, says) ||
		!strings.Contains(s.Diagnosis, "at model.layers.1.mlp") {
		t.Errorf("%q", s.Diagnosis)
	}
}

// flawed is a model with another value at a place of a tensor.
func flawed(t *testing.T, m model, name string, at int, x float32) model {
	t.Helper()
	from, err := checkpoint.OpenFolder(m.folder)
	must(t, err)
	defer from.Close()
	var tensors []checkpoint.Tensor
	for _, p := range m.params {
		v, err := from.Float32(p.Name)
		must(t, err)
		if p.Name == name {
			v[at] = x
		}
		tensors = append(tensors, checkpoint.Tensor{Name: p.Name, DType: gpu.F32, Shape: p.Shape,
			Data: func() ([]byte, error) { return gpu.Float32Bytes(v, gpu.F32), nil }})
	}
	m.folder = filepath.Join(t.TempDir(), "model")
	_, err = checkpoint.Write(m.folder, []checkpoint.Part{checkpoint.Tensors("model.safetensors", tensors)})
	must(t, err)
	return m
}

// TestScoreRefuses says what is wrong with requests.
func TestScoreRefuses(t *testing.T) {
	m := small(t, arch.Lookup("llama"))
	s := m.scorer(t, openCPU(t), gpu.F32, []forward.Request{{Context: make([]int32, 40), Continuation: make([]int32, 20)}})
	for _, c := range []struct {
		context, continuation []int32
		says                  string
	}{
		{nil, []int32{1}, "request 0: a context of 0 tokens and a continuation of 1: both have one at least"},
		{[]int32{1}, nil, "request 0: a context of 1 tokens and a continuation of 0: both have one at least"},
		{make([]int32, 40), make([]int32, 10), "request 0: a context of 40 tokens and a continuation of 10: the program takes 40 " +
			"and 20, and no more than 49 together"},
		{[]int32{1}, []int32{37}, "request 0: token 37 is not in the model's vocabulary of 37"},
		{[]int32{-1}, []int32{3}, "request 0: token -1 is not in the model's vocabulary of 37"},
	} {
		_, err := s.Score(t.Context(), []forward.Request{{Context: c.context, Continuation: c.continuation}}, nil)
		if fmt.Sprint(err) != c.says {
			t.Errorf("%v, want %s", err, c.says)
		}
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Score(stopped, []forward.Request{{Context: []int32{1}, Continuation: []int32{2}}}, nil); err != context.Canceled {
		t.Error(err)
	}
}

// counting is a device that adds up the operations of what it runs.
type counting struct {
	gpu.Device
	flops float64
}

func (c *counting) Load(p *gpu.Program) (gpu.Loaded, error) {
	l, err := c.Device.Load(p)
	return &countingLoaded{l, c, p}, err
}

type countingLoaded struct {
	gpu.Loaded
	c *counting
	p *gpu.Program
}

func (l *countingLoaded) Run(lo, hi int, timed bool) error {
	for _, x := range l.p.Launches[lo:hi] {
		l.c.flops += float64(x.FLOPs)
	}
	return l.Loaded.Run(lo, hi, timed)
}

// TestForecast compares the operations that are forecast with those that run.
func TestForecast(t *testing.T) {
	m := small(t, arch.Lookup("llama"))
	c := &counting{Device: openCPU(t)}
	requests := m.requests(20)
	x := program.Inference{Model: m.Model, Params: m.params, DType: gpu.F32, Texts: 3}
	x.Context, x.Continuation = forward.LongestRequest(requests)
	p, err := program.NewPrograms(c.Caps()).Inference(&x)
	must(t, err)
	s, err := forward.LoadScorer(t.Context(), c, p, x, m.folder)
	must(t, err)
	defer s.Close()
	_, err = s.Score(t.Context(), requests, nil)
	must(t, err)
	if want := forward.ScoringFLOPs(p, x, requests); c.flops != want || want == 0 {
		t.Errorf("scoring ran %g operations, and %g were forecast", c.flops, want)
	}
	c.flops = 0
	rng := rand.New(rand.NewPCG(1, 1))
	var prompts []forward.Prompt
	for n := range 7 {
		prompts = append(prompts, forward.Prompt{IDs: m.ids(rng, 1+4*n), NewTokens: 3 + n})
	}
	g, err := forward.LoadGenerator(t.Context(), c, p, x, m.folder)
	must(t, err)
	defer g.Close()
	_, err = g.Generate(t.Context(), prompts, nil)
	must(t, err)
	if want := forward.GeneratingFLOPs(p, x, prompts); c.flops != want || want == 0 {
		t.Errorf("generating ran %g operations, and %g were forecast", c.flops, want)
	}
}

// TestScoreBetweenSteps scores with the program of a stage: as with one of its own, and nothing of the stage is changed by it.
func TestScoreBetweenSteps(t *testing.T) {
	d, m := openCPU(t), small(t, arch.Lookup("llama"))
	requests := m.requests(8)
	want, err := m.scorer(t, d, gpu.F32, requests).Score(t.Context(), requests, nil)
	must(t, err)
	s := &program.Stage{Model: m.Model, Params: m.params, DType: gpu.F32, Seq: 16, Batch: 4, Micro: 4, Frozen: map[string]bool{},
		Optimizer: optim.AdamW{LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}, Inference: &program.Inference{Tokens: 32}}
	s.Layers = s.NewLayers(m.NumHiddenLayers)
	alone := *s
	alone.Inference = nil
	s.Inference.Context, s.Inference.Continuation = forward.LongestRequest(requests)
	programs := program.NewPrograms(d.Caps())
	must(t, programs.Compile(s, "none"))
	must(t, programs.Compile(&alone, "none"))
	if a, b := program.FiguresOf(s, 0), program.FiguresOf(&alone, 0); a.StepFLOPs != b.StepFLOPs || a.ByKind["cache"] == 0 ||
		a.ByKind["weights"] != b.ByKind["weights"] {
		t.Errorf("%+v, and without scoring %+v", a, b)
	}
	l, err := d.Load(s.Program)
	must(t, err)
	defer l.Close()
	from, err := checkpoint.OpenFolder(m.folder)
	must(t, err)
	defer from.Close()
	must(t, forward.Fill(t.Context(), m.params, "", from, func(p ops.Param, v []float32) error {
		b, _ := s.Program.Buffer(p.ID)
		return b.CopyIn(l, gpu.Float32Bytes(v, gpu.F32))
	}))
	arena := func() []byte { // but for what scoring has for itself
		var all []byte
		for _, b := range s.Program.Buffers {
			if b.Role == gpu.RoleCache || strings.HasPrefix(b.Name, "inference/") {
				continue
			}
			part := make([]byte, b.Operand.Type.Bytes())
			must(t, l.CopyOut(part, b.Operand))
			all = append(all, part...)
		}
		return all
	}
	before := arena()
	scorer, err := forward.NewScorer(l, s.Program, *s.Inference)
	must(t, err)
	got, err := scorer.Score(t.Context(), requests, nil)
	must(t, err)
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if !bytes.Equal(arena(), before) {
		t.Error("scoring changed what the stage holds")
	}
}
