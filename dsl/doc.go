// Package dsl turns a folder of HCL files into a Config: blocks with addresses, references and
// typed, validated values, each with its place in the source. It is called and never calls: values
// that only a run can know come in through the Scope.
//
// The language is one table, [Kinds]: it decodes, it suggests, it prints the schema and makes the
// reference page.
//
// In: the path of a pipeline, and [Inputs], the values of its variables. Out: a [Config], and
// diagnostics that show every problem at its place. Start with [Load] (load.go) and the table
// (kinds.go); then [Scope] (scope.go), which evaluates a block with what is known so far. What
// keeps evaluation bounded and secrets hidden is in bounds.go and secrets.go.
package dsl
