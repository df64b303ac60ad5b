package train

import (
	"encoding/json"
	"runtime/debug"

	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
)

func (t *trainer) tensor(name, buffer string) checkpoint.Tensor {
	b := t.named(buffer)
	tensor := b.Tensor()
	return checkpoint.Tensor{Name: name, Shape: tensor.Shape, DType: tensor.DType, Data: func() ([]byte, error) {
		n := int(tensor.Bytes())
		if cap(t.buffer) < n {
			t.buffer = make([]byte, n)
		}
		return t.buffer[:n], b.CopyOut(t.loaded, t.buffer[:n])
	}}
}

// save writes a checkpoint: its tensors, the trainer's state and the files given, of which the first says where it comes
// from. final has the adapters merged, and apart from the model as they were before that; or, where they are kept apart, beside
// it, as a checkpoint has them.
func (t *trainer) save(dir string, files []checkpoint.Part, final bool) (id string, err error) {
	t.buffer = make([]byte, t.largest())
	defer t.release()
	model, adapter, opt := t.tensors(final)
	trainer, err := t.stateJSON(final)
	if err != nil {
		return "", err
	}
	parts := append(append([]checkpoint.Part(nil), files...), checkpoint.Tensors(checkpoint.ModelFile, model),
		checkpoint.Tensors(checkpoint.OptimizerFile, opt), checkpoint.Bytes(checkpoint.TrainerFile, append(trainer, '\n')))
	if len(adapter) > 0 {
		parts = append(parts, checkpoint.Tensors(checkpoint.AdapterFile, adapter))
	}
	if final && len(t.apart) > 0 {
		parts = append(parts, checkpoint.Tensors(checkpoint.AdaptersIn(t.stage.KeepApart), t.apart))
	}
	if t.comm == nil {
		return checkpoint.Write(dir, parts)
	}
	return checkpoint.WriteTogether(t.comm, t.agree, dir, parts)
}

// release gives back what saving took. If that was much, the system has it at once: the collector would let as much garbage lie
// until it runs again.
func (t *trainer) release() {
	const much = 16 << 20
	n := len(t.buffer)
	if t.buffer = nil; n > much {
		debug.FreeOSMemory()
	}
}

// tensors lists what a checkpoint holds of the model, of its adapters, and of the optimizer's state.
func (t *trainer) tensors(final bool) (model, adapter, opt []checkpoint.Tensor) {
	s := t.stage
	for _, p := range s.Params {
		if s.Composed[p.ID] {
			if final {
				model = append(model, t.composedTensor(p))
			}
			continue
		}
		if s.Narrow(p) {
			model = append(model, t.plainTensor(p, final && !s.KeepApart))
			continue
		}
		x := t.tensor(p.Name, p.ID)
		x.Rank = t.owners[p.ID]
		model = append(model, x)
	}
	opt = t.storedTensors(final)
	if !final {
		for _, p := range peft.Params(s.Adapters) {
			adapter = append(adapter, t.tensor(checkpoint.AdapterPrefix+p.Name, p.ID))
		}
		adapter = append(adapter, t.placesTensors()...)
		opt = append(opt, t.firstTensors()...)
		for _, a := range s.Adapters {
			if name := program.BufRemainder(a.Target.ID); t.has(name) {
				opt = append(opt, t.tensor(name, name))
			}
		}
	}
	for _, p := range s.Trainable() {
		if final && p.Kind.IsAdapter() {
			continue
		}
		for _, x := range s.States(p) {
			opt = append(opt, t.stateTensors(x, p)...)
		}
	}
	return model, adapter, opt
}

// stateJSON is the trainer's state; of a final one without what is of adapters.
func (t *trainer) stateJSON(final bool) ([]byte, error) {
	state := t.state
	if final {
		state.OptimizerSteps = map[string]int64{}
		for _, p := range t.stage.Params {
			if n := t.state.OptimizerSteps[p.ID]; n > 0 {
				state.OptimizerSteps[p.ID] = n
			}
		}
	}
	return json.MarshalIndent(state, "", "  ")
}
