// Command stepflow trains language models in little memory from pipelines written in HCL.
//
// In: a command with its flags, and a folder with a pipeline. Out: text for people, or with -json a
// line for machines, and an exit code. Nothing is decided here: a command reads its flags, calls
// packages dsl, runtime and report, and prints what they return.
//
// Start with the table of commands (command.go); each has a script of its name in testdata/script.
// interrupt.go and output.go say what a signal, or a reader that went away, does to a command.
package main
