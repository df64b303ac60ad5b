// Package all is the table of the kinds of blocks.
package all

import (
	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/evaluate"
	"stepflow/runtime/blocks/executor"
	"stepflow/runtime/blocks/export"
	"stepflow/runtime/blocks/memoryplan"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/blocks/optimizer"
	"stepflow/runtime/blocks/peft"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/blocks/task"
	"stepflow/runtime/blocks/tokenizer"
)

// Kinds are the kinds of blocks that are planned, by their names in the language.
var Kinds = map[string]blocks.Kind{
	"executor":    executor.Kind,
	"data":        data.Kind,
	"tokenizer":   tokenizer.Kind,
	"model":       model.Kind,
	"peft":        peft.Kind,
	"optimizer":   optimizer.Kind,
	"memory_plan": memoryplan.Kind,
	"stage":       stage.Kind,
	"task":        task.Kind,
	"evaluate":    evaluate.Kind,
	"export":      export.Kind,
}

// Sound checks the attributes of a block against each other, without data, state or other blocks.
func Sound(a addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
	if check := Kinds[a.Kind].Sound; check != nil {
		return check(a, d)
	}
	return nil
}

// Identities says what the recipes of the kinds leave out, for the page of the language.
func Identities() map[string]dsl.Identity {
	list := map[string]dsl.Identity{}
	for name, k := range Kinds {
		list[name] = dsl.Identity{Idle: k.Idle, Resolved: k.Resolved}
	}
	return list
}
