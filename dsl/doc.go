// Package dsl turns a folder of HCL files into a Config: blocks with addresses, references and
// typed, validated values, each with its place in the source. Values that only a run can know come
// in through the Scope.
//
// The language is one table, [Kinds]: decoding, suggestions, the schema and the reference page are
// made from it.
//
// In: the path of a pipeline, and [Inputs], the values of its variables. Out: a [Config], and
// diagnostics that show every problem at its place. Start with [Load] (load.go) and the table
// (kinds.go); then [Scope] (scope.go), which evaluates a block with what is known so far. bounds.go
// keeps evaluation bounded, and secrets.go keeps secrets hidden.
package dsl
