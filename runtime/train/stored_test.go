package train

import (
	"bytes"
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
)

// narrowTrainer is the fixture's model with all projections frozen in a type, and the fixture's adapters on three of them.
func narrowTrainer(t *testing.T, in gpu.DType, change func(*program.Stage)) (*trainer, *expected, string) {
	t.Helper()
	cfg, e, dir := readExpected(t, "untied_gqa")
	spec := peft.Spec{Method: "lora", R: 3, Alpha: 5, TargetModules: []string{"q_proj", "v_proj", "down_proj"}}
	tr := parityTrainer(t, cfg, e, dir, 2, func(s *program.Stage) {
		s.FrozenDType = in
		for _, p := range s.Params {
			s.Frozen[p.ID] = true
		}
		as, err := spec.Match(s.Params, ops.InLayers)
		must(t, err)
		s.Peft, s.Adapters = &spec, as
		if change != nil {
			change(s)
		}
	})
	for _, p := range peft.Params(tr.stage.Adapters) {
		must(t, tr.setWeight(p, e.floats(t, p.Name)))
	}
	return tr, e, dir
}

// What PEFT computes on weights that bitsandbytes has quantised (tools/parity/quantized_lora_fixture.py): the loss, the
// gradients of adapters, and the sum of weight and adapter.
func TestParityQuantizedLoRA(t *testing.T) {
	for name, in := range map[string]gpu.DType{"nf4": gpu.NF4, "int8": gpu.RowInt8} {
		t.Run(name, func(t *testing.T) {
			tr, e, dir := narrowTrainer(t, in, nil)
			if n := len(tr.stage.AllNarrow()); n != 14 || tr.narrow.matrices != n {
				t.Fatalf("%d projections are stored in %v, %d of them counted; the model has 14", n, in, tr.narrow.matrices)
			}
			f, err := checkpoint.Open(filepath.Join(dir, "quantized.safetensors"))
			must(t, err)
			defer f.Close()
			floats := func(what string) []float32 { v, err := f.Float32(name + "." + what); must(t, err); return v }
			tr.gradients(t, e, 0)
			loss, err := tr.get(program.BufLoss)
			must(t, err)
			want := float64(floats("loss")[0])
			relative(t, "loss", float64(loss[0]), want, 2e-6)
			if math.Abs(want-e.LoraLoss) < 1e-3 {
				t.Errorf("the loss %g is that of weights in fp32", want)
			}
			for _, p := range peft.Params(tr.stage.Adapters) {
				g, err := tr.get(program.BufGrad(p.ID))
				must(t, err)
				near(t, "gradient of "+p.Name, g, floats("grad."+p.Name), 1e-4)
			}
			for i, a := range tr.stage.Adapters {
				if a.Target.Name == "model.layers.1.self_attn.q_proj.weight" {
					v, product, lost, err := tr.plain(a.Target, &tr.stage.Adapters[i])
					must(t, err)
					near(t, "merged "+a.Target.Name, v, floats("merged"), 1e-6)
					if product <= 0 || lost != 0 {
						t.Errorf("a merge in fp32 adds %g and loses %g", product, lost)
					}
				}
			}
		})
	}
}

// A checkpoint holds how weights are stored: the bits come back, though quantising what they stand for would give others.
func TestQuantizedCheckpoint(t *testing.T) {
	for _, d := range []struct{ weights, in gpu.DType }{
		{gpu.F32, gpu.NF4}, {gpu.BF16, gpu.NF4}, {gpu.BF16, gpu.RowInt8}, {gpu.F32, gpu.BF16},
	} {
		tr, _, _ := narrowTrainer(t, d.in, func(s *program.Stage) { s.DType = d.weights })
		raw := func() (all []byte) {
			for _, p := range tr.stage.AllNarrow() {
				b := tr.named(p.ID)
				v := make([]byte, b.Tensor().Bytes())
				must(t, b.CopyOut(tr.loaded, v))
				all = append(all, v...)
			}
			return all
		}
		want, root := raw(), t.TempDir()
		save := func(name string, final bool) string {
			dir := filepath.Join(root, name)
			_, err := tr.save(dir, []checkpoint.Part{checkpoint.Bytes(checkpoint.NoteName, []byte("{}"))}, final)
			must(t, err)
			if !final { // whose adapters nothing kept before
				asPlanned(t, d.in.String(), tr, dir, false)
			}
			return dir
		}
		dir := save("step", false)
		for _, p := range tr.stage.AllNarrow() {
			must(t, tr.set(p.ID, make([]float32, p.Shape.Elems())))
		}
		must(t, tr.restore(context.Background(), stored{dir: dir}))
		if !bytes.Equal(raw(), want) {
			t.Errorf("%v in %v: other bits come back", d.weights, d.in)
		}

		// The result has the sums, in the type of the weights.
		f, err := checkpoint.Open(filepath.Join(save("final", true), checkpoint.ModelFile))
		must(t, err)
		defer f.Close()
		for i := range tr.stage.Adapters {
			a := &tr.stage.Adapters[i]
			got, err := f.Float32(a.Target.Name)
			must(t, err)
			sum, _, _, err := tr.plain(a.Target, a)
			must(t, err)
			near(t, a.Target.Name, got, sum, 0)
			base, err := tr.get(a.Target.ID)
			must(t, err)
			product := make([]float32, len(base))
			down, err := tr.get(a.A.ID)
			must(t, err)
			up, err := tr.get(a.B.ID)
			must(t, err)
			peft.AddProduct(product, up, down, tr.stage.Peft.Scale(), a.A.Shape[0], a.Target.Shape[1])
			for j := range base {
				base[j] += product[j]
			}
			near(t, a.Target.Name+" by hand", got, base, map[gpu.DType]float64{gpu.F32: 1e-6, gpu.BF16: 1.0 / 100}[d.weights])
		}
		must(t, tr.mergeNarrow(context.Background()))
		if m := tr.state.Merges; m.Product <= 0 || (m.Lost > 0) != (d.weights == gpu.BF16) {
			t.Errorf("%v: merges add %g and lose %g", d.weights, m.Product, m.Lost)
		}
	}
}

// The result of a stage is the model that it trained: a stage that starts from it, all in fp32, has the same losses.
func TestQuantizedResultIsWhatWasTrained(t *testing.T) {
	for _, in := range []gpu.DType{gpu.NF4, gpu.RowInt8, gpu.BF16} {
		tr, e, _ := narrowTrainer(t, in, nil)
		tr.gradients(t, e, 0)
		want, err := tr.probe()
		must(t, err)
		dir := filepath.Join(t.TempDir(), "final")
		_, err = tr.save(dir, []checkpoint.Part{checkpoint.Bytes(checkpoint.NoteName, []byte("{}"))}, true)
		must(t, err)
		again := parityTrainer(t, tr.stage.Model, e, dir, 2, nil)
		again.gradients(t, e, 0)
		got, err := again.probe()
		must(t, err)
		near(t, "losses after "+in.String(), got, want, 1e-5)
	}
}

func TestNarrowRefuses(t *testing.T) {
	tr, _, _ := narrowTrainer(t, gpu.NF4, nil)
	p := tr.stage.AllNarrow()[0]
	v := make([]float32, p.Shape.Elems())
	must(t, tr.setWeight(p, v)) // zeros are as good as any
	v[3] = float32(math.Inf(1))
	if err := tr.setWeight(p, v); err == nil || !strings.Contains(err.Error(), p.Name+": [0, 3] is +Inf") {
		t.Error(err)
	}
	for i := range v {
		v[i] = 0.039 * float32(1-2*(i%2))
	}
	for i := 0; i < len(v); i += 64 {
		v[i] = 1 // a block has one large weight, and all others lie between two levels
	}
	if err := tr.setWeight(p, v); err == nil || !strings.Contains(err.Error(), "storing it in nf4 changes it by") {
		t.Error(err)
	}
}
