// Package runtime holds the tests of whole pipelines. What runs them is in the packages below, in layers that only point down:
//
//	apply, look, saved   run a plan; draw and measure it; keep it in a file
//	plan                 a configuration → what to do with each block, and why
//	blocks/*             a kind of block each: how it is planned, what tells it apart, how it runs
//	blocks               what plan and apply know of a block: its interfaces
//	train                the training loop of a stage
//	forward              a model run forward, and what is not finite in it
//	program, results     a stage's device program, compiled to fit; what blocks made, on disk
//	observe, …           spans, metrics and events; then the files: state, checkpoint, metrics, exportdir, durable
//
// Start with plan.New and apply.Apply; blocks/stage is the largest kind.
package runtime
