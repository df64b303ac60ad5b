package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// sixty is the 60M LLaMA of the papers on GaLore and APOLLO, with a small batch, so that updates count.
var sixty = size{"60M: hidden 512, 8 layers, vocabulary 32000, 4 x 256 tokens", 512, 1376, 8, 8, 32000, 256, 4, 6}

// method is a way to train with little memory: a stage of bench/lowmemory, and what peers do the same with.
type method struct {
	name, stage, after string   // after is a stage that it starts from, which is trained first and not measured
	peers              []string // methods of lowmemory_peers.py
}

var methods = []method{
	{"AdamW", "adamw", "", []string{"adamw"}},
	{"AdamW, fused updates", "adamw_fused", "", nil},
	{"AdamW, 8-bit states", "adamw_8bit", "", []string{"torchao_8bit", "bitsandbytes_8bit"}},
	{"AdamW, 8-bit states, fused updates", "adamw_8bit_fused", "", nil},
	{"GaLore", "galore", "", []string{"galore"}},
	{"GaLore, 8-bit states", "galore_8bit", "", []string{"galore_8bit"}},
	{"APOLLO", "apollo", "", []string{"apollo"}},
	{"LoRA on NF4", "lora_nf4", "base", []string{"lora_nf4"}},
}

// who names the code of a peer's method.
var who = map[string]string{"adamw": "PyTorch", "torchao_8bit": "torchao", "bitsandbytes_8bit": "bitsandbytes",
	"galore": "galore-torch", "galore_8bit": "galore-torch", "apollo": "apollo-torch", "lora_nf4": "peft, bitsandbytes"}

// row is a line of the table: what all turns measured, or why it does not run.
type row struct {
	method, who             string
	run                     func() (measured, error)
	rates, peaks, libraries []float64
	failed                  error
}

// lowMemory compares training steps of methods that save memory with their peers' on the CPU, in bf16: weights, gradients
// and, unless they have 8 bits, moments.
func lowMemory(o options) error {
	var rows []*row
	for _, m := range methods {
		for _, p := range m.peers {
			rows = append(rows, &row{method: m.name, who: who[p], run: func() (measured, error) {
				return peer(o, sixty, "bench/lowmemory_peers.py", p, "--precision", "bf16")
			}})
		}
		rows = append(rows, &row{method: m.name, who: "stepflow", run: func() (measured, error) { return m.apply(o, sixty) }})
	}
	for range o.rounds {
		for _, r := range rows {
			if r.failed != nil {
				continue
			}
			m, err := r.run()
			if err != nil {
				r.failed = err
				continue
			}
			fmt.Fprintf(os.Stderr, "%s, %s: %.0f tokens/s\n", r.method, r.who, m.TokensPerSecond)
			r.rates, r.peaks = append(r.rates, m.TokensPerSecond), append(r.peaks, float64(m.PeakBytes))
			r.libraries = append(r.libraries, float64(m.Libraries))
		}
	}
	fmt.Printf("Training with little memory: steps in bf16, models not compiled (%s)\n\n%s\n\n", lowMemoryVersions(o), sixty.name)
	fmt.Println("| method | | tokens/s | peak RSS | of which before the model |\n|---|---|--:|--:|--:|")
	for _, r := range rows {
		if r.failed != nil {
			fmt.Printf("| %s | %s | does not run: %s | | |\n", r.method, r.who, lastLine([]byte(r.failed.Error())))
			continue
		}
		before := ""
		if n := median(r.libraries); n > 0 {
			before = fmt.Sprintf("%.2f GiB", n/(1<<30))
		}
		fmt.Printf("| %s | %s | %.0f | %.2f GiB | %s |\n", r.method, r.who, median(r.rates), median(r.peaks)/(1<<30), before)
	}
	fmt.Println("\nThe first two steps, in which GaLore finds its projections, are left out, and so is the reading of data and checkpoints.")
	for i, r := range rows {
		if r.who != "stepflow" || r.failed != nil {
			continue
		}
		for _, p := range rows[:i] {
			if p.method != r.method || p.failed != nil {
				continue
			}
			fmt.Printf("\n%s: %.2f times the tokens/s and %.2f times the peak RSS of %s.\n", r.method,
				ratio(r.rates, p.rates), ratio(r.peaks, p.peaks), p.who)
		}
	}
	fmt.Println()
	if i := slices.IndexFunc(rows, func(r *row) bool { return r.who == "stepflow" && r.failed != nil }); i >= 0 {
		return fmt.Errorf("%s: %w", rows[i].method, rows[i].failed)
	}
	return nil
}

// apply trains the stage of a method.
func (m method) apply(o options, z size) (measured, error) {
	dir, err := os.MkdirTemp("", "stepflow-bench")
	if err != nil {
		return measured{}, err
	}
	defer os.RemoveAll(dir)
	if m.after != "" {
		if _, err := apply(o, z, "bench/lowmemory", m.after, dir, "-target", "stage."+m.after); err != nil {
			return measured{}, err
		}
	}
	return apply(o, z, "bench/lowmemory", m.stage, dir, "-target", "stage."+m.stage)
}

// ratio is the median of the ratios of turns.
func ratio(a, b []float64) float64 {
	var list []float64
	for i := range a {
		list = append(list, a[i]/b[i])
	}
	return median(list)
}

func lowMemoryVersions(o options) string {
	out, err := exec.Command(o.python, "bench/lowmemory_peers.py", "versions").Output()
	var v map[string]string
	if err != nil || json.Unmarshal(out, &v) != nil {
		return "versions unknown"
	}
	var list []string
	for _, name := range []string{"torch", "torchao", "bitsandbytes", "galore-torch", "apollo-torch", "peft"} {
		list = append(list, name+" "+v[name])
	}
	return strings.Join(list, ", ")
}
