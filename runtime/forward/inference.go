package forward

import (
	"context"

	"stepflow/gpu"
	"stepflow/runtime/program"
)

// inference is a loaded program of inference.
type inference struct {
	program.Inference
	program *gpu.Program
	loaded  gpu.Loaded
	flaw    Flaw // of the weights

	// What the next run reads, as large as the buffers.
	ids, positions, targets, slot, past, count []int32
}

// loadInference loads the program p of x with the weights in a folder.
func loadInference(ctx context.Context, d gpu.Device, p *gpu.Program, x program.Inference, folder string) (*inference, error) {
	from, err := OpenFolder(folder)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	return loadWeights(ctx, d, p, x, from)
}

// loadWeights loads the program p of x with weights.
func loadWeights(ctx context.Context, d gpu.Device, p *gpu.Program, x program.Inference, from Weights) (*inference, error) {
	loaded, err := LoadStoppable(ctx, d, p)
	if err != nil {
		return nil, err
	}
	i := newInference(loaded, p, x)
	if i.flaw, err = load(ctx, loaded, p, x.Params, x.DType, from); err == nil {
		err = setConstants(loaded, p, x.Model, x.Positions(), program.BufTextConst)
	}
	if err != nil {
		loaded.Close()
		return nil, err
	}
	return i, nil
}

// between makes what runs the program p of a stage that is loaded, of which x is the Inference, between its steps.
func between(l gpu.Loaded, p *gpu.Program, x program.Inference) (*inference, error) {
	if err := setConstants(l, p, x.Model, x.Positions(), program.BufTextConst); err != nil {
		return nil, err
	}
	return newInference(l, p, x), nil
}

// newInference makes what runs a program that is loaded.
func newInference(l gpu.Loaded, p *gpu.Program, x program.Inference) *inference {
	i := &inference{Inference: x, program: p, loaded: l}
	for _, b := range i.inputs() {
		if buf, ok := p.Buffer(b.name); ok {
			*b.v = make([]int32, buf.Operand.Type.Shape.Elems())
		}
	}
	return i
}

// input is what the host writes to a buffer: a number for each row of a run, or for each token.
type input struct {
	name     string
	v        *[]int32
	perToken bool
}

func (i *inference) inputs() [6]input {
	return [...]input{{program.BufTextIDs, &i.ids, true}, {program.BufTextPositions, &i.positions, true},
		{program.BufTextTargets, &i.targets, true}, {program.BufTextSlot, &i.slot, false}, {program.BufTextPast, &i.past, false},
		{program.BufTextCount, &i.count, false}}
}

// row is a row of a run: tokens that follow the first past ones of the text in a slot.
type row struct {
	slot, past   int
	ids, targets []int32
}

// feed writes rows of n tokens to the inputs, where a run takes so many rows. The rows that are left over hold nothing that
// is kept or counts.
func (i *inference) feed(rows []row, take, n int) error {
	last := int32(i.Positions() - 1)
	for r := range take {
		var x row
		if r < len(rows) {
			x = rows[r]
		}
		i.slot[r], i.past[r], i.count[r] = int32(x.slot), int32(x.past), int32(len(x.ids))
		for t := range n {
			at := r*n + t
			i.ids[at], i.positions[at] = 0, min(int32(x.past+t), last)
			if t < len(x.ids) {
				i.ids[at] = x.ids[t]
			}
			if i.targets == nil {
				continue
			}
			if i.targets[at] = -1; t < len(x.targets) {
				i.targets[at] = x.targets[t]
			}
		}
	}
	for _, b := range i.inputs() {
		buf, ok := i.program.Buffer(b.name)
		if !ok {
			continue
		}
		to, count := buf.Operand, take
		if b.perToken {
			count *= n
		}
		to.Type.Shape = gpu.Shape{count}
		if err := i.loaded.CopyIn(to, gpu.Int32Bytes((*b.v)[:count])); err != nil {
			return err
		}
	}
	return nil
}

// run runs a segment for rows of n tokens.
func (i *inference) run(segment string, rows []row, take, n int) error {
	if err := i.feed(rows, take, n); err != nil {
		return err
	}
	return Run(i.loaded, i.program, segment)
}

// keep keeps the keys and values of rows of n tokens.
func (i *inference) keep(rows []row, n int) error {
	return i.run(program.SegContext(n), rows, i.ContextRows(n), n)
}

// read reads an output.
func (i *inference) read(name string) ([]float32, error) {
	b, _ := i.program.Buffer(name)
	raw := make([]byte, b.Tensor().Bytes())
	if err := b.CopyOut(i.loaded, raw); err != nil {
		return nil, err
	}
	return gpu.BytesFloat32(raw, b.Operand.Type.DType), nil
}

// pieces cuts what follows the first past tokens of a text, up to kept, into rows that keep it.
func (i *inference) pieces(slot int, ids []int32, past int) (list []row) {
	lengths := i.ContextLengths()
	most := lengths[len(lengths)-1]
	for ; past < len(ids); past += most {
		list = append(list, row{slot: slot, past: past, ids: ids[past:min(past+most, len(ids))]})
	}
	return list
}

// forget clears what is kept.
func (i *inference) forget() error {
	for l := range i.Model.NumHiddenLayers {
		for _, name := range []string{program.BufKeys(l), program.BufValues(l)} {
			b, _ := i.program.Buffer(name)
			if err := i.loaded.CopyIn(b.Operand, make([]byte, b.Operand.Type.Bytes())); err != nil {
				return err
			}
		}
	}
	return nil
}

// diagnose adds to what is wrong the first tensor that is not finite: a weight, else what is computed for a text, ids of
// which are kept, and for the row that follows, by a segment. Nothing is kept of other texts after that.
func (i *inference) diagnose(what string, ids []int32, segment string, last row, take, n int) (string, error) {
	if i.flaw.Found() {
		return what + "; " + i.flaw.String(), nil
	}
	where, err := "", i.forget()
	lengths := i.ContextLengths()
	for _, x := range i.pieces(last.slot, ids, 0) {
		if err != nil || where != "" {
			break
		}
		n := program.Fitting(lengths, len(x.ids))
		if err = i.feed([]row{x}, i.ContextRows(n), n); err == nil {
			where, err = FirstNonFinite(i.loaded, i.program, program.SegContext(n))
		}
	}
	if err == nil && where == "" {
		if err = i.feed([]row{last}, take, n); err == nil {
			where, err = FirstNonFinite(i.loaded, i.program, segment)
		}
	}
	return found(what, where), err
}
