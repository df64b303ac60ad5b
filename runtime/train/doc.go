// Package train trains a stage. A Loop restores a checkpoint or makes the first weights, of random numbers, of a folder or of the
// stage before, runs the steps, saves checkpoints on the way, and in the end merges the adapters. Start with Begin in loop.go; a step
// is step.go.
package train
