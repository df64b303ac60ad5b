package runtime_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/cuda"
	"stepflow/ops/growth"
	"stepflow/runtime/apply"
	"stepflow/runtime/blocks/all"
	"stepflow/runtime/compatibility"
	"stepflow/runtime/plan"
	"stepflow/runtime/program"
	"stepflow/runtime/state"
)

var (
	whole   = flag.Bool("whole", false, "try every combination of the first six axes, not only each pair of choices")
	trained = flag.Int("trained", 20, "how many combinations to train, at least 20; more are drawn at random, with the seed -drawn")
	drawn   = flag.Uint64("drawn", 1, "the seed for -trained")
)

// axis is something that a stage chooses. Each choice has what it writes into the stage, and what it is to the table of
// package compatibility.
type axis struct {
	name    string
	choices []choice
}

type choice struct {
	name      string
	stage     string // attributes and blocks of the stage
	train     string // attributes of train
	optimizer string // attributes of the optimizer
	setup     compatibility.Setup
}

// axes are what a stage chooses: method, precision, update, growth, how frozen weights are stored, adapters; and others.
var axes = []axis{
	{"optimizer", optimizerChoices()},
	{"precision", []choice{
		{name: "fp32", stage: `precision = "fp32"`, setup: compatibility.Setup{"precision": {"fp32"}}},
		{name: "bf16", stage: `precision = "bf16"`, setup: compatibility.Setup{"precision": {"bf16"}}},
		{name: "bf16, stochastic", stage: `precision = "bf16"`, optimizer: "bf16_stochastic_round = true",
			setup: compatibility.Setup{"precision": {"bf16"}}},
	}},
	{"update", wordChoices("train", "update", "separate", "fused")},
	{"growth", growthChoices()},
	{"frozen", []choice{
		{name: "nothing", setup: compatibility.Setup{"freeze": {compatibility.Nothing}}},
		{name: "inherited", stage: `freeze = ["inherited"]`, setup: compatibility.Setup{"freeze": {"inherited"}}},
		frozenChoice("nf4"), frozenChoice("int8"), frozenChoice("bf16"),
		{name: "stored but not frozen", stage: `frozen_dtype = "nf4"`,
			setup: compatibility.Setup{"freeze": {compatibility.Nothing}, "frozen_dtype": {"nf4"}}},
	}},
	{"adapter", []choice{
		{name: "none", setup: compatibility.Setup{"adapter": {compatibility.Nothing}}},
		{name: "lora", stage: "adapter = peft.lora.a", setup: compatibility.Setup{"adapter": {"lora"}}},
		{name: "lora+", stage: "adapter = peft.lora.plus", setup: compatibility.Setup{"adapter": {"lora"}}},
		{name: "relora", stage: "adapter = peft.relora.a", setup: compatibility.Setup{"adapter": {"relora"}}},
		{name: "pissa", stage: "adapter = peft.lora.pissa", setup: compatibility.Setup{"adapter": {"lora"}}},
		{name: "relora, pruned", stage: "adapter = peft.relora.pruned",
			setup: compatibility.Setup{"adapter": {"relora"}, "optimizer_*_pruning": {compatibility.Given}}},
		{name: "sltrain", stage: "adapter = peft.sltrain.a", setup: compatibility.Setup{"adapter": {"sltrain"}}},
		{name: "relora, remainder", stage: "adapter = peft.relora.remainder", setup: compatibility.Setup{"adapter": {"relora"}}},
	}},
	{"micro-batch", []choice{{name: "whole"},
		{name: "part", train: "micro_batch_size = 1", setup: compatibility.Setup{"micro_batch_size": {compatibility.PartOfBatch}}}}},
	{"shard", []choice{{name: "no parallel block"}, {name: "sharded", train: `parallel { shard = "optimizer" }`,
		setup: compatibility.Setup{"shard": {"optimizer"}}}}},
	{"accumulation", wordChoices("train", "accumulate_dtype", "auto", "fp32", "bf16")},
	{"recomputation", wordChoices("train", "activation_checkpointing", "none", "block")},
	{"merge", []choice{{name: "merged"}, {name: "apart", stage: "merge = false", setup: compatibility.Setup{"merge": {"false"}}}}},
	{"moments", momentChoices()},
	{"states", stateChoices()},
}

// stateChoices are the types of moments.
func stateChoices() (list []choice) {
	for _, w := range compatibility.Every("state_dtype").Of {
		list = append(list, choice{name: w + " states", optimizer: fmt.Sprintf("state_dtype = %q", w),
			setup: compatibility.Setup{"state_dtype": {w}}})
	}
	return list
}

// optimizerChoices are the types of optimizers, each with the settings that make other states.
func optimizerChoices() (list []choice) {
	more := map[string][]string{"galore": {"fira = true"}}
	for _, typ := range compatibility.Every("optimizer").Of {
		for _, attrs := range append([]string{""}, more[typ]...) {
			c := choice{name: strings.TrimSpace(typ + " " + attrs), optimizer: attrs, setup: compatibility.Setup{"optimizer": {typ}}}
			switch typ {
			case "adafactor":
				c.optimizer += "\nbeta1 = 0.9" // which state_dtype needs
			case "muon":
				c.optimizer += "\nothers = optimizer.adamw.rest"
			case "apollo", "galore":
				c.optimizer += "\nrank = 4"
			}
			list = append(list, c)
		}
	}
	return list
}

// growthChoices are a first stage, one that goes on, and each operator.
func growthChoices() []choice {
	list := []choice{
		{name: "new", stage: "model = model.llama.m\nlayers = 2", setup: compatibility.Setup{"from": {compatibility.Nothing}}},
		{name: "none"},
		{name: "new and grown", stage: "model = model.llama.m\ngrow \"stack\" { layers = 1 }",
			setup: compatibility.Setup{"from": {compatibility.Nothing}, "grow": {"stack"}}},
	}
	for _, op := range compatibility.Every("grow").Of {
		list = append(list, choice{name: op, stage: fmt.Sprintf("grow %q { layers = 1 }", op), setup: compatibility.Setup{"grow": {op}}})
	}
	return list
}

// momentChoices are the rules for moments. Their words are of use in a grow block alone.
func momentChoices() (list []choice) {
	for _, w := range compatibility.Every("moments").Of {
		list = append(list, choice{name: w, setup: compatibility.Setup{"moments": {w}}})
	}
	return list
}

func frozenChoice(word string) choice {
	return choice{name: word, stage: fmt.Sprintf("freeze = [\"inherited\"]\nfrozen_dtype = %q", word),
		setup: compatibility.Setup{"freeze": {"inherited"}, "frozen_dtype": {word}}}
}

func wordChoices(where, attr string, words ...string) (list []choice) {
	for _, w := range words {
		list = append(list, choice{name: attr + " " + w, train: fmt.Sprintf("%s = %q", attr, w), setup: compatibility.Setup{attr: {w}}})
	}
	return list
}

// combination is a choice on each axis.
type combination []int

func (c combination) String() string {
	var names []string
	for i, x := range axes {
		names = append(names, x.choices[c[i]].name)
	}
	return strings.Join(names, ", ")
}

// refused lists what the table says against a combination.
func (c combination) refused() (list []string) {
	s := compatibility.Setup{}
	for i, x := range axes {
		for name, words := range x.choices[c[i]].setup {
			s[name] = words
		}
	}
	if slices.Equal(s["frozen_dtype"], s["precision"]) { // as without it
		delete(s, "frozen_dtype")
	}
	if s["grow"] == nil {
		delete(s, "moments")
	}
	for _, x := range s.Refused() {
		list = append(list, x.Title+"; "+x.Text)
	}
	return list
}

// random is a combination that is drawn.
func random(rng *rand.Rand) combination {
	c := make(combination, len(axes))
	for i, x := range axes {
		c[i] = rng.IntN(len(x.choices))
	}
	return c
}

// pairs draws combinations in which every choice meets every choice of another axis: where the table allows that, in one that
// it allows as a whole.
func pairs(rng *rand.Rand) (list []combination) {
	type pair [4]int
	met := map[pair]bool{}
	for i := range axes {
		for j := range i {
			for x := range axes[i].choices {
				for y := range axes[j].choices {
					if met[pair{i, x, j, y}] {
						continue
					}
					var c combination
					for range 300 {
						c = random(rng)
						if c[i], c[j] = x, y; len(c.refused()) == 0 {
							break
						}
					}
					list = append(list, c)
					if len(c.refused()) > 0 {
						continue
					}
					for i := range axes {
						for j := range i {
							met[pair{i, c[i], j, c[j]}] = true
						}
					}
				}
			}
		}
	}
	return list
}

// product lists every combination of the first six axes, with choices on the others that are drawn.
func product(rng *rand.Rand) (list []combination) {
	list = []combination{random(rng)}
	for i := range 6 {
		var longer []combination
		for _, c := range list {
			for x := range axes[i].choices {
				next := random(rng)
				copy(next, c[:i])
				next[i] = x
				longer = append(longer, next)
			}
		}
		list = longer
	}
	return list
}

const combined = `
data "jsonl" "d" { source = "d.jsonl" }
tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 270
}
model "llama" "m" {
  vocab_size              = 272
  hidden_size             = 16
  intermediate_size       = 24
  num_hidden_layers       = 1
  num_attention_heads     = 2
  max_position_embeddings = 32
}
optimizer "adamw" "rest" { learning_rate = 1e-3 }
peft "lora" "a" {
  r              = 2
  lora_alpha     = 4
  target_modules = ["all-linear"]
}
peft "lora" "plus" {
  r                 = 2
  lora_alpha        = 4
  loraplus_lr_ratio = 16
  target_modules    = ["all-linear"]
}
peft "lora" "pissa" {
  r                 = 2
  lora_alpha        = 4
  target_modules    = ["all-linear"]
  init_lora_weights = "pissa_niter_1"
}
peft "relora" "pruned" {
  r                           = 2
  lora_alpha                  = 4
  target_modules              = ["all-linear"]
  reset_every                 = 1
  optimizer_magnitude_pruning = 0.5
}
peft "relora" "a" {
  r              = 2
  lora_alpha     = 4
  target_modules = ["all-linear"]
  reset_every    = 1
}
peft "sltrain" "a" {
  r              = 2
  lora_alpha     = 4
  sparsity       = 0.1
  target_modules = ["all-linear", "lm_head"] # which trains where all layers are frozen
}
peft "relora" "remainder" {
  r              = 2
  lora_alpha     = 4
  target_modules = ["all-linear"]
  reset_every    = 1
  merge_rounding = "remainder"
}
defaults "stage" {
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    sequence_length = 12
    batch_size      = 2
    steps           = 2
  }
}
`

// source is a pipeline with a stage for each combination, and those that they continue.
func source(list []combination) string {
	var b strings.Builder
	b.WriteString(combined)
	optimizers := map[string]string{}
	named := func(typ, attrs string) string {
		if optimizers[typ+attrs] == "" {
			optimizers[typ+attrs] = fmt.Sprintf("optimizer.%s.o%d", typ, len(optimizers))
			fmt.Fprintf(&b, "optimizer %q \"o%d\" {\nlearning_rate = 1e-3\n%s\n}\n", typ, len(optimizers)-1, attrs)
		}
		return optimizers[typ+attrs]
	}
	bases := map[string]bool{}
	for i, c := range list {
		var stage, train, attrs []string
		for j, x := range axes {
			k := x.choices[c[j]]
			stage, train, attrs = append(stage, k.stage), append(train, k.train), append(attrs, k.optimizer)
			for _, m := range k.setup["moments"] { // growth is on an axis before
				for i := range stage {
					stage[i] = strings.Replace(stage[i], "layers = 1 }", fmt.Sprintf("\nlayers = 1\nmoments = %q\n}", m), 1)
				}
			}
		}
		o := named(axes[0].choices[c[0]].setup["optimizer"][0], strings.Join(attrs, "\n"))
		if !strings.Contains(strings.Join(stage, ""), "model =") {
			base := fmt.Sprintf("base_%s_%s", strings.NewReplacer(".", "_").Replace(o), axes[1].choices[c[1]].setup["precision"][0])
			if !bases[base] {
				bases[base] = true
				fmt.Fprintf(&b, "stage %q {\nmodel = model.llama.m\nlayers = 2\n%s\ntrain { optimizer = %s }\n}\n", base,
					axes[1].choices[c[1]].stage, o)
			}
			stage = append(stage, "from = stage."+base)
		}
		fmt.Fprintf(&b, "stage \"s%d\" {\n%s\ntrain {\noptimizer = %s\n%s\n}\n}\n", i, strings.Join(stage, "\n"), o,
			strings.Join(train, "\n"))
	}
	return b.String()
}

// cannot says why a stage that compiles would not train as it should, though the table allows it; nil if it would.
func cannot(s *program.Stage) error {
	if s.Fused && len(s.Refreshes()) > 0 {
		return errors.New("a fused update has no gradients to make states of")
	}
	if s.Fused && s.MicroSteps() > 1 {
		return errors.New("a fused update of parts of a batch")
	}
	if s.Restarts() && len(s.MergedApart()) > 0 {
		return errors.New("merges on the way into weights of few bits")
	}
	for _, x := range s.Trainable() {
		if s.Growth.Rules[x.ID].State != growth.StateMapped {
			continue
		}
		for _, state := range s.Optimizer.States(x, s.DType) {
			if !state.Type.Shape.Equal(x.Shape) {
				return fmt.Errorf("%s of %s is %v, and mapped like the weight", state.Name, x.Name, state.Type)
			}
		}
	}
	return nil
}

// TestWideHeads: a card refuses heads that are too wide for it when the plan is made.
func TestWideHeads(t *testing.T) {
	dir := pipeline(t)
	text := strings.Replace(source(nil), "hidden_size             = 16", "hidden_size             = 272", 1) +
		"optimizer \"adamw\" \"o\" { learning_rate = 1e-3 }\nstage \"s\" {\nmodel = model.llama.m\ntrain { optimizer = optimizer.adamw.o }\n}\n"
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
	for _, caps := range []gpu.Caps{cpu.PlanCaps(""), cuda.PlanCaps("a card", 1<<30)} {
		_, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: caps})
		said := fmt.Sprint(diags.Errs())
		if caps.WidestHead == 0 && diags.HasErrors() || caps.WidestHead > 0 && (!strings.Contains(said, "main.hcl:") ||
			!strings.Contains(said, "takes heads of up to 128 channels, and head_dim is more than 128")) {
			t.Errorf("%s: %s", caps.Kind, said)
		}
	}
}

// TestEveryCombination: validate refuses what the table refuses, in its words, and nothing else; and all else compiles, for a
// CPU and for a card. Some of it trains.
func TestEveryCombination(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 8))
	list := pairs(rng)
	if *whole {
		list = product(rng)
	}
	dir := pipeline(t)
	file := filepath.Join(dir, "main.hcl")
	var allowed []combination
	broken := map[string]bool{}
	for part := range slices.Chunk(list, 400) {
		must(t, os.WriteFile(file, []byte(source(part)), 0o644))
		config, diags := dsl.Load(dir, dsl.Inputs{})
		if diags.HasErrors() {
			t.Fatal(diags.Errs())
		}
		said := map[string][]string{}
		for _, d := range config.Validate(nil, func(a addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
			for _, x := range all.Sound(a, d) {
				said[a.Name] = append(said[a.Name], x.Summary+"; "+x.Detail)
			}
			return nil
		}) {
			t.Error(d)
		}
		var fine []combination
		for i, c := range part {
			want := c.refused()
			if got := said[fmt.Sprintf("s%d", i)]; !slices.Equal(got, want) {
				t.Errorf("%v: validate says %q, the table %q", c, got, want)
			}
			for _, x := range want {
				title, _, _ := strings.Cut(x, ";")
				broken[title] = true
			}
			if want == nil {
				fine = append(fine, c)
			}
		}
		must(t, os.WriteFile(file, []byte(source(fine)), 0o644))
		for _, caps := range []gpu.Caps{cpu.PlanCaps(""), cuda.PlanCaps("a card", 1<<30)} {
			if caps.Kind == "cuda" && !*whole {
				must(t, os.WriteFile(file, []byte(source(fine[:min(40, len(fine))])), 0o644))
			}
			p, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: caps})
			for _, d := range diags.Errs() {
				t.Error(d)
			}
			if diags.HasErrors() {
				continue
			}
			stages := 0
			for _, a := range p.Actions {
				if s := stageOf(a); s != nil {
					stages++
					if err := cannot(&s.Stage); err != nil {
						t.Errorf("the table has no rule against this: %v", err)
					}
				}
			}
			if stages < min(40, len(fine)) {
				t.Errorf("the plan has %d stages", stages)
			}
		}
		allowed = append(allowed, fine...)
	}
	for _, r := range compatibility.Rules {
		if r.B.Axis != "head_dim" && r.B.Axis != "beta1" && !broken[r.Title] {
			t.Errorf("no combination breaks the rule %q", r.Title)
		}
	}
	t.Logf("%d combinations, of which %d are allowed", len(list), len(allowed))
	if t.Failed() {
		return
	}
	rng.Shuffle(len(allowed), func(i, j int) { allowed[i], allowed[j] = allowed[j], allowed[i] })
	some := allowed[:min(20, len(allowed))]
	if *trained > len(some) {
		rng = rand.New(rand.NewPCG(*drawn, 0))
		for some = nil; len(some) < *trained; {
			if c := random(rng); len(c.refused()) == 0 {
				some = append(some, c)
			}
		}
	}
	must(t, os.WriteFile(file, []byte(source(some)), 0o644))
	p := planOf(t, dir)
	if _, err := apply.Apply(t.Context(), p, apply.Options{Device: cpuDevice(t, 2)}); err != nil {
		t.Error(err)
	}
	x, err := state.Read(filepath.Join(dir, ".stepflow"))
	must(t, err)
	for i, c := range some {
		b := x.State.Blocks[fmt.Sprintf("stage.s%d", i)]
		if b == nil || b.Memory == nil {
			t.Errorf("%v: has no result", c)
			continue
		}
		if b.Memory.Measured != b.Memory.Planned {
			t.Errorf("%v: takes %d bytes, and the plan says %d", c, b.Memory.Measured, b.Memory.Planned)
		}
		if loss, ok := b.Values["loss"].(float64); !ok || loss < 1 || loss > 7 { // at random it is log(272) = 5.6
			t.Errorf("%v: has the loss %v", c, b.Values["loss"])
		}
	}
}
