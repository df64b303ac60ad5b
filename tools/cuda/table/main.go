// Command table writes docs/kernels.md: what the compiler made of every kernel for an H100, and how long a training
// step is expected to take there. It needs no card, and no card has confirmed it.
//
//	go run ./tools/cuda/table > docs/kernels.md
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
)

func main() {
	image := flag.String("image", "gpu/cuda/kernels/images/sm_90a.cubin.gz", "machine code of the kernels")
	flag.Parse()
	w := bufio.NewWriter(os.Stdout)
	list, err := readImage(*image)
	if err == nil {
		err = writePage(w, list)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}
