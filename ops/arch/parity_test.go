package arch_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/ref"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/graph"
	"stepflow/runtime/checkpoint"
)

// fixtures holds tiny models with what transformers computes with them (tools/parity/arch_fixture.py).
const fixtures = "testdata/parity"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fixture is a model of transformers: its configuration, its weights, and what was computed with them.
type fixture struct {
	model   arch.Model
	weights *checkpoint.Folder
	want    *checkpoint.File
}

func openFixture(t *testing.T, name string) fixture {
	t.Helper()
	dir := filepath.Join(fixtures, name)
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	must(t, err)
	m, notes, err := arch.ParseConfig(b)
	must(t, err)
	if len(notes) > 0 {
		t.Errorf("%s: %v", name, notes)
	}
	weights, err := checkpoint.OpenFolder(dir)
	must(t, err)
	t.Cleanup(func() { weights.Close() })
	want, err := checkpoint.Open(filepath.Join(dir, "expected.safetensors"))
	must(t, err)
	t.Cleanup(func() { want.Close() })
	return fixture{m, weights, want}
}

func (f fixture) floats(t *testing.T, name string) []float32 {
	t.Helper()
	v, err := f.want.Float32(name)
	must(t, err)
	return v
}

// ids reads token ids or labels, [batch, seq].
func (f fixture) ids(t *testing.T, name string) (v []int32, batch, seq int) {
	t.Helper()
	b, _, err := f.want.Raw(name)
	must(t, err)
	s, _ := f.want.Shape(name)
	for i := 0; i < len(b); i += 4 {
		v = append(v, int32(binary.LittleEndian.Uint32(b[i:])))
	}
	return v, s[0], s[1]
}

// targets are the labels a place further left, as transformers counts its loss; -1 for none.
func (f fixture) targets(t *testing.T) (targets []int32, valid int) {
	labels, _, seq := f.ids(t, "labels")
	for i := range labels {
		x := int32(-1)
		if i%seq < seq-1 && labels[i+1] >= 0 {
			x = labels[i+1]
			valid++
		}
		targets = append(targets, x)
	}
	return targets, valid
}

// machine is what programs run on: what it can do, and how a program is loaded.
type machine struct {
	caps gpu.Caps
	load func(p *gpu.Program) (gpu.Loaded, error)
}

// machines are the devices on which the models are compared.
var machines = map[string]func(t *testing.T) machine{
	"cpu": func(t *testing.T) machine {
		d, err := cpu.Open(2, os.Getenv("STEPFLOW_CPU_ISA"))
		must(t, err)
		t.Cleanup(func() { d.Close() })
		return machine{d.Caps(), d.Load}
	},
	"ref": func(t *testing.T) machine {
		return machine{gpu.Caps{Alignment: 64}, func(p *gpu.Program) (gpu.Loaded, error) { return ref.Open(p) }}
	},
}

// run is a model on a machine, with its weights loaded.
type run struct {
	t       *testing.T
	params  []ops.Param
	program *gpu.Program
	loaded  gpu.Loaded
}

// params lists the parameters of a model, under their names.
func params(m arch.Model) []ops.Param {
	list := m.Declare(make([]string, m.NumHiddenLayers))
	for i := range list {
		list[i].ID = list[i].Name
	}
	return list
}

// start compiles logits, loss and gradients for a batch, and writes the weights.
func start(t *testing.T, on machine, m arch.Model, batch, seq int, weight func(name string) []float32) *run {
	t.Helper()
	g := graph.New()
	leaf := func(name string, role gpu.Role, d gpu.DType, shape ...int) graph.Value {
		return g.Leaf(name, role, gpu.Type{Shape: shape, DType: d})
	}
	r := &run{t: t, params: params(m)}
	weights := map[string]graph.Value{}
	var wanted, grads []graph.Value
	for _, p := range r.params {
		weights[p.Name] = leaf(p.Name, gpu.RoleWeight, gpu.F32, p.Shape...)
		wanted = append(wanted, weights[p.Name])
		grads = append(grads, leaf("grad."+p.Name, gpu.RoleGradient, gpu.F32, p.Shape...))
	}
	in := arch.Inputs{IDs: leaf("ids", gpu.RoleInput, gpu.I32, batch, seq), Constants: map[string]graph.Value{}}
	for _, c := range m.Constants(seq) {
		in.Constants[c.Name] = leaf(c.Name, gpu.RoleConst, gpu.F32, c.Shape...)
	}
	targets, scale := leaf("targets", gpu.RoleInput, gpu.I32, batch, seq), leaf("scale", gpu.RoleInput, gpu.F32, 1)
	logits := leaf("logits", gpu.RoleOutput, gpu.F32, batch, seq, m.VocabSize)
	loss := leaf("loss", gpu.RoleOutput, gpu.F32, batch, seq)
	byName := func(name string) graph.Value { return weights[name] }
	g.Segment("logits", gpu.Forward)
	g.Update(logits, m.Logits(g, byName, in, arch.Plain))
	g.Segment("loss", gpu.Forward)
	nll := m.Loss(g, byName, in, targets, 7, arch.Plain)
	seed := g.Op1("broadcast", gpu.Attrs{}, scale, loss)
	g.Update(loss, nll)
	for i, d := range g.Grad(nll, seed, wanted, nil) {
		g.Update(grads[i], d)
	}
	var err error
	r.program, err = graph.Compile(g, on.caps)
	must(t, err)
	r.loaded, err = on.load(r.program)
	must(t, err)
	for _, p := range r.params {
		r.set(p.Name, gpu.Float32Bytes(weight(p.Name), gpu.F32))
	}
	for _, c := range m.Constants(seq) {
		r.set(c.Name, gpu.Float32Bytes(c.Values(), gpu.F32))
	}
	return r
}

func (r *run) operand(name string) gpu.Operand {
	b, ok := r.program.Buffer(name)
	if !ok {
		r.t.Fatalf("no buffer %s", name)
	}
	return b.Operand
}

func (r *run) set(name string, b []byte) {
	r.t.Helper()
	must(r.t, r.loaded.CopyIn(r.operand(name), b))
}

func (r *run) get(name string) []float32 {
	r.t.Helper()
	o := r.operand(name)
	b := make([]byte, o.Type.Bytes())
	must(r.t, r.loaded.CopyOut(b, o))
	return gpu.BytesFloat32(b, gpu.F32)
}

// compute runs everything on the batch of the fixture.
func (r *run) compute(f fixture) {
	r.t.Helper()
	ids, _, _ := f.ids(r.t, "ids")
	targets, valid := f.targets(r.t)
	r.set("ids", gpu.Int32Bytes(ids))
	r.set("targets", gpu.Int32Bytes(targets))
	r.set("scale", gpu.Float32Bytes([]float32{1 / float32(valid)}, gpu.F32))
	must(r.t, r.loaded.Run(0, len(r.program.Launches), false))
}

// least is the magnitude from which a tensor is compared relatively. The gradient of a bias of k is zero but for
// rounding where nothing is rotated: it adds the same to all scores of a query.
const least = 1e-3

// near compares with a tolerance relative to the largest magnitude wanted.
func near(t *testing.T, what string, got, want []float32, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	scale, worst := least, 0.0
	for i := range want {
		scale = math.Max(scale, math.Abs(float64(want[i])))
		worst = math.Max(worst, math.Abs(float64(got[i])-float64(want[i])))
	}
	if !(worst <= tol*scale) {
		t.Errorf("%s differs by %.2g of its largest magnitude %.3g, allowed %g", what, worst/scale, scale, tol)
	}
}

// each calls f with every fixture, and requires one of each architecture. Of Llama it has LayerNorm scaling; the runtime has
// others.
func each(t *testing.T, f func(t *testing.T, name string, x fixture)) {
	entries, err := os.ReadDir(fixtures)
	must(t, err)
	tried := map[string]bool{}
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			x := openFixture(t, e.Name())
			tried[x.model.Arch.Type] = true
			f(t, e.Name(), x)
		})
	}
	for _, a := range arch.All() {
		if !tried[a.Type] {
			t.Errorf("there is no fixture of %s", a.Type)
		}
	}
}

// TestFixturesAreWhole compares what a model declares with the tensors of transformers.
func TestFixturesAreWhole(t *testing.T) {
	each(t, func(t *testing.T, _ string, x fixture) {
		wanted := map[string]bool{}
		for p := range x.model.Wants() {
			if shape, ok := x.weights.Shape(p.Name); !ok || !shape.Equal(p.Shape) {
				t.Errorf("%s is %v, not %v", p.Name, shape, p.Shape)
			}
			wanted[p.Name] = true
		}
		for _, name := range x.weights.Names() {
			if !wanted[name] {
				t.Errorf("%s is not declared", name)
			}
		}
	})
}

// TestParity compares logits, loss and the gradients of all parameters with those of transformers.
func TestParity(t *testing.T) {
	for device, open := range machines {
		t.Run(device, func(t *testing.T) {
			each(t, func(t *testing.T, _ string, x fixture) {
				_, batch, seq := x.ids(t, "ids")
				r := start(t, open(t), x.model, batch, seq, func(name string) []float32 {
					v, err := x.weights.Float32(name)
					must(t, err)
					return v
				})
				r.compute(x)
				near(t, "logits", r.get("logits"), x.floats(t, "logits"), 1e-5)
				_, valid := x.targets(t)
				var sum float64
				for _, v := range r.get("loss") {
					sum += float64(v)
				}
				near(t, "loss", []float32{float32(sum / float64(valid))}, x.floats(t, "loss"), 1e-6)
				for _, p := range r.params {
					near(t, "gradient of "+p.Name, r.get("grad."+p.Name), x.floats(t, "grad."+p.Name), 1e-4)
				}
			})
		})
	}
}

// TestFoldedModelIsTheSame compares the logits of a model with LayerNorm scaling with those of the plain one of folded gains,
// bit for bit.
func TestFoldedModelIsTheSame(t *testing.T) {
	x := openFixture(t, "llama_lns")
	_, batch, seq := x.ids(t, "ids")
	logits := func(m arch.Model, fold bool) []float32 {
		named := map[string]ops.Param{}
		for _, p := range params(m) {
			named[p.Name] = p
		}
		r := start(t, machines["cpu"](t), m, batch, seq, func(name string) []float32 {
			v, err := x.weights.Float32(name)
			must(t, err)
			if fold {
				x.model.Fold(named[name], v, gpu.F32)
			}
			return v
		})
		r.compute(x)
		return r.get("logits")
	}
	want := logits(x.model, false)
	if !slices.Equal(logits(x.model.Folded(), true), want) {
		t.Error("other logits")
	}
	if slices.Equal(logits(x.model.Folded(), false), want) {
		t.Error("the factors change nothing")
	}
}

// TestNewLayersAreTheIdentity puts a copy of a layer above it with its residual outputs at zero: the logits stay, and
// the tensors at zero get gradients that are no larger than those of the layer they are copied from.
func TestNewLayersAreTheIdentity(t *testing.T) {
	each(t, func(t *testing.T, _ string, x fixture) {
		from := []int{0}
		for i := range x.model.NumHiddenLayers {
			from = append(from, i)
		}
		deeper := x.model.Grown(from, func(i int) bool { return i != 1 })
		source := map[string]string{}
		zero := map[string]bool{}
		for _, p := range params(deeper) {
			name := p.Name
			if p.Layer > 0 {
				name = arch.LayerPrefix(from[p.Layer]) + p.Name[len(arch.LayerPrefix(p.Layer)):]
			}
			source[p.Name], zero[p.Name] = name, p.Layer == 1 && deeper.ResidualOutput(p)
		}
		_, batch, seq := x.ids(t, "ids")
		r := start(t, machines["cpu"](t), deeper, batch, seq, func(name string) []float32 {
			v, err := x.weights.Float32(source[name])
			must(t, err)
			if zero[name] {
				clear(v)
			}
			return v
		})
		r.compute(x)
		near(t, "logits", r.get("logits"), x.floats(t, "logits"), 1e-5)
		largest := func(v []float32) (m float64) {
			for _, g := range v {
				m = math.Max(m, math.Abs(float64(g)))
			}
			return m
		}
		for name, is := range zero {
			got, usual := largest(r.get("grad."+name)), largest(x.floats(t, "grad."+source[name]))
			if is && (got == 0 || !(got < 10*usual)) {
				t.Errorf("the gradient of %s reaches %g, that of the layer below %g", name, got, usual)
			}
		}
	})
}

// TestPartsMayChangePlaces shuffles the parts of each layer: the logits stay.
func TestPartsMayChangePlaces(t *testing.T) {
	each(t, func(t *testing.T, _ string, x fixture) {
		r := rand.New(rand.NewPCG(1, 2))
		orders := make([][][]int, x.model.NumHiddenLayers) // of a layer, of a kind of parts
		for l := range orders {
			for _, parts := range x.model.Parts() {
				var order []int
				for range parts.Groups {
					order = append(order, r.Perm(parts.Count)...)
				}
				orders[l] = append(orders[l], order)
			}
		}
		shuffled := map[string]bool{}
		weights := map[string][]float32{}
		for _, p := range params(x.model) {
			v, err := x.weights.Float32(p.Name)
			must(t, err)
			if weights[p.Name] = v; p.Layer < 0 {
				continue
			}
			name := strings.TrimPrefix(p.Name, arch.LayerPrefix(p.Layer))
			for i, parts := range x.model.Parts() {
				if parts.Has(name) {
					weights[p.Name] = parts.Permuted(name, p.Shape, weights[p.Name], orders[p.Layer][i])
				}
			}
			shuffled[name] = shuffled[name] || !slices.Equal(v, weights[p.Name])
		}
		for name, is := range shuffled {
			if fixed := strings.Contains(name, "layernorm") || strings.Contains(name, "o_proj.bias") ||
				strings.Contains(name, "down_proj.bias") || x.model.Arch.Features.QKNorm == arch.QKNormPerHead && strings.Contains(name, "_norm."); is == fixed {
				t.Errorf("%s was shuffled: %t", name, is)
			}
		}
		_, batch, seq := x.ids(t, "ids")
		run := start(t, machines["cpu"](t), x.model, batch, seq, func(name string) []float32 { return weights[name] })
		run.compute(x)
		near(t, "logits", run.get("logits"), x.floats(t, "logits"), 1e-5)
	})
}

// TestExportedConfigs writes what a folder of an export needs for transformers, to compare it with
// tools/parity/arch_fixture.py.
func TestExportedConfigs(t *testing.T) {
	out := os.Getenv("STEPFLOW_ARCH_EXPORTED")
	if out == "" {
		t.Skip("STEPFLOW_ARCH_EXPORTED names no folder: make parity makes one")
	}
	each(t, func(t *testing.T, name string, x fixture) {
		dir := filepath.Join(out, name)
		must(t, os.MkdirAll(dir, 0o755))
		b, err := x.model.Folded().ConfigJSON(map[string]any{"bos_token_id": nil, "eos_token_id": 0, "pad_token_id": nil, "dtype": "float32"})
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "config.json"), b, 0o644))
		b, err = os.ReadFile(filepath.Join(fixtures, name, "expected.safetensors"))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "expected.safetensors"), b, 0o644))
		var weights []checkpoint.Tensor
		for _, p := range params(x.model) {
			weights = append(weights, checkpoint.Tensor{Name: p.Name, Shape: p.Shape, DType: gpu.F32, Data: func() ([]byte, error) {
				v, err := x.weights.Float32(p.Name)
				x.model.Fold(p, v, gpu.F32)
				return gpu.Float32Bytes(v, gpu.F32), err
			}})
		}
		part := checkpoint.Tensors(checkpoint.ModelFile, weights)
		f, err := os.Create(filepath.Join(dir, part.Name))
		must(t, err)
		must(t, part.Fill(f))
		must(t, f.Close())
	})
}
