package stage

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/ops"
	adapters "stepflow/ops/peft"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/peft"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
)

// freeze notes which parameters do not train.
func (s *Stage) freeze(_ *blocks.Planned, d *dsl.Decoded) (diags hcl.Diagnostics) {
	for _, word := range d.Strs("freeze") {
		var keep func(ops.Param) bool
		part := program.Parts[word]
		switch {
		case word == "lm_head" && s.Model.TieWordEmbeddings:
			diags = append(diags, d.Error("freeze", "Tied embeddings",
				"The head is the embedding table of this model (tie_word_embeddings): freeze \"embeddings\" instead, or neither."))
			continue
		case part != nil:
			keep = func(x ops.Param) bool { return part(&s.Stage, x) }
		case strings.HasPrefix(word, "layers:"):
			lo, hi, err := layerRange(strings.TrimPrefix(word, "layers:"), len(s.Layers))
			if err != nil {
				diags = append(diags, d.Error("freeze", "Invalid layers", blocks.Sentence(err.Error())+"."))
				continue
			}
			keep = func(x ops.Param) bool { return x.Layer >= lo && x.Layer <= hi }
		default:
			keep = func(x ops.Param) bool { ok, err := path.Match(word, x.Name); return err == nil && ok }
		}
		hit := false
		for _, x := range s.Params {
			if keep(x) {
				s.Frozen[x.ID], hit = true, true
			}
		}
		if !hit {
			words := slices.Sorted(maps.Keys(program.Parts))
			var names []string
			for _, x := range s.Params {
				names = append(names, x.Name)
			}
			like := ""
			if len(names) > 0 {
				like = ", such as " + names[len(names)/2]
			}
			diags = append(diags, d.Error("freeze", "Freezes nothing",
				fmt.Sprintf("%q matches no parameter.%s It takes %s, layers:A-B, and patterns of parameter names%s.", word,
					dsl.Suggest(word, slices.Concat(words, names)), strings.Join(words, ", "), like)))
		}
	}
	return diags
}

// adapt puts adapters on frozen projections, or in the place of those that train.
func (s *Stage) adapt(p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	ref, _, ok := d.Ref("adapter")
	if !ok {
		if len(s.Trainable()) == 0 {
			return hcl.Diagnostics{d.Error("freeze", "Nothing to train",
				"Everything is frozen and there is no adapter. Freeze less, or give adapter.")}
		}
		return nil
	}
	spec := p.Use(ref).(*peft.Adapter).Spec
	as, err := spec.Match(s.Params, func(x ops.Param) bool { return s.Frozen[x.ID] != spec.Composes() })
	if err != nil {
		return blocks.Problem(d, "adapter", "Impossible adapter", err)
	}
	if len(as) == 0 && spec.Composes() {
		return hcl.Diagnostics{d.Error("adapter", "Adapter without a place",
			"An adapter of sltrain takes the place of projections that train, and all that target_modules names are frozen. Freeze "+
				"less, or use a lora adapter, which sits on frozen projections.")}
	}
	if len(as) == 0 {
		return hcl.Diagnostics{d.Error("adapter", "Adapter without a place",
			"Adapters sit on frozen projections, and none that target_modules names is frozen. Set freeze, such as "+
				"freeze = [\"inherited\"].")}
	}
	s.Adapt(&spec, as)
	s.KeepApart = !d.Bool("merge")
	if spec.Composes() {
		p.Warn(savesNothing(ref.String(), as))
	}
	if spec.Exact() {
		for _, a := range as {
			if min(a.Target.Shape[0], a.Target.Shape[1]) > slowSingular {
				p.Warn(fmt.Sprintf("init_lora_weights of %s is \"pissa\", which computes all singular vectors of weights such as %s, of %v, and takes "+
					"long: \"pissa_niter_4\" searches for the %d largest alone", ref, a.Target.Name, a.Target.Shape, spec.R))
				break
			}
		}
	}
	return nil
}

// slowSingular is the side of a weight from which all its singular vectors take long to compute.
const slowSingular = 1024

// store notes how frozen projections are stored.
func (s *Stage) store(_ *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	word := d.Str("frozen_dtype")
	if word == "" {
		return nil
	}
	t := program.FrozenDTypes[word]
	if !slices.ContainsFunc(s.Params, s.FrozenProjection) {
		return hcl.Diagnostics{d.Error("frozen_dtype", "Nothing to store",
			"frozen_dtype is about projections of frozen layers, and none is frozen. Set freeze, such as freeze = "+
				"[\"inherited\"], or leave it out.")}
	}
	if t != s.DType {
		s.FrozenDType = t
	}
	return nil
}

func layerRange(s string, n int) (lo, hi int, err error) {
	a, b, two := strings.Cut(s, "-")
	lo, err1 := strconv.Atoi(a)
	hi, err2 := lo, error(nil)
	if two {
		hi, err2 = strconv.Atoi(b)
	}
	if n == 0 {
		return 0, 0, fmt.Errorf("layers:%s: the stage has no layers", s)
	}
	if err1 != nil || err2 != nil || lo < 0 || hi < lo || hi >= n {
		return 0, 0, fmt.Errorf("layers:%s is not a range of the layers 0 to %d; write layers:0-%d", s, n-1, n-1)
	}
	return lo, hi, nil
}

// savesNothing warns of adapters that take the place of weights and are no smaller.
func savesNothing(name string, as []adapters.Adapter) string {
	var parts, weights int64
	for _, a := range as {
		weights += a.Target.Elems()
	}
	if parts = ops.Count(adapters.Params(as), nil); parts < weights {
		return ""
	}
	return fmt.Sprintf("%s trains %s parameters in place of %s, so it saves no memory: choose a smaller r or sparsity, or train the weights "+
		"themselves", name, words.Count(parts), words.Count(weights))
}
