package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"stepflow/fineweb"
	"stepflow/foreign"
	"stepflow/ops"
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
	Position       fineweb.Position `json:"position"`
	Layers         []string         `json:"layers"`
	OptimizerSteps map[string]int64 `json:"optimizer_steps"` // updates each trainable tensor has had
	Restarts       int              `json:"restarts"`        // ReLoRA
	Merges         Merges           `json:"merges"`
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

// Merges are the Frobenius norms of what the merges so far were to add to the weights, and of what rounding kept out: roots of
// sums of squares over adapters and merges.
type Merges struct {
	Product float64 `json:"product"`
	Lost    float64 `json:"lost"`
}

// Error is the share that rounding kept out.
func (m Merges) Error() float64 {
	if m.Product == 0 {
		return 0
	}
	return m.Lost / m.Product
}

// meanOf is how many steps the reported training loss is the mean of.
const meanOf = 10

// maxTrainerState bounds what is read of the file, in bytes.
const maxTrainerState = 1 << 30

func readTrainerState(dir string) (*TrainerState, error) {
	b, err := foreign.ReadFile(filepath.Join(dir, fileTrainer), maxTrainerState)
	if err != nil {
		return nil, err
	}
	var t TrainerState
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(dir, fileTrainer), err)
	}
	return &t, nil
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

// openStage opens the model and the optimizer state of a checkpoint.
func openStage(dir string) (*checkpoint.Folder, *checkpoint.File, error) {
	f, err := checkpoint.OpenFolder(dir)
	if err != nil {
		return nil, nil, err
	}
	opt, err := checkpoint.Open(filepath.Join(dir, fileOptimizer))
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, opt, nil
}

// fill reads the tensor of each parameter, one at a time, and gives it to set by the parameter's id. It ends with ctx.
func fill(ctx context.Context, params []ops.Param, prefix string, from interface {
	Float32(name string) ([]float32, error)
}, set func(id string, v []float32) error) error {
	for _, p := range params {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v, err := from.Float32(prefix + p.Name)
		if err == nil {
			err = set(p.ID, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// restore loads a checkpoint of this very stage.
func (t *trainer) restore(ctx context.Context, dir string) error {
	s := t.stage
	ts, err := readTrainerState(dir)
	if err != nil {
		return err
	}
	t.state = *ts
	f, opt, err := openStage(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	defer opt.Close()
	if err := fill(ctx, s.Params, "", f, t.set); err != nil {
		return err
	}
	if len(s.Adapters) > 0 {
		ad, err := checkpoint.Open(filepath.Join(dir, fileAdapter))
		if err != nil {
			return err
		}
		defer ad.Close()
		if err := fill(ctx, peft.Params(s.Adapters), peftPrefix, ad, t.set); err != nil {
			return err
		}
	}
	for _, p := range s.Trainable() {
		if err := t.restoreState(opt, p.ID); err != nil {
			return err
		}
	}
	for _, a := range s.Adapters {
		name := bufRemainder(a.Target.ID)
		if !t.has(name) {
			continue
		}
		v, err := opt.Float32(name)
		if err == nil {
			err = t.set(name, v)
		}
		if err != nil {
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
		n := int(o.Type.Bytes())
		if cap(t.room) < n {
			t.room = make([]byte, n)
		}
		return t.room[:n], t.loaded.CopyOut(t.room[:n], o)
	}}
}

// save writes a checkpoint, which origin says where it comes from. final leaves the adapters out: they are merged.
func (t *trainer) save(dir string, origin checkpoint.Part, final bool) (id string, err error) {
	s := t.stage
	defer func() { t.room = nil }()
	var model, adapter, opt []checkpoint.Tensor
	for _, p := range s.Params {
		model = append(model, t.tensor(p.Name, p.ID))
	}
	if !final {
		for _, p := range peft.Params(s.Adapters) {
			adapter = append(adapter, t.tensor(peftPrefix+p.Name, p.ID))
		}
		for _, a := range s.Adapters {
			if name := bufRemainder(a.Target.ID); t.has(name) {
				opt = append(opt, t.tensor(name, name))
			}
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
	parts := []checkpoint.Part{origin, checkpoint.Tensors(fileModel, model), checkpoint.Tensors(fileOptimizer, opt),
		checkpoint.Bytes(fileTrainer, append(trainer, '\n')), checkpoint.Bytes(fileConfig, cfg), checkpoint.Bytes(fileTokenizer, t.tok.JSON())}
	if len(adapter) > 0 {
		parts = append(parts, checkpoint.Tensors(fileAdapter, adapter))
	}
	return checkpoint.Write(dir, parts)
}
