package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"time"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/probe"
)

// shape is a product [m,k] x [k,n].
type shape struct {
	name    string
	m, n, k int
	ta, tb  bool
}

var shapes = []shape{{"NT", 2048, 688, 256, false, true}, {"NN", 2048, 1024, 2736, false, false},
	{"TN", 2736, 1024, 2048, true, false}, {"NT", 2048, 5461, 2048, false, true},
	{"NT", 2048, 256, 256, false, true}, {"NN", 2048, 256, 688, false, false}, {"TN", 688, 256, 2048, true, false},
	{"NT", 512, 344, 128, false, true}}

func (s shape) flops() float64 { return 2 * float64(s.m) * float64(s.n) * float64(s.k) }

// worker is a Python process that multiplies on demand.
type worker struct {
	cmd *exec.Cmd
	in  *json.Encoder
	out *bufio.Scanner
}

func startWorker(o options) (*worker, error) {
	cmd := exec.Command(o.python, "bench/peers.py", "products", "--threads", strconv.Itoa(o.threads))
	cmd.Env = append(os.Environ(), "OPENBLAS_NUM_THREADS="+strconv.Itoa(o.threads),
		"OMP_NUM_THREADS="+strconv.Itoa(o.threads))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &worker{cmd, json.NewEncoder(in), bufio.NewScanner(out)}, cmd.Start()
}

// time runs a product a number of times and gives the median in seconds.
func (w *worker) time(peer string, s shape, runs int) (float64, error) {
	task := map[string]any{"peer": peer, "m": s.m, "n": s.n, "k": s.k, "trans_a": s.ta, "trans_b": s.tb, "runs": runs}
	if err := w.in.Encode(task); err != nil {
		return 0, err
	}
	if !w.out.Scan() {
		return 0, fmt.Errorf("%s does not answer", peer)
	}
	var r struct{ Seconds []float64 }
	if err := json.Unmarshal(w.out.Bytes(), &r); err != nil {
		return 0, err
	}
	return median(r.Seconds), nil
}

// ours runs a product on the device.
func ours(d *cpu.Device, s shape, t gpu.DType, runs int) (float64, error) {
	a, b := gpu.Shape{s.m, s.k}, gpu.Shape{s.k, s.n}
	if s.ta {
		a = gpu.Shape{s.k, s.m}
	}
	if s.tb {
		b = gpu.Shape{s.n, s.k}
	}
	c := probe.Case{Kernel: "matmul", Attrs: gpu.Attrs{TransA: s.ta, TransB: s.tb, Alpha: 1},
		In: []gpu.Type{{Shape: a, DType: t}, {Shape: b, DType: t}}, Copies: 1}
	l, _, err := c.Open(d)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	var times []float64
	for i := 0; i <= runs; i++ {
		start := time.Now()
		if err := l.Run(0, 1, false); err != nil {
			return 0, err
		}
		if i > 0 {
			times = append(times, time.Since(start).Seconds())
		}
	}
	return median(times), nil
}

// products compares matrix products: rates are medians over all turns.
func products(o options) error {
	d, err := cpu.Open(o.threads, "")
	if err != nil {
		return err
	}
	defer d.Close()
	peers := []string{"openblas", "onednn", "mkl", "onednn_bf16"}
	workers := map[string]*worker{}
	for _, p := range peers {
		if workers[p], err = startWorker(o); err != nil {
			return err
		}
		defer workers[p].cmd.Process.Kill()
	}
	fmt.Printf("Matrix products, GFLOP/s (%s)\n\n", versions(o))
	fmt.Println("| product | OpenBLAS f32 | oneDNN f32 | MKL f32 | stepflow f32 | of OpenBLAS | oneDNN bf16 | " +
		"stepflow bf16 | of oneDNN bf16 | of OpenBLAS f32 |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	var f32, bf16, half float64
	for _, s := range shapes {
		runs := max(3, min(200, int(0.15*150e9/s.flops())))
		seconds := map[string][]float64{}
		for round := 0; round < max(5, o.rounds); round++ {
			for _, p := range peers {
				x, err := workers[p].time(p, s, runs)
				if err != nil {
					return err
				}
				seconds[p] = append(seconds[p], x)
			}
			for name, t := range map[string]gpu.DType{"f32": gpu.F32, "bf16": gpu.BF16} {
				x, err := ours(d, s, t, runs)
				if err != nil {
					return err
				}
				seconds[name] = append(seconds[name], x)
			}
		}
		rate := func(name string) float64 { return s.flops() / median(seconds[name]) / 1e9 }
		ratio := func(name, peer string) float64 { // the median of the turns' ratios
			var r []float64
			for i, x := range seconds[name] {
				r = append(r, seconds[peer][i]/x)
			}
			return median(r)
		}
		a, b, c := ratio("f32", "openblas"), ratio("bf16", "onednn_bf16"), ratio("bf16", "openblas")
		f32, bf16, half = f32+math.Log(a), bf16+math.Log(b), half+math.Log(c)
		fmt.Printf("| %s %dx%dx%d | %.0f | %.0f | %.0f | %.0f | %.2f | %.0f | %.0f | %.2f | %.2f |\n", s.name, s.m,
			s.n, s.k, rate("openblas"), rate("onednn"), rate("mkl"), rate("f32"), a, rate("onednn_bf16"), rate("bf16"),
			b, c)
	}
	n := float64(len(shapes))
	fmt.Printf("\nGeometric means: f32 %.2f of OpenBLAS; bf16 %.2f of oneDNN bf16, %.2f of OpenBLAS f32.\n\n",
		math.Exp(f32/n), math.Exp(bf16/n), math.Exp(half/n))
	return nil
}

// threads compares all threads with one.
func threads(o options) error {
	if o.threads < 2 {
		return nil
	}
	fmt.Printf("Threads, GFLOP/s\n\n| product | f32, 1 thread | f32, %d threads | times | bf16, 1 thread | bf16, %d "+
		"threads | times |\n|---|---|---|---|---|---|---|\n", o.threads, o.threads)
	for _, s := range shapes {
		fmt.Printf("| %s %dx%dx%d ", s.name, s.m, s.n, s.k)
		for _, t := range []gpu.DType{gpu.F32, gpu.BF16} {
			var times [2][]float64
			for round := 0; round < max(5, o.rounds); round++ {
				for i, n := range []int{1, o.threads} {
					d, err := cpu.Open(n, "")
					if err != nil {
						return err
					}
					x, err := ours(d, s, t, max(3, min(100, int(0.1*100e9/s.flops()))))
					d.Close()
					if err != nil {
						return err
					}
					times[i] = append(times[i], x)
				}
			}
			one, all := median(times[0]), median(times[1])
			fmt.Printf("| %.0f | %.0f | %.2f ", s.flops()/one/1e9, s.flops()/all/1e9, one/all)
		}
		fmt.Println("|")
	}
	fmt.Println()
	return nil
}

func versions(o options) string {
	out, err := exec.Command(o.python, "bench/peers.py", "versions").Output()
	var v map[string]string
	if err != nil || json.Unmarshal(out, &v) != nil {
		return "versions unknown"
	}
	if v["card"] != "" {
		return fmt.Sprintf("%s, PyTorch %s with CUDA %s", v["card"], v["torch"], v["cuda"])
	}
	return fmt.Sprintf("%s in NumPy %s; oneDNN %s in PyTorch %s", v["openblas"], v["numpy"], v["onednn"], v["torch"])
}
