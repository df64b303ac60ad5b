package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"stepflow/gpu"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
	"stepflow/runtime/trainstate"
)

// MomentFiles are the files of a folder that hold the state of an optimizer.
var MomentFiles = []string{checkpoint.OptimizerFile, checkpoint.TrainerFile}

// pickles are files in which others keep the state of an optimizer.
var pickles = []string{"optimizer.pt", "optimizer.bin"}

// Moments reads what a folder says of the state of an optimizer, for a model with so many layers. A nil state says that
// there is none to take over, and why.
func Moments(dir string, layers int) (s *trainstate.State, why string, err error) {
	switch _, err := os.Stat(filepath.Join(dir, checkpoint.OptimizerFile)); {
	case errors.Is(err, fs.ErrNotExist):
		for _, name := range pickles {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return nil, name + " is a pickle of PyTorch, which may hold code and is not read", nil
			}
		}
		return nil, "the folder has none", nil
	case err != nil:
		return nil, "", err
	}
	s, err = trainstate.Read(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(s.Layers) == 0 && layers > 0:
		return nil, fmt.Sprintf("%s does not say whose %s is", checkpoint.TrainerFile, checkpoint.OptimizerFile), nil
	case err != nil:
		return nil, "", err
	case len(s.Layers) != layers:
		return nil, "", fmt.Errorf("%s is of %d layers, and the model has %d", filepath.Join(dir, checkpoint.TrainerFile),
			len(s.Layers), layers)
	}
	return s, "", nil
}

// Imported is a checkpoint from elsewhere that becomes the result of a stage.
type Imported struct {
	stage  *program.Stage
	recipe string
	folder *checkpoint.Folder
	opt    *checkpoint.File  // nil without a state of the optimizer
	steps  map[string]int64  // updates of each parameter there, by its id there
	ids    map[string]string // ids of the stage's parameters, by their ids there
}

// OpenImported opens the folder that a stage is imported from. Its caller closes it.
func OpenImported(s *program.Stage, dir, recipe string) (x *Imported, err error) {
	x = &Imported{stage: s, recipe: recipe, ids: map[string]string{}}
	if x.folder, err = checkpoint.OpenFolder(dir); err != nil {
		return nil, err
	}
	moments, _, err := Moments(dir, len(s.Layers))
	if err == nil && moments != nil {
		x.steps = moments.OptimizerSteps
		for i, p := range s.Model.Declare(moments.Layers) {
			x.ids[p.ID] = s.Params[i].ID
		}
		x.opt, err = checkpoint.Open(filepath.Join(dir, checkpoint.OptimizerFile))
	}
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

// Close closes the files.
func (x *Imported) Close() error {
	err := x.folder.Close()
	if x.opt != nil {
		err = errors.Join(err, x.opt.Close())
	}
	return err
}

// Parts returns the files of the stage's result that hold tensors and the trainer's state. They are read while they are
// written, one tensor at a time.
func (x *Imported) Parts(ctx context.Context) ([]checkpoint.Part, error) {
	var model []checkpoint.Tensor
	for _, p := range x.stage.Params {
		model = append(model, checkpoint.Tensor{Name: p.Name, Shape: p.Shape, DType: x.stage.DType,
			Data: func() ([]byte, error) {
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				v, err := x.folder.Float32(p.Name)
				return gpu.Float32Bytes(v, x.stage.DType), err
			}})
	}
	moments, err := x.moments()
	if err != nil {
		return nil, err
	}
	state := trainstate.State{Recipe: x.recipe, Layers: x.stage.LayerIDs(), OptimizerSteps: map[string]int64{}}
	for id, n := range x.steps {
		if to, ok := x.ids[id]; ok {
			state.OptimizerSteps[to] = n
		}
	}
	trainer, err := json.MarshalIndent(state, "", "  ")
	return []checkpoint.Part{checkpoint.Tensors(checkpoint.ModelFile, model),
		checkpoint.Tensors(checkpoint.OptimizerFile, moments),
		checkpoint.Bytes(checkpoint.TrainerFile, append(trainer, '\n'))}, err
}

// moments lists the tensors of the optimizer's state, under the ids of the stage's parameters.
func (x *Imported) moments() (list []checkpoint.Tensor, err error) {
	if x.opt == nil {
		return nil, nil
	}
	types := map[string]gpu.DType{"F32": gpu.F32, "BF16": gpu.BF16, "I32": gpu.I32, "U8": gpu.U8}
	for _, name := range x.opt.Names() {
		state, id, _ := strings.Cut(name, "/")
		to, ok := x.ids[id]
		if !ok {
			continue
		}
		shape, _ := x.opt.Shape(name)
		dtype, ok := types[x.opt.DType(name)]
		if !ok {
			return nil, fmt.Errorf("%s has a tensor %s of type %s, which no optimizer keeps", checkpoint.OptimizerFile, name,
				x.opt.DType(name))
		}
		list = append(list, checkpoint.Tensor{Name: state + "/" + to, Shape: shape, DType: dtype,
			Data: func() ([]byte, error) { b, _, err := x.opt.Raw(name); return b, err }})
	}
	return list, nil
}
