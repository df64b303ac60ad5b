package optim_test

import (
	"fmt"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/ref"
	"stepflow/ops"
	"stepflow/ops/graph"
	"stepflow/ops/optim"
)

// emulated opens the CUDA device on the emulator; nil without the tag cudaemu.
var emulated func(t *testing.T) gpu.Device

// devices opens the reference, the CPU with the code of each instruction set, and CUDA where it is emulated.
func devices(t *testing.T) map[string]gpu.Device {
	list := map[string]gpu.Device{"ref": &ref.Device{}}
	if emulated != nil {
		list["cuda"] = emulated(t)
	}
	for _, isa := range cpu.Variants() {
		d, err := cpu.Open(2, isa)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		list[isa] = d
	}
	return list
}

// model is a few parameters with an optimizer, loaded on a device.
type model struct {
	t      *testing.T
	o      optim.Optimizer
	params []ops.Param
	dtype  gpu.DType
	p      *gpu.Program
	l      gpu.Loaded
	steps  int64
}

func load(t *testing.T, d gpu.Device, o optim.Optimizer, params []ops.Param, dtype gpu.DType) *model {
	t.Helper()
	p, err := graph.Compile(updates(o, params, dtype), d.Caps())
	if err != nil {
		t.Fatal(err)
	}
	l, err := d.Load(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &model{t: t, o: o, params: params, dtype: dtype, p: p, l: l}
}

// updates is the graph of an update segment alone.
func updates(o optim.Optimizer, params []ops.Param, dtype gpu.DType) *graph.Graph {
	g := graph.New()
	out := g.Leaf("norm", gpu.RoleOutput, gpu.Type{Shape: gpu.Shape{1}, DType: gpu.F32})
	slots := make([]optim.Slot, len(params))
	for i, p := range params {
		t := gpu.Type{Shape: p.Shape, DType: dtype}
		slots[i] = optim.NewSlot(g, o, p, g.Leaf(p.ID, gpu.RoleWeight, t), g.Leaf("grad/"+p.ID, gpu.RoleGradient, t),
			g.Leaf("hyper/"+p.ID, gpu.RoleInput, gpu.Type{Shape: gpu.Shape{gpu.HyperLen}, DType: gpu.F32}))
	}
	for _, every := range optim.Intervals(o, params) {
		g.Segment(fmt.Sprint("refresh ", every), gpu.Update)
		optim.BuildRefresh(g, o, slots, every)
	}
	g.Segment("update", gpu.Update)
	norm, _ := optim.Build(g, o, slots)
	g.Update(out, norm)
	return g
}

func matrices(shapes []gpu.Shape) (params []ops.Param) {
	for i, s := range shapes {
		name := fmt.Sprintf("model.layers.%d.weight", i)
		params = append(params, ops.Param{ID: fmt.Sprint("w", i), Name: name, Shape: s, Layer: i, Kind: ops.KindLinear})
	}
	return params
}

func (m *model) set(name string, v []float32) {
	m.t.Helper()
	b, ok := m.p.Buffer(name)
	if !ok {
		m.t.Fatalf("there is no buffer %s", name)
	}
	if err := m.l.CopyIn(b.Operand, b.Operand.Type.Encode(v)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) get(name string) []float32 {
	m.t.Helper()
	b, ok := m.p.Buffer(name)
	if !ok {
		m.t.Fatalf("there is no buffer %s", name)
	}
	to := make([]byte, b.Operand.Type.Bytes())
	if err := m.l.CopyOut(to, b.Operand); err != nil {
		m.t.Fatal(err)
	}
	return b.Operand.Type.Decode(to)
}

// start gives a parameter its first value, and its states theirs.
func (m *model) start(p ops.Param, v []float32) {
	m.set(p.ID, v)
	for _, s := range m.o.States(p, m.dtype) {
		first := make([]float32, s.Type.Shape.Elems())
		if s.Copy {
			first = v
		}
		m.set(s.Buffer(p.ID), first)
	}
}

func (m *model) run(segment string) {
	m.t.Helper()
	s, ok := m.p.Segment(segment)
	if !ok {
		m.t.Fatalf("there is no segment %s", segment)
	}
	if err := m.l.Run(s.Lo, s.Hi, false); err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) step(grads [][]float32, factor float64) (norm float64) {
	m.t.Helper()
	m.steps++
	for i, p := range m.params {
		m.set("grad/"+p.ID, grads[i])
		hyper := m.o.Scalars(p, m.o.Rate(p)*factor, m.steps)
		m.set("hyper/"+p.ID, hyper[:])
	}
	for _, every := range optim.Intervals(m.o, m.params) {
		if optim.Due(m.o, m.params, every, func(ops.Param) int64 { return m.steps - 1 }) {
			m.run(fmt.Sprint("refresh ", every))
		}
	}
	m.run("update")
	if _, err := m.l.Sync(); err != nil {
		m.t.Fatal(err)
	}
	return float64(m.get("norm")[0])
}
