package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/foreign"
	"stepflow/gpu"
	"stepflow/ops/optim"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
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
	if err := sound(s); err != nil {
		return nil, "", fmt.Errorf("%s %w; %s", filepath.Join(dir, checkpoint.TrainerFile), err, withoutMoments)
	}
	opt, err := checkpoint.Open(filepath.Join(dir, checkpoint.OptimizerFile))
	if err != nil {
		return nil, "", err
	}
	defer opt.Close()
	for _, x := range momentsIn(opt) {
		if err := x.check(opt); err != nil {
			return nil, "", fmt.Errorf("%s: %w; %s", opt.Path(), err, withoutMoments)
		}
	}
	return s, "", nil
}

// withoutMoments is what to do about a state of an optimizer that is of no use.
const withoutMoments = "without " + checkpoint.OptimizerFile + " in the folder, all moments begin again"

// sound returns what is wrong with the names of layers and the counts of updates; nil if nothing is.
func sound(s *trainstate.State) error {
	for i, id := range s.Layers {
		if id == "" || slices.Contains(s.Layers[:i], id) {
			return fmt.Errorf("has the layer %s twice, or one without a name", foreign.Shown(id))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.OptimizerSteps)) {
		if n := s.OptimizerSteps[id]; n < 0 || n > mostUpdates {
			return fmt.Errorf("says that %s had %d updates", foreign.Shown(id), n)
		}
	}
	return nil
}

// mostUpdates is more than a parameter can have had.
const mostUpdates = 1 << 48

// moment is a tensor in a file of an optimizer's states: a state, or the scales of one that is kept in codes.
type moment struct {
	name, state, id string
	scales          bool
}

// momentsIn lists the states in a file. What else it may hold is of no use to a stage that comes after it.
func momentsIn(opt *checkpoint.File) (list []moment) {
	for _, name := range opt.Names() {
		state, id, _ := strings.Cut(name, "/")
		of, scales := strings.CutSuffix(state, "_scale")
		if ok, _ := optim.Kept(of); ok {
			list = append(list, moment{name, of, id, scales})
		}
	}
	return list
}

// momentTypes are the types in which states are kept: numbers, and codes of 8 bits, which have scales.
var momentTypes = map[string]gpu.DType{"F32": gpu.F32, "BF16": gpu.BF16, "U8": gpu.U8}

// check returns why no stage can take the tensor over, by its type and shape; nil if one can.
func (x moment) check(opt *checkpoint.File) error {
	shape, _ := opt.Shape(x.name)
	dtype := opt.DType(x.name)
	if _, ok := momentTypes[dtype]; !ok || x.scales && dtype != "F32" {
		return fmt.Errorf("%s is of type %s, in which no optimizer keeps it", foreign.Shown(x.name), dtype)
	}
	if dtype != "U8" {
		return nil
	}
	scale := optim.State{Name: x.state}.Scale(x.id)
	_, want := inFile(shape)
	switch is, ok := opt.Shape(scale); {
	case !ok:
		return fmt.Errorf("%s has no scales, which %s would hold", foreign.Shown(x.name), foreign.Shown(scale))
	case !is.Equal(want.Shape):
		return fmt.Errorf("%s %v has scales %s of %v, and not of %v", foreign.Shown(x.name), shape, foreign.Shown(scale), is, want.Shape)
	}
	return nil
}

// CheckMoments returns why the numbers of an optimizer's state in a folder would spoil what is trained with them; nil if they
// would not. It ends with ctx.
func CheckMoments(ctx context.Context, dir string) error {
	opt, err := checkpoint.Open(filepath.Join(dir, checkpoint.OptimizerFile))
	if err != nil {
		return err
	}
	defer opt.Close()
	for _, x := range momentsIn(opt) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if opt.DType(x.name) == "U8" {
			continue // each code is a number
		}
		v, err := opt.Float32(x.name)
		if err != nil {
			return err
		}
		shape, _ := opt.Shape(x.name)
		var flaw forward.Flaw
		if flaw.Look(foreign.Shown(x.name), shape, v); flaw.Found() {
			return fmt.Errorf("%s: %s; %s", opt.Path(), flaw.String(), withoutMoments)
		}
		if _, positive := optim.Kept(x.state); !positive && !x.scales {
			continue
		}
		if i := slices.IndexFunc(v, func(y float32) bool { return y < 0 }); i >= 0 {
			return fmt.Errorf("%s: %s is %g at %s, and is never below 0; %s", opt.Path(), foreign.Shown(x.name), v[i], shape.Place(i),
				withoutMoments)
		}
	}
	return nil
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

// Ends returns what the result has of an optimizer, as program.Stage's Ends.
func (x *Imported) Ends() (updates map[string]int64, has program.Shapes) {
	updates = map[string]int64{}
	for id, n := range x.steps {
		if to, ok := x.ids[id]; ok {
			updates[to] = n
		}
	}
	shapes := map[string]gpu.Shape{}
	for _, m := range x.moments() {
		shapes[m.Name] = m.Shape
	}
	return updates, func(name string) (gpu.Shape, bool) { shape, ok := shapes[name]; return shape, ok }
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
	updates, _ := x.Ends()
	state := trainstate.State{Recipe: x.recipe, Layers: x.stage.LayerIDs(), OptimizerSteps: updates}
	trainer, err := json.MarshalIndent(state, "", "  ")
	return []checkpoint.Part{checkpoint.Tensors(checkpoint.ModelFile, model),
		checkpoint.Tensors(checkpoint.OptimizerFile, x.moments()),
		checkpoint.Bytes(checkpoint.TrainerFile, append(trainer, '\n'))}, err
}

// moments lists the tensors of the optimizer's state, under the ids of the stage's parameters.
func (x *Imported) moments() (list []checkpoint.Tensor) {
	if x.opt == nil {
		return nil
	}
	for _, m := range momentsIn(x.opt) {
		to, ok := x.ids[m.id]
		if !ok {
			continue
		}
		shape, _ := x.opt.Shape(m.name)
		list = append(list, checkpoint.Tensor{Name: strings.TrimSuffix(m.name, m.id) + to, Shape: shape,
			DType: momentTypes[x.opt.DType(m.name)], Data: func() ([]byte, error) { b, _, err := x.opt.Raw(m.name); return b, err }})
	}
	return list
}
