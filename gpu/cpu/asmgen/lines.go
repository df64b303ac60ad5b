package main

import (
	"fmt"
	"io"
)

// line writes lines of assembly.
func line(w io.Writer, format string, args ...any) { fmt.Fprintf(w, "\t"+format+"\n", args...) }

// data writes a constant: elements of size bytes each.
func data(w io.Writer, name string, size int, elements ...int) {
	fmt.Fprintln(w)
	for i, x := range elements {
		fmt.Fprintf(w, "DATA %s<>+%d(SB)/%d, $%d\n", name, size*i, size, x)
	}
	fmt.Fprintf(w, "GLOBL %s<>(SB), RODATA|NOPTR, $%d\n", name, size*len(elements))
}
