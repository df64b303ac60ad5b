package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"stepflow/runtime/metrics"
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
		m, err := peer(o, z, "bench/peers.py", "step", "--device", o.device, "--mode", mode, "--precision", precision)
		if err != nil {
			err = fmt.Errorf("PyTorch %s %s: %w", mode, precision, err)
		}
		return m.TokensPerSecond, m.PeakBytes, err
	}}
}

// measured is what a script of a peer prints.
type measured struct {
	TokensPerSecond float64 `json:"tokens_per_second"`
	PeakBytes       int64   `json:"peak_bytes"`
	Libraries       int64   // what the process took before it had a model
}

// peer runs steps of a size in Python. The error of a script begins with the last line that it printed.
func peer(o options, z size, args ...string) (m measured, err error) {
	for _, f := range []struct {
		flag  string
		value int
	}{{"threads", o.threads}, {"hidden", z.hidden}, {"intermediate", z.intermediate}, {"layers", z.layers}, {"heads", z.heads},
		{"vocab", z.vocab}, {"seq", z.seq}, {"batch", z.rows}, {"steps", z.steps}} {
		args = append(args, "--"+f.flag, strconv.Itoa(f.value))
	}
	cmd := exec.Command(o.python, args...)
	cmd.Env = append(os.Environ(), "OMP_NUM_THREADS="+strconv.Itoa(o.threads), "HF_HUB_OFFLINE=1")
	var failed bytes.Buffer
	cmd.Stderr = &failed
	out, err := cmd.Output()
	if err != nil {
		return m, fmt.Errorf("%s (%w)", lastLine(failed.Bytes()), err)
	}
	return m, json.Unmarshal([]byte(lastLine(out)), &m)
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
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
		m, err := apply(o, z, "bench/step", "step", dir, "-var", "precision="+precision, "-var",
			"activation_checkpointing="+checkpointing)
		return m.TokensPerSecond, m.PeakBytes, err
	}}
}

// apply trains a stage of a pipeline, and what it is made from, with its state in a folder.
func apply(o options, z size, pipeline, stage, dir string, args ...string) (m measured, err error) {
	args = append([]string{"apply", "-auto-approve", "-device", o.device, "-threads", strconv.Itoa(o.threads), "-state-dir", dir}, args...)
	for name, value := range map[string]int{"hidden_size": z.hidden, "intermediate_size": z.intermediate, "layers": z.layers,
		"heads": z.heads, "vocab_size": z.vocab, "sequence_length": z.seq, "batch_size": z.rows, "steps": z.steps} {
		args = append(args, "-var", fmt.Sprintf("%s=%d", name, value))
	}
	cmd := exec.Command(o.stepflow, append(args, pipeline)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return m, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	m.PeakBytes = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024
	if o.device != "cpu" {
		if m.PeakBytes, err = allocated(dir); err != nil {
			return m, err
		}
	}
	list, err := metrics.Read(filepath.Join(dir, "blocks", "stage."+stage, metrics.FileName))
	if err != nil {
		return m, err
	}
	var rates []float64
	for _, s := range list[min(2, len(list)):] { // as for the peers, two steps warm up
		rates = append(rates, s.TokensPerSec)
	}
	if len(rates) == 0 {
		return m, fmt.Errorf("stage.%s made %d steps, and two warm up", stage, len(list))
	}
	m.TokensPerSecond = median(rates)
	return m, nil
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
