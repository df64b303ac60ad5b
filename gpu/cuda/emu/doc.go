// Package emu is a stand-in for a card, for tests: it runs the kernels' own sources, compiled as C++ for
// the host, and checks what a card would not tell: threads that miss a barrier, arguments of another size
// than their parameters, and, built with the address sanitizer, accesses outside a launch's operands.
// Threads run in an order that can be chosen, so that a result which depends on it shows.
//
// It needs cgo and g++ on amd64, and the build tag cudaemu.
package emu
