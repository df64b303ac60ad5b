// Package program makes the device programs of a stage and of a forward pass. A Stage says what a training step computes; Programs
// compiles it for a device and gives up, in the order of their price, what does not fit its memory; Figures are the bytes and
// operations that come of it. Start with Stage and StageGraph.
package program
