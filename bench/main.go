// Command bench compares the CPU device with its peers in one run, taking turns: matrix products with
// OpenBLAS and oneDNN, a training step with PyTorch, training with little memory with torchao, bitsandbytes, galore-torch,
// apollo-torch and peft, the data path with tokenizers, pyarrow and datasets. It prints the
// tables of docs/performance.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"stepflow/gpu/cpu"
)

// options are the flags.
type options struct {
	python, stepflow string
	threads, rounds  int
	parts, device    string
}

func main() {
	var o options
	flag.StringVar(&o.python, "python", "python3", "Python with torch and numpy")
	flag.StringVar(&o.stepflow, "stepflow", "bin/stepflow", "the binary under test")
	flag.IntVar(&o.threads, "threads", 2, "threads for everyone")
	flag.IntVar(&o.rounds, "rounds", 3, "turns each takes")
	flag.StringVar(&o.parts, "parts", "products,threads,step,lowmemory,data,tracing", "what to run")
	flag.StringVar(&o.device, "device", "cpu", "what training steps run on: cpu or cuda; the other parts are the CPU's")
	flag.Parse()
	fmt.Printf("%s, %s, %d threads\n\n", cpu.PlanCaps("").Name, time.Now().UTC().Format("2006-01-02"), o.threads)
	for _, part := range []struct {
		name string
		run  func(options) error
	}{{"products", products}, {"threads", threads}, {"step", steps}, {"lowmemory", lowMemory}, {"data", data}, {"tracing", tracing}} {
		if !slices.Contains(strings.Split(o.parts, ","), part.name) {
			continue
		}
		if err := part.run(o); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
