package main

import (
	"flag"
	"fmt"
	"time"

	"stepflow/gpu"
	"stepflow/gpu/probe"
	"stepflow/runtime/program"
)

// benchCommand measures a device: its rates, then each hot kernel of a training step against them.
func benchCommand() command {
	s := probe.Shapes{}
	var precision, folder string
	var seconds float64
	return command{name: "bench", args: "[flags]", short: "Measures the device.",
		synopsis: "Measures the device. First the rates of large matrix products and copies, then every hot kernel " +
			"of a training step: its rate and the share of the device's it reaches. With -ranks, or started by mpirun: the link " +
			"between ranks.",
		example: "stepflow bench -hidden 2048 -intermediate 5461 -heads 32 -vocab 32000 -batch 1 -sequence 1024",
		flags: func(a *app, f *flag.FlagSet) {
			f.BoolVar(&a.json, "json", false, "write JSON for machines")
			f.StringVar(&a.device, "device", "cpu", "device to measure: cpu, cuda or cuda:N for card N")
			f.IntVar(&a.threads, "threads", 0, "threads of the CPU device; 0 for all processors")
			f.IntVar(&a.wanted, "ranks", 0, "start so many processes on this machine, and measure what they send through; mpirun and srun "+
				"start them on several")
			f.StringVar(&folder, "state-dir", "", "with -ranks: the state that notes what was measured, for plan -ranks")
			f.StringVar(&precision, "precision", "", "fp32 or bf16; default: both")
			f.Float64Var(&seconds, "seconds", 0.2, "time to spend on a kernel at least")
			f.IntVar(&s.Batch, "batch", 8, "sequences")
			f.IntVar(&s.Seq, "sequence", 256, "tokens a sequence")
			f.IntVar(&s.Hidden, "hidden", 256, "hidden_size")
			f.IntVar(&s.Intermediate, "intermediate", 688, "intermediate_size")
			f.IntVar(&s.Heads, "heads", 4, "num_attention_heads")
			f.IntVar(&s.KVHeads, "kv-heads", 0, "num_key_value_heads; default: as many as heads")
			f.IntVar(&s.Vocab, "vocab", 4096, "vocab_size")
			f.IntVar(&s.Rank, "rank", 8, "r of a LoRA")
		},
		run: func(a *app, _ []string) int {
			types := []gpu.DType{gpu.F32, gpu.BF16}
			switch precision {
			case "":
			case "fp32":
				types = types[:1]
			case "bf16":
				types = types[1:]
			default:
				return a.misuse("stepflow bench: -precision is fp32 or bf16, not %q", precision)
			}
			if s.KVHeads == 0 {
				s.KVHeads = s.Heads
			}
			if err := s.Check(); err != nil {
				return a.fail(err)
			}
			return a.asRanks(func() int {
				if a.ranks != nil {
					return a.benchLink(folder)
				}
				return a.bench(s, types, time.Duration(seconds*float64(time.Second)))
			})
		}}
}

func (a *app) bench(s probe.Shapes, types []gpu.DType, least time.Duration) int {
	d, err := a.openDevice()
	if err != nil {
		return a.fail(err)
	}
	defer d.Close()
	c, bandwidth := d.Caps(), d.Bandwidth()
	s = s.On(c)
	var rows []map[string]any
	if !a.json {
		fmt.Fprintf(a.stdout, "%s: %s, %d threads\n", c.Kind, c.Name, c.Threads)
		for _, t := range types {
			fmt.Fprintf(a.stdout, "matrix product, %s: %.1f GFLOP/s\n", program.Precision(t), d.PeakFLOPs(t)/1e9)
		}
		fmt.Fprintf(a.stdout, "large copy: %.1f GB/s read and written\n\n", bandwidth/1e9)
		fmt.Fprintf(a.stdout, "%d x %d tokens, hidden %d, intermediate %d, %d heads, %d key-value heads, vocabulary "+
			"%d, rank %d\n", s.Batch,
			s.Seq, s.Hidden, s.Intermediate, s.Heads, s.KVHeads, s.Vocab, s.Rank)
		fmt.Fprintf(a.stdout, "%-26s %-28s %-5s %11s %16s %13s  %s\n",
			"kernel", "in a step", "", "time", "arithmetic", "traffic",
			"of the device's rate")
	}
	for _, t := range types {
		peak := d.PeakFLOPs(t)
		for _, x := range probe.Cases(s, t) {
			r, err := probe.Measure(d, x, least)
			if err != nil {
				return a.fail(err)
			}
			compute, memory := r.GFLOPs()*1e9/peak, r.GBs()*1e9/bandwidth
			bound, share := "arithmetic", compute
			if float64(r.FLOPs)/peak < float64(r.Bytes)/bandwidth { // at full rate the traffic would take longer
				bound, share = "traffic", memory
			}
			if a.json {
				rows = append(rows, map[string]any{"kernel": r.Kernel, "name": r.Name,
					"precision": program.Precision(t), "seconds": r.Seconds,
					"flops": r.FLOPs, "bytes": r.Bytes,
					"gflops": r.GFLOPs(), "gbytes": r.GBs(), "bound": bound, "share": share})
				continue
			}
			fmt.Fprintf(a.stdout, "%-26s %-28s %-5s %8.3f ms %8.1f GFLOP/s %8.1f GB/s  %3.0f %% of %s\n",
				r.Kernel, r.Name, program.Precision(t),
				1e3*r.Seconds, r.GFLOPs(), r.GBs(), 100*share, bound)
		}
	}
	if a.json {
		peaks := map[string]float64{}
		for _, t := range types {
			peaks[program.Precision(t)] = d.PeakFLOPs(t)
		}
		a.line(map[string]any{"device": c.Kind, "name": c.Name, "threads": c.Threads, "peak_flops": peaks,
			"bandwidth": bandwidth, "kernels": rows})
	}
	return exitOK
}
