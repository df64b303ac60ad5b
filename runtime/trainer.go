package runtime

import (
	"context"
	"errors"
	"fmt"
	"math"

	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/llama"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/metrics"
)

// trainer runs one stage on a loaded program.
type trainer struct {
	stage   *Stage
	loaded  gpu.Loaded
	tok     *tokenizer.Tokenizer
	state   TrainerState
	steps   *metrics.Writer
	heldOut *int64 // documents trained on that an evaluation measures; nil where none are counted
	room    []byte // of the tensor being saved: they are written one after the other
	flaw    flaw   // of the weights it started from
}

func (t *trainer) operand(name string) gpu.Operand {
	b, ok := t.stage.Program.Buffer(name)
	if !ok {
		panic("runtime: program has no buffer " + name)
	}
	return b.Operand
}

func (t *trainer) has(name string) bool { _, ok := t.stage.Program.Buffer(name); return ok }

func (t *trainer) set(name string, v []float32) error {
	o := t.operand(name)
	if len(v) != o.Type.Shape.Elems() {
		return fmt.Errorf("%s takes %v, not %d values", name, o.Type, len(v))
	}
	return t.loaded.CopyIn(o, gpu.Float32Bytes(v, o.Type.DType))
}

func (t *trainer) get(name string) ([]float32, error) {
	o := t.operand(name)
	b := make([]byte, o.Type.Bytes())
	if err := t.loaded.CopyOut(b, o); err != nil {
		return nil, err
	}
	return gpu.BytesFloat32(b, o.Type.DType), nil
}

// setWeight writes a weight and, where there is one, its fp32 master.
func (t *trainer) setWeight(id string, v []float32) error {
	if err := t.set(id, v); err != nil {
		return err
	}
	if t.has(bufMaster(id)) {
		return t.set(bufMaster(id), v)
	}
	return nil
}

func (t *trainer) run(segment string) error {
	if _, ok := t.stage.Program.Segment(segment); !ok {
		panic("runtime: program has no segment " + segment)
	}
	return forward(t.loaded, t.stage.Program, segment)
}

// cut runs f, and stops the device when ctx ends: then nothing more can be run on it, but what was trained can still be saved.
func (t *trainer) cut(ctx context.Context, f func() error) error {
	defer context.AfterFunc(ctx, t.loaded.Stop)()
	err := f()
	if errors.Is(err, gpu.ErrStopped) {
		return ErrInterrupted
	}
	return err
}

// setConstants writes what does not change during a stage.
func setConstants(l gpu.Loaded, p *gpu.Program, c llama.Config, seq int) error {
	cos, sin := c.RopeTables(seq)
	for _, x := range []struct {
		name string
		v    []float32
	}{{bufCos, cos}, {bufSin, sin}} {
		b, _ := p.Buffer(x.name)
		if err := l.CopyIn(b.Operand, gpu.Float32Bytes(x.v, gpu.F32)); err != nil {
			return err
		}
	}
	return nil
}

// start gives every weight its first value: random, imported, or from the checkpoint of the stage
// before, grown. Optimizer state is kept for tensors that trained there and train here. It ends with ctx.
func (t *trainer) start(ctx context.Context, from string) error {
	s := t.stage
	t.state = TrainerState{OptimizerSteps: map[string]int64{}, Layers: s.LayerIDs()}
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
		w := watch(f, s.Params, s.DType)
		if err := fill(ctx, s.Params, "", w, t.setWeight); err != nil {
			return err
		}
		if err := w.unfit(s); err != nil { // of a stage that was planned on the way
			return err
		}
	default:
		for _, p := range s.Params {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := t.setWeight(p.ID, llama.Init(s.Model, p, s.Seed)); err != nil {
				return err
			}
		}
	}
	return t.startAdapters()
}

func (t *trainer) startAdapters() error {
	for _, p := range peft.Params(t.stage.Adapters) {
		if err := t.setWeight(p.ID, peft.Init(p, t.stage.PeftSeed, t.state.Restarts)); err != nil {
			return err
		}
	}
	return nil
}

// grow streams the old model's tensors into the new program, one at a time: the old program is not
// in memory any more.
func (t *trainer) grow(ctx context.Context, dir string) error {
	s := t.stage
	old, err := readTrainerState(dir)
	if err != nil {
		return err
	}
	folder, opt, err := openStage(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	defer opt.Close()
	oldParams := llama.Declare(s.From.Model, s.From.LayerIDs())
	f := watch(folder, oldParams, s.DType)
	defer func() { t.flaw = f.flaw }()
	byID := map[string]ops.Param{}
	for _, p := range oldParams {
		byID[p.ID] = p
	}
	for _, p := range s.Params {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if o, ok := byID[p.ID]; ok {
			v, err := f.Float32(o.Name)
			if err == nil {
				err = t.setWeight(p.ID, v)
			}
			if err == nil && !s.Frozen[p.ID] && old.OptimizerSteps[p.ID] > 0 {
				err = t.restoreState(opt, p.ID)
				t.state.OptimizerSteps[p.ID] = old.OptimizerSteps[p.ID]
			}
			if err != nil {
				return err
			}
			continue
		}
		suffix := p.ID[len(s.Layers[p.Layer].ID)+1:]
		v, err := s.Grow.Value(p, s.Layers[p.Layer].From, func(layer int) ([]float32, error) {
			return f.Float32(llama.LayerPrefix(layer) + suffix)
		})
		if err != nil {
			return fmt.Errorf("growing %s: %w", p.Name, err)
		}
		if err := t.setWeight(p.ID, v); err != nil {
			return err
		}
	}
	t.state.Data, t.state.Position, t.state.Seam = old.Data, old.Position, old.Seam
	return nil
}

// feed writes sequences [from, from+micro) of a batch into the input buffers.
func feed(l gpu.Loaded, p *gpu.Program, b *fineweb.Batch, from, n, seq int) error {
	lo, hi := from*seq, (from+n)*seq
	for _, x := range []struct {
		name string
		v    []int32
	}{{bufIDs, b.IDs}, {bufTargets, b.Targets}, {bufSegments, b.Segments}} {
		buf, ok := p.Buffer(x.name)
		if !ok {
			continue // without a mask there are no segments
		}
		if err := l.CopyIn(buf.Operand, gpu.Int32Bytes(x.v[lo:hi])); err != nil {
			return err
		}
	}
	return nil
}

// hyper writes the scalars of each tensor's next update.
func (t *trainer) hyper(lr float64, o optim.AdamW) error {
	list := t.stage.Trainable()
	v := make([]float32, 0, len(list)*gpu.HyperLen)
	for _, p := range list {
		h := o.Hyper(lr, p.ID, t.state.OptimizerSteps[p.ID]+1)
		v = append(v, h[:]...)
	}
	return t.set(bufHyper, v)
}

// merge folds the adapters into the weights and gives the share of their product that rounding kept out: the quotient of
// Frobenius norms. What remainders hold is not lost unless it is the last merge.
func (t *trainer) merge(last bool) (lost float64, err error) {
	s := t.stage
	if s.mergesAtRandom() {
		seeds := make([]float32, len(s.Adapters))
		for i, a := range s.Adapters {
			seeds[i] = peft.MergeSeed(a, s.PeftSeed, t.state.Restarts)
		}
		if err := t.set(bufMergeSeed, seeds); err != nil {
			return 0, err
		}
	}
	if err := t.run(segMerge); err != nil {
		return 0, err
	}
	norm := func(name string) float64 {
		if err != nil || !t.has(name) {
			return 0
		}
		var v []float32
		v, err = t.get(name)
		square := 0.0
		for _, x := range v {
			square += float64(x) * float64(x)
		}
		return math.Sqrt(square)
	}
	m := &t.state.Merges
	product, rest := norm(bufMerged), norm(bufMergeLost)
	if last {
		for _, a := range s.Adapters {
			rest = math.Hypot(rest, norm(bufRemainder(a.Target.ID)))
		}
	}
	if err != nil || !finite(product) || !finite(rest) { // what is not finite ends the next step, with its name
		return 0, err
	}
	m.Product, m.Lost = math.Hypot(m.Product, product), math.Hypot(m.Lost, rest)
	return Merges{product, rest}.Error(), nil
}

// restart merges the ReLoRA adapters, gives them new values and forgets their optimizer state. It gives the error of the merge.
func (t *trainer) restart() (lost float64, err error) {
	if lost, err = t.merge(false); err != nil {
		return 0, err
	}
	t.state.Restarts++
	if err := t.startAdapters(); err != nil {
		return 0, err
	}
	for _, p := range peft.Params(t.stage.Adapters) {
		t.state.OptimizerSteps[p.ID] = 0
		for _, name := range []string{bufM(p.ID), bufV(p.ID)} {
			if err := t.set(name, make([]float32, p.Shape.Elems())); err != nil {
				return 0, err
			}
		}
	}
	return lost, nil
}

// probe gives the loss of each position of the batch in the input buffers.
func (t *trainer) probe() ([]float32, error) {
	if err := t.run(segProbe); err != nil {
		return nil, err
	}
	return t.get(bufNLL)
}
