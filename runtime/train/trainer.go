package train

import (
	"context"
	"errors"
	"fmt"

	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/optim"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
	"stepflow/runtime/trainstate"
)

// trainer runs one stage on a loaded program.
type trainer struct {
	stage      *program.Stage
	loaded     gpu.Loaded
	tok        *tokenizer.Tokenizer
	state      trainstate.State
	buffer     []byte              // of the tensor being saved: they are written one after the other
	flaw       forward.Flaw        // of the weights it started from
	apart      []checkpoint.Tensor // the adapters as they were at the end, before a merge, where the result keeps them
	narrow     rounding            // of the weights that are stored in fewer bits
	taken      singular            // of the weights, where adapters begin with that
	decomposed decomposed          // of the weights that adapters take the place of
	progress   *observe.Progress   // of making the first weights; nil where nobody is told
	begun      int                 // parameters whose moments begin again: another optimizer trained them before
	comm       gpu.Communicator    // of the ranks that train the stage; nil for one alone
	owners     map[string]int      // see Stage.Owners
}

// newTrainer is a trainer of a program that is loaded.
func newTrainer(s *program.Stage, loaded gpu.Loaded, c gpu.Communicator) *trainer {
	return &trainer{stage: s, loaded: loaded, comm: c, owners: s.Owners()}
}

// owns reports whether this rank keeps what the optimizer has of a parameter.
func (t *trainer) owns(p ops.Param) bool {
	r, ok := t.owners[p.ID]
	return !ok || r == t.stage.Rank
}

// states lists what the optimizer keeps of a parameter on this rank.
func (t *trainer) states(p ops.Param) []optim.State {
	if !t.owns(p) {
		return nil
	}
	return t.stage.States(p)
}

func (t *trainer) named(name string) gpu.Buffer {
	b, ok := t.stage.Program.Buffer(name)
	if !ok {
		panic("train: program has no buffer " + name)
	}
	return b
}

func (t *trainer) has(name string) bool { _, ok := t.stage.Program.Buffer(name); return ok }

func (t *trainer) set(name string, v []float32) error {
	b := t.named(name)
	tensor := b.Tensor()
	if len(v) != tensor.Shape.Elems() {
		return fmt.Errorf("%s takes %v, not %d values", name, tensor, len(v))
	}
	return b.CopyIn(t.loaded, tensor.Encode(v))
}

func (t *trainer) get(name string) ([]float32, error) {
	b := t.named(name)
	raw := make([]byte, b.Tensor().Bytes())
	if err := b.CopyOut(t.loaded, raw); err != nil {
		return nil, err
	}
	return b.Tensor().Decode(raw), nil
}

// setWeight gives a parameter a value that no update made: what the optimizer keeps of it begins again.
func (t *trainer) setWeight(p ops.Param, v []float32) error { return t.setWith(p, v, nil) }

// setWith gives a parameter a value, and the states of the optimizer that are named what is given. All others begin again.
func (t *trainer) setWith(p ops.Param, v []float32, states map[string][]float32) error {
	set := func(p ops.Param, v []float32) error { return t.set(p.ID, v) }
	if t.stage.Narrow(p) {
		set = t.setNarrow
	}
	if err := set(p, v); err != nil {
		return err
	}
	for _, s := range t.states(p) {
		name, first, given := s.Buffer(p.ID), v, s.Copy
		if x, ok := states[s.Name]; ok {
			first, given = x, true
		}
		var err error
		if given {
			err = t.set(name, first)
		} else {
			err = t.zero(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// zero sets a buffer to zero.
func (t *trainer) zero(name string) error {
	b := t.named(name)
	x := b.Tensor()
	if x.DType.Quantized() { // codes of zeros are not bytes of zeros
		return t.set(name, make([]float32, x.Shape.Elems()))
	}
	return b.CopyIn(t.loaded, make([]byte, x.Bytes()))
}

func (t *trainer) run(segment string) error {
	if _, ok := t.stage.Program.Segment(segment); !ok {
		panic("train: program has no segment " + segment)
	}
	return forward.Run(t.loaded, t.stage.Program, segment)
}

// cut runs f, and stops the device when ctx ends: then nothing more can be run on it, but what was trained can still be
// saved.
func (t *trainer) cut(ctx context.Context, f func() error) error {
	release := context.AfterFunc(ctx, t.loaded.Stop)
	err := f()
	late := !release() // the device is stopped, or about to be, though f may have ended before
	if errors.Is(err, gpu.ErrStopped) || err == nil && late {
		return observe.ErrInterrupted
	}
	return err
}

// start gives every weight its first value: random, imported, or from the checkpoint of the stage
// before, grown. Optimizer state is kept for tensors that trained there and train here. It ends with ctx.
func (t *trainer) start(ctx context.Context, from string) error {
	s := t.stage
	first := func(p ops.Param, v []float32) error {
		defer t.progress.Done()
		return t.firstWeight(ctx, p, v)
	}
	t.state = trainstate.State{OptimizerSteps: map[string]int64{}, Layers: s.LayerIDs()}
	switch {
	case s.From != nil:
		if err := t.grow(ctx, from); err != nil {
			return err
		}
	case s.Init != "":
		f, err := checkpoint.OpenFolder(s.Init)
		if err != nil {
			return err
		}
		defer f.Close()
		w := forward.Watch(f, s.Params, s.DType)
		if err := forward.Fill(ctx, s.Params, "", w, first); err != nil {
			return err
		}
		if err := w.Unfit(s); err != nil { // of a stage that was planned on the way
			return err
		}
	default:
		if err := t.startRandom(ctx, first); err != nil {
			return err
		}
	}
	return t.startAdapters(ctx)
}

// startRandom gives the model's weights random values, by set.
func (t *trainer) startRandom(ctx context.Context, set func(ops.Param, []float32) error) error {
	for _, p := range t.stage.Params {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := set(p, t.stage.Model.Init(p, t.stage.Seed)); err != nil {
			return err
		}
	}
	return nil
}

// hyper writes the scalars of each parameter's next update, which is that of a step.
func (t *trainer) hyper(step int) error {
	o, list := t.stage.Optimizer, t.stage.Trainable()
	v := make([]float32, 0, len(list)*gpu.HyperLen)
	for _, p := range list {
		h := o.Scalars(p, t.stage.Scheduled(t.stage.Rate(p), step), t.state.OptimizerSteps[p.ID]+1)
		v = append(v, h[:]...)
	}
	return t.set(program.BufHyper, v)
}

// probe gives the loss of each position of the batch in the input buffers.
func (t *trainer) probe() ([]float32, error) {
	if err := t.run(program.SegProbe); err != nil {
		return nil, err
	}
	return t.get(program.BufNLL)
}

// mean is that of the losses of positions that have a target.
func mean(nll []float32) float64 {
	var s float64
	n := 0
	for _, x := range nll {
		if x != 0 { // ignored positions are exactly 0
			s += float64(x)
			n++
		}
	}
	return s / float64(max(n, 1))
}
