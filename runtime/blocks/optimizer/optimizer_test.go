package optimizer

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/optim"
	"stepflow/runtime/blocks"
)

// planned plans the optimizer blocks of a pipeline, and returns the last.
func planned(t *testing.T, src string) optim.Optimizer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "main.hcl")
	if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	config, diags := dsl.Load(path, dsl.Inputs{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	done := map[addr.Addr]*blocks.Planned{}
	world := &blocks.World{Find: func(a addr.Addr) *blocks.Planned { return done[a] }, ID: addr.Addr.String}
	scope := config.NewScope()
	var last optim.Optimizer
	for _, b := range config.Blocks {
		d, diags := scope.Decode(b, nil)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		p := &blocks.Planned{Addr: b.Addr, Inputs: map[string]string{}, World: world}
		known, diags := plan(context.Background(), p, d)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		scope.Set(b.Addr, b.Kind.Export(b.Addr.String(), b.Addr.Type, known, d))
		done[b.Addr] = p
		last = p.Block.(*Optimizer).Rule
	}
	return last
}

const rest = "optimizer \"adamw\" \"rest\" { learning_rate = 3e-4 }\n"

// least is a block of a type with its required attributes and more, after a block that it may name.
func least(typ, more string) string {
	src := rest + fmt.Sprintf("optimizer %q \"x\" {\n  learning_rate = 0.02\n  %s\n", typ, more)
	for _, a := range dsl.KindOf("optimizer").Attrs {
		if a.Required && a.Ref != nil && slices.Contains(a.Only, typ) && !slices.Contains(a.Optional, typ) {
			src += "  " + a.Name + " = optimizer.adamw.rest\n"
		}
	}
	return src + "}\n"
}

func TestTypes(t *testing.T) {
	inLanguage := slices.Sorted(slices.Values(dsl.KindOf("optimizer").Types))
	if here := slices.Sorted(maps.Keys(types)); !slices.Equal(here, inLanguage) {
		t.Errorf("the language has the types %v, this package %v", inLanguage, here)
	}
}

// TestDefaults: those of muon are those of torch.optim.Muon.
func TestDefaults(t *testing.T) {
	adamw := optim.AdamW{LearningRate: 3e-4, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, MaxGradNorm: 1, StateDType: "fp32"}
	muon := optim.Muon{LearningRate: 0.02, Momentum: 0.95, Nesterov: true,
		NSCoefficients: [3]float64{3.4445, -4.775, 2.0315}, NSSteps: 5, Eps: 1e-7, WeightDecay: 0.1,
		AdjustLR: "original", MaxGradNorm: 1, StateDType: "fp32"}
	for src, want := range map[string]optim.Optimizer{rest: adamw, least("muon", ""): muon.With(adamw)} {
		if got := planned(t, src); fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
			t.Errorf("%s\ngives %#v\nand not %#v", src, got, want)
		}
	}
}

// TestEveryAttributeCounts: no type forgets an attribute that the language gives it.
func TestEveryAttributeCounts(t *testing.T) {
	for typ := range types {
		usual := fmt.Sprintf("%#v", planned(t, least(typ, "")))
		for _, a := range dsl.KindOf("optimizer").Attrs {
			if a.Required && !slices.Contains(a.Optional, typ) || len(a.Only) > 0 && !slices.Contains(a.Only, typ) {
				continue
			}
			value := "0.5"
			switch {
			case a.Ref != nil:
				value = "optimizer.adamw.rest"
			case a.Below != nil && *a.Below <= 0:
				value = "-0.5"
			case a.Whole:
				value = "3"
			case a.OneOf != nil:
				value = fmt.Sprintf("%q", a.OneOf[1])
			case a.Type == cty.Bool:
				value = fmt.Sprint(a.Default.False())
			case a.Type == cty.List(cty.Number):
				value = "[0.5, 0.6]"
			case a.Type == cty.List(cty.String):
				value = `["*.q_proj.*"]`
			}
			if fmt.Sprintf("%#v", planned(t, least(typ, a.Name+" = "+value))) == usual {
				t.Errorf("%s = %s changes nothing of type %s", a.Name, value, typ)
			}
		}
	}
}

func TestWords(t *testing.T) {
	for _, a := range dsl.KindOf("optimizer").Attrs {
		words := map[string][]string{"adjust_lr_fn": slices.Sorted(maps.Keys(optim.Adjustments)),
			"state_dtype": slices.Sorted(slices.Values(optim.StateDTypes))}[a.Name]
		if inLanguage := slices.Sorted(slices.Values(a.OneOf)); !slices.Equal(words, inLanguage) {
			t.Errorf("of %s the language has %v, ops/optim %v", a.Name, inLanguage, words)
		}
	}
}

// TestGroups: attributes that name optimizers come before others, and what they name may name more.
func TestGroups(t *testing.T) {
	o := planned(t, rest+`
optimizer "adamw" "table" { learning_rate = 1e-5 }
optimizer "adamw" "gains" { learning_rate = 2e-5 }
optimizer "adamw" "around" {
  learning_rate = 3e-5
  norms         = optimizer.adamw.gains
}
optimizer "muon" "x" {
  learning_rate = 0.02
  others        = optimizer.adamw.around
  embeddings    = optimizer.adamw.table
  max_grad_norm = 2
}
`)
	if o.Peak() != 0.02 || o.ClipNorm() != 2 {
		t.Errorf("the rate reported is %v and the bound on the norm %v, not the block's own", o.Peak(), o.ClipNorm())
	}
	for kind, want := range map[ops.Kind]float64{ops.KindLinear: 0.02, ops.KindEmbedding: 1e-5, ops.KindHead: 3e-5,
		ops.KindNorm: 2e-5, ops.KindBias: 2e-5, ops.KindLoraA: 3e-5, ops.KindLoraB: 3e-5} {
		p := ops.Param{ID: "w", Shape: gpu.Shape{4, 4}, Kind: kind}
		if got := o.Rate(p); got != want {
			t.Errorf("the rate of %v is %v, want %v", kind, got, want)
		}
		if muon := strings.HasPrefix(o.States(p, gpu.F32)[0].Name, "muon"); muon != (kind == ops.KindLinear) {
			t.Errorf("%v is updated by muon: %t", kind, muon)
		}
	}
}
