package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/llama"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
)

// Files of a checkpoint.
const (
	fileModel     = "model.safetensors"
	fileAdapter   = "adapter_model.safetensors"
	fileOptimizer = "optimizer.safetensors"
	fileTrainer   = "trainer_state.json"
	fileConfig    = "config.json"
	fileTokenizer = "tokenizer.json"
)

// TrainerState is all that a stage needs besides tensors to go on. It holds no times, so that the
// same run writes the same bytes.
type TrainerState struct {
	Recipe         string           `json:"recipe"`
	Step           int              `json:"step"`
	Tokens         int64            `json:"tokens"`
	Data           string           `json:"data"` // identity of data, tokenizer and packing the position belongs to
	Position       fineweb.Cursor   `json:"position"`
	Layers         []string         `json:"layers"`
	OptimizerSteps map[string]int64 `json:"optimizer_steps"` // updates each trainable tensor has had
	Restarts       int              `json:"restarts"`        // ReLoRA
	LastLosses     []float64        `json:"last_losses"`
	Skipped        int              `json:"skipped_steps"` // not finite
	Seam           *Seam            `json:"seam,omitempty"`
}

// Seam is what the end of a stage measured.
type Seam struct {
	Probe           string  `json:"probe"`            // identity of the batch the loss is of
	Loss            float64 `json:"loss"`             // of the merged model on it
	MergeDifference float64 `json:"merge_difference"` // largest change of a token's loss by merging the adapters
}

// meanOf is how many steps the reported training loss is the mean of.
const meanOf = 10

func readTrainerState(dir string) (*TrainerState, error) {
	b, err := os.ReadFile(filepath.Join(dir, fileTrainer))
	if err != nil {
		return nil, err
	}
	var t TrainerState
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(dir, fileTrainer), err)
	}
	return &t, nil
}

// trainer runs one stage on a loaded program.
type trainer struct {
	stage  *Stage
	loaded gpu.Loaded
	tok    *tokenizer.Tokenizer
	state  TrainerState
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
	s, ok := t.stage.Program.Segment(segment)
	if !ok {
		panic("runtime: program has no segment " + segment)
	}
	return t.loaded.Run(s.Lo, s.Hi, false)
}

// constants writes what does not change during a stage.
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
// before, grown. Optimizer state is kept for tensors that trained there and train here.
func (t *trainer) start(from string) error {
	s := t.stage
	t.state = TrainerState{OptimizerSteps: map[string]int64{}, Layers: s.LayerIDs()}
	switch {
	case s.From != nil:
		if err := t.grow(from); err != nil {
			return err
		}
	case s.Init != "":
		f, err := checkpoint.OpenFolder(s.Init)
		if err != nil {
			return err
		}
		defer f.Close()
		for _, p := range s.Params {
			v, err := f.Float32(p.Name)
			if err != nil {
				return err
			}
			if err := t.setWeight(p.ID, v); err != nil {
				return err
			}
		}
	default:
		for _, p := range s.Params {
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
func (t *trainer) grow(dir string) error {
	s := t.stage
	old, err := readTrainerState(dir)
	if err != nil {
		return err
	}
	f, err := checkpoint.OpenFolder(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	opt, err := checkpoint.Open(filepath.Join(dir, fileOptimizer))
	if err != nil {
		return err
	}
	defer opt.Close()
	oldParams := llama.Declare(s.From.Model, s.From.LayerIDs())
	byID := map[string]ops.Param{}
	for _, p := range oldParams {
		byID[p.ID] = p
	}
	for _, p := range s.Params {
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
	if old.Data == t.state.Data || t.state.Data == "" {
		t.state.Data, t.state.Position = old.Data, old.Position
	}
	t.state.Seam = old.Seam
	return nil
}

func (t *trainer) restoreState(opt *checkpoint.File, id string) error {
	for _, name := range []string{bufM(id), bufV(id), bufMaster(id)} {
		if !t.has(name) {
			continue
		}
		v, err := opt.Float32(name)
		if err != nil {
			return err
		}
		if err := t.set(name, v); err != nil {
			return err
		}
	}
	return nil
}

// restore loads a checkpoint of this very stage.
func (t *trainer) restore(dir string) error {
	s := t.stage
	ts, err := readTrainerState(dir)
	if err != nil {
		return err
	}
	t.state = *ts
	f, err := checkpoint.OpenFolder(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	opt, err := checkpoint.Open(filepath.Join(dir, fileOptimizer))
	if err != nil {
		return err
	}
	defer opt.Close()
	for _, p := range s.Params {
		v, err := f.Float32(p.Name)
		if err == nil {
			err = t.set(p.ID, v)
		}
		if err != nil {
			return err
		}
	}
	if len(s.Adapters) > 0 {
		ad, err := checkpoint.Open(filepath.Join(dir, fileAdapter))
		if err != nil {
			return err
		}
		defer ad.Close()
		for _, p := range peft.Params(s.Adapters) {
			v, err := ad.Float32(peftPrefix + p.Name)
			if err == nil {
				err = t.set(p.ID, v)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, p := range s.Trainable() {
		if err := t.restoreState(opt, p.ID); err != nil {
			return err
		}
	}
	return nil
}

// peftPrefix starts the names of tensors in an adapter file of PEFT.
const peftPrefix = "base_model.model."

func (t *trainer) tensor(name, buffer string) checkpoint.Tensor {
	o := t.operand(buffer)
	return checkpoint.Tensor{Name: name, Shape: o.Type.Shape, DType: o.Type.DType, Data: func() ([]byte, error) {
		b := make([]byte, o.Type.Bytes())
		return b, t.loaded.CopyOut(b, o)
	}}
}

// save writes a checkpoint. final leaves the adapters out: they are merged.
func (t *trainer) save(dir string, final bool) (id string, err error) {
	s := t.stage
	var model, adapter, opt []checkpoint.Tensor
	for _, p := range s.Params {
		model = append(model, t.tensor(p.Name, p.ID))
	}
	if !final {
		for _, p := range peft.Params(s.Adapters) {
			adapter = append(adapter, t.tensor(peftPrefix+p.Name, p.ID))
		}
	}
	steps := t.state.OptimizerSteps
	for _, p := range s.Trainable() {
		if final && p.Kind.IsAdapter() {
			continue
		}
		for _, name := range []string{bufM(p.ID), bufV(p.ID), bufMaster(p.ID)} {
			if t.has(name) {
				opt = append(opt, t.tensor(name, name))
			}
		}
	}
	if final {
		kept := map[string]int64{}
		for _, p := range s.Params {
			if n := steps[p.ID]; n > 0 {
				kept[p.ID] = n
			}
		}
		t.state.OptimizerSteps = kept
	}
	trainer, err := json.MarshalIndent(t.state, "", "  ")
	t.state.OptimizerSteps = steps
	if err != nil {
		return "", err
	}
	cfg, err := configJSON(s.Model, t.tok, s.DType)
	if err != nil {
		return "", err
	}
	parts := []checkpoint.Part{checkpoint.Tensors(fileModel, model), checkpoint.Tensors(fileOptimizer, opt),
		checkpoint.Bytes(fileTrainer, append(trainer, '\n')), checkpoint.Bytes(fileConfig, cfg), checkpoint.Bytes(fileTokenizer, t.tok.JSON())}
	if len(adapter) > 0 {
		parts = append(parts, checkpoint.Tensors(fileAdapter, adapter))
	}
	return checkpoint.Write(dir, parts)
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
		h := o.Hyper(lr, t.state.OptimizerSteps[p.ID]+1)
		v = append(v, h[:]...)
	}
	return t.set(bufHyper, v)
}

// restart merges the ReLoRA adapters, gives them new values and forgets their optimizer state.
func (t *trainer) restart() error {
	if err := t.run(segMerge); err != nil {
		return err
	}
	t.state.Restarts++
	if err := t.startAdapters(); err != nil {
		return err
	}
	for _, p := range peft.Params(t.stage.Adapters) {
		t.state.OptimizerSteps[p.ID] = 0
		for _, name := range []string{bufM(p.ID), bufV(p.ID)} {
			if err := t.set(name, make([]float32, p.Shape.Elems())); err != nil {
				return err
			}
		}
	}
	return nil
}

// probe gives the loss of each position of the batch in the input buffers.
func (t *trainer) probe() ([]float32, error) {
	if err := t.run(segProbe); err != nil {
		return nil, err
	}
	return t.get(bufNLL)
}
