package dsl

import (
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// testedBlocks are the blocks that a test file has, and each run in it.
var testedBlocks = []Nested{
	{Name: "variables", Open: true,
		Doc: "Values of the pipeline's variables, which win over all others: expressions of other variables, and in a run " +
			"of `run.NAME`, the runs before it."},
	{Name: "override", Repeat: true, Doc: "Other attributes of a block of the pipeline, to train a smaller copy.",
		Attrs: []Attr{
			{Name: "target", Address: true, Required: true, Doc: "A block, with all its instances."},
			{Name: "values", Type: cty.DynamicPseudoType, Required: true,
				Doc: "The attributes, written out as an object: `{ layers = 1, train = { steps = 4 } }` changes a nested block " +
					"too; null leaves an attribute or a nested block out. They may name whatever the target may."},
		}},
	{Name: "mock_data", Label: mockTypes, Repeat: true,
		Doc: "Generated documents for all data of a type, in place of their `source` and filters. They need no network, " +
			"are the same each time, and a model can learn from them.",
		Attrs: []Attr{
			{Name: "documents", Type: cty.Number, Whole: true, Min: at(1), Max: at(1e6), Default: num(200),
				Doc: "How many documents each data block has."},
			{Name: "words", Type: cty.Number, Whole: true, Min: at(1), Max: at(1e5), Default: num(60),
				Doc: "Words of a document, on average."},
			{Name: "seed", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Default: num(0),
				Doc: "Seed of the documents."},
		}},
}

// mockTypes are the types of data for which documents can be generated.
var mockTypes = []string{"fineweb_edu", "parquet", "jsonl", "text", "conversations"}

// TestBlocks are the blocks of a test file.
var TestBlocks = append(slices.Clip(testedBlocks), Nested{Name: "run", Named: true, Required: true, Repeat: true,
	Doc: "Plans or applies the pipeline, and tests what comes of that.",
	Attrs: []Attr{
		{Name: "command", Type: cty.String, OneOf: []string{TestPlan, TestApply}, Default: str(TestApply),
			Doc: "Written without quotes."},
		{Name: "state_key", Type: cty.String, Default: str(MainState),
			Doc: "Runs with the same key share a state: what one has made is up to date in the next."},
		{Name: "parallel", Type: cty.Bool, Default: cty.False,
			Doc: "It may run beside the runs before it that are parallel too, but for those that it names, and those of " +
				"its state if one of the two applies."},
		{Name: "expect_failures", Type: strings_,
			Doc: "Variables, checks and blocks of which a condition must be false, such as `[var.steps, check.quality, " +
				"stage.seed]`."},
	},
	Blocks: append(slices.Clip(testedBlocks),
		Nested{Name: "plan_options", Doc: "What is planned; see [commands.md](commands.md#a-part-of-a-pipeline).",
			Attrs: []Attr{
				{Name: "target", Type: strings_, Doc: "Only these blocks or instances, and what they need."},
				{Name: "exclude", Type: strings_, Doc: "Not these, nor what needs them."},
				{Name: "replace", Type: strings_, Doc: "Run these again, from their start."},
			}},
		Nested{Name: "interrupt", Doc: "Ends the run as Ctrl-C does, once, and applies again.",
			Attrs: []Attr{
				{Name: "at_step", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxSteps), Required: true,
					Unit: "optimizer steps", Doc: "The step after which it ends."},
				{Name: "stage", Address: true, Doc: "Of this stage or instance; default: the first that comes so far."},
			}},
		Nested{Name: "assert", Repeat: true, Doc: "What must be true.",
			Attrs: conditionAttrs("An expression of variables, locals and blocks, and of `output.NAME`, `run.NAME`, `plan`, " +
				"`state`, `seam` and `changes`: see [testing.md](testing.md#what-a-condition-sees).")},
	)})

// testTables returns the tables of what stands in a test file.
func testTables() string {
	shared := func(n Nested) bool {
		return slices.ContainsFunc(testedBlocks, func(t Nested) bool { return t.Name == n.Name })
	}
	var b strings.Builder
	for _, n := range TestBlocks {
		if n.Name == "run" {
			n.Blocks = slices.DeleteFunc(slices.Clone(n.Blocks), shared)
			n.Doc += " It may have `variables`, `override` and `mock_data` blocks of its own."
		}
		writeNested(&b, []Nested{n}, "### ")
	}
	return strings.TrimSpace(b.String())
}
