package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// size is a LLaMA and a batch; layers has the number of layers.
type size struct {
	name                                                         string
	hidden, intermediate, layers, heads, vocab, seq, rows, steps int
}

var sizes = []size{
	{"hidden 256, 8 layers, vocabulary 4096, 8 x 256 tokens", 256, 688, 8, 4, 4096, 256, 8, 10},
	{"hidden 512, 12 layers, vocabulary 32000, 8 x 256 tokens", 512, 1376, 12, 8, 32000, 256, 8, 6},
}

// contestant runs a few steps in a process of its own.
type contestant struct {
	name string
	run  func(o options, z size) (tokensPerSecond float64, peakRSS int64, err error)
}

func torch(mode, precision string) contestant {
	return contestant{"PyTorch " + mode + " " + precision, func(o options, z size) (float64, int64, error) {
		cmd := exec.Command(o.python, "bench/peers.py", "step", "--threads", strconv.Itoa(o.threads), "--mode", mode, "--precision", precision,
			"--hidden", strconv.Itoa(z.hidden), "--intermediate", strconv.Itoa(z.intermediate), "--layers", strconv.Itoa(z.layers), "--heads", strconv.Itoa(z.heads),
			"--vocab", strconv.Itoa(z.vocab), "--seq", strconv.Itoa(z.seq), "--batch", strconv.Itoa(z.rows), "--steps", strconv.Itoa(z.steps))
		cmd.Env = append(os.Environ(), "OMP_NUM_THREADS="+strconv.Itoa(o.threads))
		out, err := cmd.Output()
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		var r struct {
			TokensPerSecond float64 `json:"tokens_per_second"`
			PeakRSS         int64   `json:"peak_rss"`
		}
		err = json.Unmarshal([]byte(lines[len(lines)-1]), &r)
		return r.TokensPerSecond, r.PeakRSS, err
	}}
}

// stepflow trains bench/step with stepflow apply, all of it: data, checkpoint, metrics.
func stepflow(precision, checkpointing string) contestant {
	name := "stepflow " + precision
	if checkpointing != "none" {
		name += ", activation_checkpointing = " + checkpointing
	}
	return contestant{name, func(o options, z size) (float64, int64, error) {
		dir, err := os.MkdirTemp("", "stepflow-bench")
		if err != nil {
			return 0, 0, err
		}
		defer os.RemoveAll(dir)
		args := []string{"apply", "-auto-approve", "-threads", strconv.Itoa(o.threads), "-state-dir", dir}
		for name, value := range map[string]any{"precision": precision, "activation_checkpointing": checkpointing, "hidden_size": z.hidden, "intermediate_size": z.intermediate, "layers": z.layers,
			"heads": z.heads, "vocab_size": z.vocab, "batch_size": z.rows, "steps": z.steps} {
			args = append(args, "-var", fmt.Sprintf("%s=%v", name, value))
		}
		cmd := exec.Command(o.stepflow, append(args, "bench/step")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, 0, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
		}
		rss := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024
		f, err := os.Open(filepath.Join(dir, "blocks", "stage.step", "metrics.jsonl"))
		if err != nil {
			return 0, 0, err
		}
		defer f.Close()
		var rates []float64
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var m struct {
				TokensPerSecond float64 `json:"tokens_per_second"`
			}
			if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
				return 0, 0, err
			}
			rates = append(rates, m.TokensPerSecond)
		}
		return median(rates[2:]), rss, nil // as for the peers, two steps warm up
	}}
}

// steps compares whole training steps.
func steps(o options) error {
	list := []contestant{
		torch("eager", "fp32"), torch("compile", "fp32"), torch("eager", "bf16-autocast"), torch("compile", "bf16-autocast"), torch("compile", "bf16"),
		stepflow("fp32", "none"), stepflow("bf16", "none"), stepflow("bf16", "block"),
	}
	fmt.Printf("Training step: forward, backward, clipping, AdamW (%s)\n", versions(o))
	for _, z := range sizes {
		fmt.Printf("\n%s\n\n| | tokens/s | peak RSS |\n|---|---|---|\n", z.name)
		rates, memory := map[string][]float64{}, map[string][]float64{}
		for round := 0; round < o.rounds; round++ {
			for _, c := range list {
				r, m, err := c.run(o, z)
				if err != nil {
					return err
				}
				rates[c.name], memory[c.name] = append(rates[c.name], r), append(memory[c.name], float64(m))
			}
		}
		for _, c := range list {
			fmt.Printf("| %s | %.0f | %.2f GiB |\n", c.name, median(rates[c.name]), median(memory[c.name])/(1<<30))
		}
		for _, p := range []string{"fp32", "bf16"} {
			best := "" // of PyTorch in this precision
			for _, c := range list {
				if strings.HasPrefix(c.name, "PyTorch") && strings.Contains(c.name, p) && (best == "" || median(rates[c.name]) > median(rates[best])) {
					best = c.name
				}
			}
			us := "stepflow " + p
			fmt.Printf("\n%s: %.2f times the tokens/s and %.2f times the peak RSS of the fastest, %s.\n", us, median(rates[us])/median(rates[best]), median(memory[us])/median(memory[best]), best)
		}
	}
	return nil
}
