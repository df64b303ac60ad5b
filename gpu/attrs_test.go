package gpu_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
)

// recorded is a program whose hash was recorded before attributes were left out at zero.
func recorded() *gpu.Program {
	f := func(at int64, n ...int) gpu.Operand {
		return gpu.Operand{Offset: at, Type: gpu.Type{Shape: n, DType: gpu.F32}}
	}
	return &gpu.Program{ArenaBytes: 4096, ResidentBytes: 256, TransientBytes: 3840,
		Buffers:  []gpu.Buffer{{Name: "x", Role: gpu.RoleInput, Operand: f(0, 4, 4)}},
		Segments: []gpu.Segment{{Name: "run", Lo: 0, Hi: 5}},
		Launches: []gpu.Launch{
			{Kernel: "matmul", Attrs: gpu.Attrs{TransB: true, Alpha: 0.5},
				In: []gpu.Operand{f(0, 4, 4), f(64, 4, 4)}, Out: []gpu.Operand{f(256, 4, 4)},
				FLOPs: 128, Bytes: 192, Phase: gpu.Forward, Layer: 1, Name: "layers.1.mlp"},
			{Kernel: "rope", Attrs: gpu.Attrs{Heads: 2, Inverse: true},
				In:  []gpu.Operand{f(256, 1, 4, 4), f(512, 4, 1), f(576, 4, 1)},
				Out: []gpu.Operand{f(1024, 1, 4, 4)}, Deps: []int32{0}, Phase: gpu.Backward, Layer: -1, Recomputed: true},
			{Kernel: "slice", Attrs: gpu.Attrs{Lo: 1, Cols: 2},
				In: []gpu.Operand{f(1024, 4, 4)}, Out: []gpu.Operand{f(2048, 4, 2)}},
			{Kernel: "cast", Attrs: gpu.Attrs{DType: gpu.BF16}, In: []gpu.Operand{f(2048, 4, 2)},
				Out: []gpu.Operand{{Offset: 3000, Type: gpu.Type{Shape: gpu.Shape{4, 2}, DType: gpu.BF16}}}},
			{Kernel: "zero", In: []gpu.Operand{f(0, 4)}, Out: []gpu.Operand{f(0, 4)}, Phase: gpu.Update},
		}}
}

func TestHashesStay(t *testing.T) {
	if got, want := recorded().Hash(), "00157f22c60f8e6190f733a026db4ec64c3cf75a4dd8222f95e56e79bc6721a9"; got != want {
		t.Errorf("the program's hash is %s, recorded was %s", got, want)
	}
	const want = `{"TransA":false,"TransB":false,"Alpha":0,"Eps":0,"Heads":0,"KVHeads":0,"Inverse":false,"Rows":0,` +
		`"Chunk":0,"Frozen":false,"MaxNorm":0,"Beta1":0,"Beta2":0,"WeightDecay":0,"DType":0}`
	b, err := json.Marshal(gpu.Attrs{})
	if err != nil || string(b) != want {
		t.Errorf("attributes at zero are %s, %v; recorded was %s", b, err, want)
	}
}

// with returns attributes of which one field is not zero.
func with(t *testing.T, f reflect.StructField) gpu.Attrs {
	t.Helper()
	var a gpu.Attrs
	switch v := reflect.ValueOf(&a).Elem().FieldByIndex(f.Index); v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(3)
	case reflect.Float64:
		v.SetFloat(3)
	case reflect.Uint8:
		v.SetUint(uint64(gpu.BF16))
	default:
		t.Fatalf("%s is of a kind that this test does not set", f.Name)
	}
	return a
}

// TestEveryAttributeCounts: whichever is not zero, the hash of the program is another.
func TestEveryAttributeCounts(t *testing.T) {
	hashes := map[string]string{recorded().Hash(): "none"}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[gpu.Attrs]()) {
		p := recorded()
		p.Launches[4].Attrs = with(t, f)
		if other, ok := hashes[p.Hash()]; ok {
			t.Errorf("a program with %s set has the hash of one with %s", f.Name, other)
		}
		hashes[p.Hash()] = f.Name
	}
}

// TestAttributesAreRead: a kernel refuses what its row does not name, and each attribute that it names is set in a case
// that devices are tried with.
func TestAttributesAreRead(t *testing.T) {
	tried := map[string]bool{}
	fields := reflect.VisibleFields(reflect.TypeFor[gpu.Attrs]())
	for _, c := range gputest.Cases() {
		for _, f := range fields {
			if !reflect.ValueOf(c.Attrs).FieldByIndex(f.Index).IsZero() {
				tried[c.Kernel+" "+f.Name] = true
			}
		}
	}
	for _, k := range gpu.Kernels() {
		if k.Collective { // see gputest.RunRanks
			continue
		}
		for _, f := range fields {
			_, err := k.Infer(with(t, f), nil)
			refused := err != nil && strings.Contains(err.Error(), "does not read the attribute "+f.Name)
			if named := slices.Contains(k.Attrs, f.Name); refused == named {
				t.Errorf("%s names %v, and %s gives the error %v", k.Name, k.Attrs, f.Name, err)
			} else if named && !tried[k.Name+" "+f.Name] {
				t.Errorf("no case tries %s with %s", k.Name, f.Name)
			}
		}
	}
}
