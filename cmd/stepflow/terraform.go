package main

// elsewhere says, for commands that only Terraform has, how the same is done here.
var elsewhere = map[string]string{
	"init":      "Nothing has to be initialized: plan and apply read data and models where they are.",
	"destroy":   `"stepflow state rm ADDR" forgets a block, and "stepflow state gc" deletes results that no configuration reaches.`,
	"taint":     `"stepflow apply -replace ADDR" runs a block again.`,
	"untaint":   `"-replace ADDR" of plan and apply holds for that run alone.`,
	"import":    "An import block in the configuration takes over a result, or a model from elsewhere.",
	"refresh":   `"stepflow apply -refresh-only" records what differs from the state.`,
	"workspace": `"-state-dir" names another folder for the state.`,
}
