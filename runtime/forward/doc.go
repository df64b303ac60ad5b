// Package forward runs a model forward. It loads a program with weights from a folder and gives losses or logits, and
// finds what is not finite: in the weights that are read, or in what a program computes from them. Start with Load.
package forward
