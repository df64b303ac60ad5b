package dsl

// elsewhere lists words of Terraform's files that mean nothing here, or nothing in the place where they are often
// written, and what to write instead.
var elsewhere = []wording{
	{"Each thing that Terraform would call a resource is a block of a kind of its own, such as `stage \"NAME\"`.",
		[]string{"resource"}},
	{"Every kind of block is built in, so there are no providers. What computes is chosen with `-device`.",
		[]string{"provider", "providers", "required_providers", "provider_meta", "configuration_aliases"}},
	{"A pipeline has no settings of stepflow itself. Where the state lies is chosen on the command line, with " +
		"`-state-dir`, and each result records the operators that made it.",
		[]string{"terraform", "tofu", "required_version", "experiments"}},
	{"Modules are read from disk: clone the version that you want, and name its path.",
		[]string{"version"}},
	{"Where the state lies is chosen on the command line, with `-state-dir` and `-backend`.",
		[]string{"backend", "cloud", "encryption"}},
	{"There are no workspaces: give each its own state with `-state-dir` (and `-backend`), and its values with `-var-file`.",
		[]string{"workspace"}},
	{"Nothing is ephemeral. `sensitive = true` hides a value from plans, reports and traces, and the state keeps a seal " +
		"of it alone.",
		[]string{"ephemeral", "write_only"}},
	{"A pipeline runs no commands: run them in a script, before or after `stepflow apply`, and order blocks with " +
		"`depends_on`.",
		[]string{"provisioner", "connection", "action", "action_trigger", "null_resource", "local_file"}},
	{"Nothing has a time limit. `timeout 8h stepflow apply` ends a run early: it saves a checkpoint, and the next `apply` " +
		"goes on from there.",
		[]string{"timeouts"}},
	{"It is always so: an old result is removed when the new one is done, and not before.",
		[]string{"create_before_destroy"}},
	{"Write `count = CONDITION ? 1 : 0` in the block itself.",
		[]string{"enabled"}},
	{"Write it in the `lifecycle` block of a block that runs.",
		[]string{"prevent_destroy", "ignore_changes", "replace_triggered_by"}},
	{"Write it in the `lifecycle` block; an output has its `precondition` beside its `value`.",
		[]string{"precondition", "postcondition"}},
	{"The `destroy` of a `removed` block says whether files are deleted. A result whose block is gone is kept.",
		[]string{"destroy"}},
	{"Write an input as `variable \"NAME\" { default = … }`, and read it as `var.NAME`.",
		[]string{"var", "vars", "input", "inputs"}},
	{"Say so in the `description`.",
		[]string{"deprecated"}},
}
