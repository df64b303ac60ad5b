package runtime

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/ops/llama"
	"stepflow/ops/peft"
)

// sound are the checks of a block's attributes against each other. They need neither data nor state nor other blocks, and what is not
// known yet passes.
var sound = map[string]func(a addr.Addr, d *dsl.Decoded) hcl.Diagnostics{
	"data":      soundData,
	"tokenizer": func(_ addr.Addr, d *dsl.Decoded) hcl.Diagnostics { return soundHome(d, "file") },
	"model": func(a addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
		_, diags := givenConfig(a, d)
		return append(diags, soundHome(d, "from")...)
	},
	"peft": func(a addr.Addr, d *dsl.Decoded) hcl.Diagnostics { _, diags := peftSpec(a, d); return diags },
	"optimizer": func(_ addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
		if d.Known("betas") && len(d.Floats("betas")) != 2 {
			return hcl.Diagnostics{d.Error("betas", "Invalid value", "betas takes two numbers from 0 up to, not including, 1, such as [0.9, 0.95].")}
		}
		return nil
	},
	"memory_plan": func(_ addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
		if d.Has("stages") == d.Has("budget") {
			return hcl.Diagnostics{d.Error("stages", "Stages or budget", "Give exactly one of stages and budget.")}
		}
		return nil
	},
	"stage": func(_ addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
		return append(soundStart(d), soundTrain(d.Block("train"))...)
	},
	"export": func(_ addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
		if d.Known("path") && d.Str("path") == "" {
			return hcl.Diagnostics{d.Error("path", "Invalid value", "path is empty: name a folder, such as \"out/model\".")}
		}
		return soundHome(d, "path")
	},
}

// soundHome refuses paths that begin with ~: only a shell puts the home folder there, so they would name a folder called ~.
func soundHome(d *dsl.Decoded, name string) hcl.Diagnostics {
	var paths []string
	switch v := d.Value(name); {
	case !d.Known(name):
	case v.Type() == cty.String:
		paths = []string{v.AsString()}
	case v.CanIterateElements():
		paths = d.Strs(name)
	}
	for _, path := range paths {
		if path == "~" || strings.HasPrefix(path, "~/") {
			return hcl.Diagnostics{d.Error(name, "Invalid value",
				fmt.Sprintf("%s begins with ~, which is the home folder to a shell only. Write pathexpand(%q).", name, path))}
		}
	}
	return nil
}

// Sound checks the attributes of a block against each other, as far as that needs neither data nor state nor other blocks.
func Sound(a addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
	if check := sound[a.Kind]; check != nil {
		return check(a, d)
	}
	return nil
}

// soundData checks the filter of data, and which crawls it names.
func soundData(_ addr.Addr, d *dsl.Decoded) (diags hcl.Diagnostics) {
	if err := fineweb.CheckFilter(d.Str("filter")); err != nil {
		diags = append(diags, d.Error("filter", "Invalid filter", upper(err.Error())+"."))
	}
	if d.Known("dump") && len(stringsOf(d, "dump")) == 0 {
		diags = append(diags, d.Error("dump", "Invalid value", "dump takes the name of a crawl, such as \"CC-MAIN-2024-10\", or a list of them."))
	}
	if low, high := "min_token_count", "max_token_count"; d.Has(low) && d.Has(high) && d.Known(low) && d.Known(high) && d.Int(low) > d.Int(high) {
		diags = append(diags, d.Error(low, "Nothing is kept", fmt.Sprintf("%s %d is above %s %d: no row has both.", low, d.Int(low), high, d.Int(high))))
	}
	return append(diags, soundHome(d, "source")...)
}

// givenConfig is the configuration that a model block gives, with defaults and checked where it is not read from a folder and its
// sizes are known.
func givenConfig(a addr.Addr, d *dsl.Decoded) (given llama.Config, diags hcl.Diagnostics) {
	var names []string // of what is given
	partial := false
	for _, f := range llama.Fields {
		if !d.Has(f.Name) {
			continue
		}
		names = append(names, f.Name)
		if !d.Known(f.Name) {
			if f.Name == "vocab_size" { // most often the tokenizer's; nothing else depends on it
				given.VocabSize = 1
			} else {
				partial = true
			}
			continue
		}
		switch x := f.At(&given).(type) {
		case *int:
			*x = d.Int(f.Name)
		case *float64:
			*x = d.Float(f.Name)
		case *string:
			*x = d.Str(f.Name)
		case *bool:
			*x = d.Bool(f.Name)
		case **llama.RopeScaling:
			var err error
			if *x, err = ropeScaling(d.Value(f.Name)); err != nil {
				diags = append(diags, d.Error(f.Name, "Invalid value", upper(err.Error())+"."))
			}
		}
	}
	if d.Has("from") {
		if d.Given("seed") {
			diags = append(diags, d.Error("seed", "No first weights", "seed makes first weights, and from takes weights that are there: leave one of them out."))
		}
		return given, diags
	}
	for _, f := range llama.Fields {
		if f.Needed && !d.Has(f.Name) {
			diags = append(diags, d.Error(f.Name, "Missing attribute", fmt.Sprintf("%s needs %s, unless it is read by from.", a, f.Name)))
		}
	}
	if diags.HasErrors() || partial {
		return given, diags
	}
	given.Fill(names...)
	for _, x := range given.Check() {
		diags = append(diags, d.Error(x.Attribute, "Impossible model", upper(x.What)+". "+x.Do))
	}
	return given, diags
}

// peftSpec is the adapter that a block gives.
func peftSpec(a addr.Addr, d *dsl.Decoded) (s peft.Spec, diags hcl.Diagnostics) {
	s = peft.Spec{Method: a.Type, R: d.Int("r"), Alpha: d.Float("lora_alpha"), UseRSLora: d.Bool("use_rslora"),
		TargetModules: d.Strs("target_modules"), ResetEvery: d.Int("reset_every"), RestartWarmup: d.Int("restart_warmup_steps"), MergeRounding: d.Str("merge_rounding")}
	if s.ResetEvery > 0 && s.RestartWarmup >= s.ResetEvery {
		diags = append(diags, d.Error("restart_warmup_steps", "Warm-up too long", fmt.Sprintf("restart_warmup_steps is %d and reset_every %d: the learning rate would not be up again before the next restart. Lower it.", s.RestartWarmup, s.ResetEvery)))
	}
	return s, diags
}

// soundStart checks what a stage starts from.
func soundStart(d *dsl.Decoded) hcl.Diagnostics {
	grow := d.Block("grow")
	switch {
	case !d.Has("from") && !d.Has("model"):
		return hcl.Diagnostics{d.Error("model", "No model", "A stage starts a model or continues a stage: give model or from.")}
	case !d.Has("from") && grow != nil:
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Nothing to grow", Subject: grow.Range.Ptr(), Detail: "Growth starts from a trained stage: give from, or set layers."}}
	case d.Has("from") && d.Has("layers"):
		return hcl.Diagnostics{d.Error("layers", "Layers of a continued stage", "A stage that continues another has its layers; add some with a grow block.")}
	}
	return nil
}

// soundTrain checks how long and in what portions a stage trains.
func soundTrain(t *dsl.Decoded) (diags hcl.Diagnostics) {
	if t == nil { // reported already
		return nil
	}
	if batch := t.Int("batch_size"); batch > 0 {
		diags = append(diags, tooManyTokens(t, batch, t.Int("sequence_length"))...)
		_, _, d := microOf(t)
		diags = append(diags, d...)
	}
	known, open := 0, 0 // what is not known may be null
	for _, x := range []string{"tokens", "steps", "flops"} {
		switch {
		case t.Known(x):
			known++
		case t.Has(x):
			open++
		}
	}
	if known > 1 || known+open < 1 {
		diags = append(diags, t.Error("tokens", "Horizon", fmt.Sprintf("Give exactly one of tokens, steps and flops; there are %d.", known)))
	}
	if c := t.Block("schedule"); c != nil && c.Label == "wsd" {
		if warmup, decay := c.Float("warmup_ratio"), c.Float("decay_ratio"); warmup+decay > 1 {
			diags = append(diags, c.Error("decay_ratio", "Schedule too long", fmt.Sprintf("warmup_ratio %g and decay_ratio %g are more than the whole schedule: lower one of them.", warmup, decay)))
		}
	}
	return diags
}

// microOf is the number of sequences on the device at a time; auto says that the device decides.
func microOf(t *dsl.Decoded) (n int, auto bool, diags hcl.Diagnostics) {
	batch, word := t.Int("batch_size"), t.Str("micro_batch_size")
	if word == "" && (!t.Has("micro_batch_size") || !t.Known("micro_batch_size")) || word == "auto" {
		return batch, word == "auto", nil
	}
	n, err := strconv.Atoi(word)
	switch {
	case err != nil || n < 1:
		return batch, false, hcl.Diagnostics{t.Error("micro_batch_size", "Invalid value", fmt.Sprintf("micro_batch_size is %q: it takes a whole number of sequences of at least 1, or \"auto\".", word))}
	case batch%n != 0:
		return n, false, hcl.Diagnostics{t.Error("micro_batch_size", "Batch not divisible", fmt.Sprintf("batch_size %d is not a multiple of micro_batch_size %d. Choose a divisor.", batch, n))}
	}
	return n, false, nil
}
