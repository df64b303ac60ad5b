package lsp

import (
	"slices"
	"strings"
	"testing"
)

// example is a pipeline without mistakes.
const example = `variable "tokens" {
  type        = number
  default     = 1e6
  description = "training tokens"
}

locals {
  batch = 8
}

data "text" "docs" {
  source = "*.txt"
}

tokenizer "bpe" "small" {
  train_on   = data.text.docs
  vocab_size = 512
}

model "llama" "tiny" {
  vocab_size              = tokenizer.bpe.small.vocab_size
  hidden_size             = 32
  intermediate_size       = 64
  num_hidden_layers       = 2
  num_attention_heads     = 2
  max_position_embeddings = 64
}

optimizer "adamw" "main" {
  learning_rate = 1e-3
}

stage "seed" {
  model = model.llama.tiny
  train {
    data            = data.text.docs
    tokenizer       = tokenizer.bpe.small
    optimizer       = optimizer.adamw.main
    sequence_length = 16
    batch_size      = local.batch
    tokens          = var.tokens
  }
}
`

// completions are texts with a mark where something is completed, behind the example: first, what must be offered before
// anything else, in this order; then what must be offered too; then what must not.
var completions = []struct{ name, text, first, also, not string }{
	{"top level", "ˇ", "", "stage data moved variable locals check", "train"},
	{"top level, begun", "stˇ", "", "stage", ""},
	{"in a block", "stage \"b\" {\n  ˇ\n}\n", "train",
		"model from layers grow lifecycle count for_each depends_on", "stage"},
	{"given already", "stage \"b\" {\n  model = model.llama.tiny\n  ˇ\n  layers = 1\n  train {\n  }\n}\n", "",
		"from grow",
		"model layers train"},
	{"required first", "stage \"b\" {\n  train {\n    ˇ\n  }\n}\n",
		"batch_size data optimizer sequence_length tokenizer", "steps", ""},
	{"by type", "optimizer \"muon\" \"m\" {\n  ˇ\n}\n", "learning_rate", "momentum", "betas"},
	{"types", "data ˇ", "bin conversations fineweb_edu jsonl mixture parquet text", "", ""},
	{"types in quotes", "data \"fineˇ", "", "fineweb_edu text", ""},
	{"types of nested blocks", "stage \"b\" {\n  grow \"ˇ\" {\n}\n}\n", "copy interpolation midas opt_deus random stack", "", ""},
	{"no names", "stage \"ˇ\" {\n}\n", "", "", "seed"},
	{"one of", "stage \"b\" {\n  precision = ˇ\n}\n", `"fp32" "bf16"`, "var.tokens", ""},
	{"one of, in quotes", "stage \"b\" {\n  precision = \"ˇ\"\n}\n", "fp32 bf16", "", "var.tokens"},
	{"true or false", "stage \"b\" {\n  grow \"copy\" {\n    function_preserving = ˇ\n", "false true", "", ""},
	{"references", "stage \"b\" {\n  from = ˇ\n}\n", "stage.seed",
		"var.tokens local.batch data.text.docs floor path.module", "stage.b"},
	{"references, begun", "stage \"b\" {\n  from = stˇ\n}\n", "stage.seed", "", ""},
	{"names", "stage \"b\" {\n  from = stage.ˇ\n}\n", "b seed", "", "stage.seed"},
	{"types of a kind", "stage \"b\" {\n  model = model.ˇ\n}\n", "llama", "", "tiny"},
	{"names of a type", "stage \"b\" {\n  model = model.llama.tˇ\n}\n", "tiny", "", ""},
	{"variables", "locals {\n  x = var.ˇ\n}\n", "tokens", "", "batch"},
	{"locals", "locals {\n  x = 2 * local.ˇ\n}\n", "batch x", "", "tokens"},
	{"exports", "output \"x\" {\n  value = stage.seed.ˇ\n}\n", "", "loss address num_hidden_layers",
		"var.tokens"},
	{"exports of a type", "output \"x\" {\n  value = tokenizer.bpe.small.ˇ\n}\n",
		"eos_token_id vocab_size address", "", ""},
	{"exports of an instance", "output \"x\" {\n  value = stage.seed[\"a\"].ˇ\n}\n", "", "loss", ""},
	{"no members of members", "output \"x\" {\n  value = stage.seed.loss.ˇ\n}\n", "", "", "loss"},
	{"in a template", "output \"x\" {\n  value = \"${var.ˇ}\"\n}\n", "tokens", "", ""},
	{"in an unfinished template", "output \"x\" {\n  value = \"a ${ˇ\n}\n", "", "var.tokens", ""},
	{"in a text", "output \"x\" {\n  value = \"varˇ\"\n}\n", "", "", "var.tokens"},
	{"in a heredoc", "output \"x\" {\n  value = <<E\n ${local.ˇ}\nE\n}\n", "batch", "", ""},
	{"in a list", "stage \"b\" {\n  depends_on = [ˇ]\n}\n", "", "stage.seed", "var.tokens floor"},
	{"in a call", "output \"x\" {\n  value = max(1, local.ˇ\n}\n", "batch", "", ""},
	{"each", "stage \"b\" {\n  for_each = toset([\"a\"])\n  seed = each.ˇ\n}\n", "key value", "", ""},
	{"no each", "stage \"b\" {\n  seed = ˇ\n}\n", "", "var.tokens", "each.key count.index"},
	{"count", "stage \"b\" {\n  count = 2\n  seed = ˇ\n}\n", "", "count.index", "each.key"},
	{"self", "stage \"b\" {\n  lifecycle {\n    postcondition {\n      condition = self.ˇ\n", "", "loss", ""},
	{"ignore_changes", "stage \"b\" {\n  lifecycle {\n    ignore_changes = [ˇ]\n  }\n}\n", "all",
		"seed train train.data train.schedule.min_lr_ratio",
		"stage.seed model from count"},
	{"moved", "moved {\n  from = stage.old\n  to = ˇ\n}\n", "", "stage.seed", "var.tokens"},
	{"types of variables", "variable \"x\" {\n  type = ˇ\n}\n", "any bool list", "", "var.tokens"},
	{"in a comment", "# stˇ", "", "", "stage"},
	{"in a long comment", "/* st\nˇ", "", "", "stage"},
	{"after a quote that is missing", "stage \"b\" {\n  precision = \"fp32\n  frˇ\n}\n", "", "freeze from",
		"stage precision"},
	{"a bracket is missing", "stage \"b\" {\n  freeze = [\"embeddings\"\n  frˇ\n  layers = 1\n}\n", "",
		"stage.seed", ""},
	{"defaults", "defaults \"stage\" {\n  ˇ\n}\n", "", "precision train grow", "count lifecycle for_each"},
	{"defaults of a type", "defaults \"data\" \"text\" {\n  ˇ\n}\n", "", "separator", "min_score"},
	{"defaults of any type", "defaults \"data\" {\n  ˇ\n}\n", "", "separator min_score", ""},
	{"kinds with defaults", "defaults ˇ", "", "stage data evaluate", "output variable"},
	{"types with defaults", "defaults \"data\" \"ˇ", "", "text jsonl", "stage"},
	{"dynamic", "stage \"b\" {\n  dynamic \"ˇ", "", "train grow", "lifecycle"},
	{"in dynamic", "stage \"b\" {\n  dynamic \"grow\" {\n    ˇ\n  }\n}\n", "content for_each", "labels iterator", "layers"},
	{"in content", "stage \"b\" {\n  dynamic \"grow\" {\n    content {\n      ˇ\n    }\n  }\n}\n", "layers", "mix", "content"},
	{"an element", "stage \"b\" {\n  dynamic \"grow\" {\n    content {\n      layers = ˇ", "", "grow.value grow.key", ""},
	{"of an element", "stage \"b\" {\n  dynamic \"grow\" {\n    content {\n      layers = grow.ˇ", "key value", "", "loss"},
	{"an object", "locals {\n  o = { a = var.ˇ }\n}\n", "tokens", "", ""},
}

func TestCompletion(t *testing.T) {
	for _, c := range completions {
		t.Run(c.name, func(t *testing.T) {
			text := example + "\n" + c.text
			if !strings.Contains(text, "ˇ") {
				text += "ˇ"
			}
			before, after, _ := strings.Cut(text, "ˇ")
			e := newEditor(t, map[string]string{"main.hcl": before + after}, "")
			var got completionList
			e.call("textDocument/completion", e.at("main.hcl", before+after, before), &got)
			list := labels(got.Items)
			if want := strings.Fields(c.first); !slices.Equal(list[:min(len(want), len(list))], want) {
				t.Errorf("first %q", list[:min(len(want)+3, len(list))])
			}
			for _, w := range strings.Fields(c.also) {
				if !slices.Contains(list, w) {
					t.Errorf("no %s in %q", w, list)
				}
			}
			for _, w := range strings.Fields(c.not) {
				if slices.Contains(list, w) {
					t.Errorf("%s in %q", w, list)
				}
			}
		})
	}
}
