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

// onCard are the sizes for a card: the paper's LLaMA of 24 layers.
var onCard = []size{
	{"368M: hidden 1024, 24 layers, vocabulary 32000, 16 x 1024 tokens", 1024, 2736, 24, 16, 32000, 1024, 16, 20},
	{"1.2B: hidden 2048, 24 layers, vocabulary 32000, 8 x 1024 tokens", 2048, 5461, 24, 16, 32000, 1024, 8, 20},
}

// contestant runs a few steps in a process of its own.
type contestant struct {
	name string
	run  func(o options, z size) (tokensPerSecond float64, peakBytes int64, err error)
}

func torch(mode, precision string) contestant {
	return contestant{"PyTorch " + mode + " " + precision, func(o options, z size) (float64, int64, error) {
		cmd := exec.Command(o.python, "bench/peers.py", "step", "--device", o.device, "--threads",
			strconv.Itoa(o.threads), "--mode", mode, "--precision", precision,
			"--hidden", strconv.Itoa(z.hidden), "--intermediate", strconv.Itoa(z.intermediate), "--layers",
			strconv.Itoa(z.layers), "--heads", strconv.Itoa(z.heads),
			"--vocab", strconv.Itoa(z.vocab), "--seq", strconv.Itoa(z.seq), "--batch", strconv.Itoa(z.rows), "--steps",
			strconv.Itoa(z.steps))
		cmd.Env = append(os.Environ(), "OMP_NUM_THREADS="+strconv.Itoa(o.threads))
		out, err := cmd.Output()
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		var r struct {
			TokensPerSecond float64 `json:"tokens_per_second"`
			PeakBytes       int64   `json:"peak_bytes"`
		}
		err = json.Unmarshal([]byte(lines[len(lines)-1]), &r)
		return r.TokensPerSecond, r.PeakBytes, err
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
		args := []string{"apply", "-auto-approve", "-device", o.device, "-threads", strconv.Itoa(o.threads),
			"-state-dir", dir}
		for name, value := range map[string]any{"precision": precision, "activation_checkpointing": checkpointing, "hidden_size": z.hidden, "intermediate_size": z.intermediate, "layers": z.layers,
			"heads": z.heads, "vocab_size": z.vocab, "sequence_length": z.seq, "batch_size": z.rows, "steps": z.steps} {
			args = append(args, "-var", fmt.Sprintf("%s=%v", name, value))
		}
		cmd := exec.Command(o.stepflow, append(args, "bench/step")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, 0, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
		}
		bytes := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024
		if o.device != "cpu" {
			if bytes, err = allocated(dir); err != nil {
				return 0, 0, err
			}
		}
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
		return median(rates[2:]), bytes, nil // as for the peers, two steps warm up
	}}
}

// allocated is the card's memory that a stage held, as its state tells: like PyTorch's figure, without
// what the driver's context takes.
func allocated(dir string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		return 0, err
	}
	var s struct {
		Blocks map[string]struct {
			Memory struct {
				Measured int64 `json:"measured_bytes"`
			} `json:"memory"`
		} `json:"blocks"`
	}
	err = json.Unmarshal(b, &s)
	return s.Blocks["stage.step"].Memory.Measured, err
}

// steps compares whole training steps.
func steps(o options) error {
	list := []contestant{
		torch("eager", "fp32"), torch("compile", "fp32"), torch("eager", "bf16-autocast"),
		torch("compile", "bf16-autocast"), torch("compile", "bf16"),
		stepflow("fp32", "none"), stepflow("bf16", "none"), stepflow("bf16", "block"),
	}
	sizes, what := sizes, "RSS"
	if o.device != "cpu" {
		list = []contestant{torch("eager", "bf16-autocast"), torch("compile", "bf16-autocast"),
			torch("compile", "bf16"), stepflow("bf16", "none"), stepflow("bf16", "block")}
		sizes, what = onCard, "memory of the card"
	}
	fmt.Printf("Training step: forward, backward, clipping, AdamW (%s)\n", versions(o))
	for _, z := range sizes {
		fmt.Printf("\n%s\n\n| | tokens/s | peak %s |\n|---|---|---|\n", z.name, what)
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
				if strings.HasPrefix(c.name, "PyTorch") && strings.Contains(c.name, p) &&
					(best == "" || median(rates[c.name]) > median(rates[best])) {
					best = c.name
				}
			}
			us := "stepflow " + p
			if best == "" || rates[us] == nil {
				continue
			}
			fmt.Printf("\n%s: %.2f times the tokens/s and %.2f times the peak %s of the fastest, %s.\n",
				us, median(rates[us])/median(rates[best]), median(memory[us])/median(memory[best]), what, best)
		}
	}
	return nil
}
