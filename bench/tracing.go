package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"stepflow/runtime/metrics"
)

// tracing runs the shortened quickstart without telemetry and with, to collectors of several tempers, in turns, and
// compares the time of its steps.
func tracing(o options) error {
	var calls atomic.Int64
	serve := func(f func(w http.ResponseWriter)) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-protobuf")
			f(w)
		}))
	}
	quick := serve(func(http.ResponseWriter) {})
	slow := serve(func(http.ResponseWriter) { time.Sleep(time.Second) })
	flapping := serve(func(w http.ResponseWriter) {
		if calls.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	defer quick.Close()
	defer slow.Close()
	defer flapping.Close()
	modes := []struct{ name, endpoint string }{{"off", ""}, {"off again", ""}, {"on", quick.URL},
		{"collector down", "http://127.0.0.1:9"}, {"collector takes 1 s a call", slow.URL},
		{"every second call refused", flapping.URL}}
	steps := make([][]float64, len(modes)) // milliseconds a step, by round
	for range o.rounds {
		for i, m := range modes {
			ms, err := tracedRun(o, m.endpoint)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			steps[i] = append(steps[i], ms)
		}
	}
	fmt.Printf("| telemetry | ms a step, mean of a run | of \"off\" in the same round |\n|---|---|---|\n")
	for i, m := range modes {
		var ratios []float64
		for r := range steps[i] {
			ratios = append(ratios, steps[i][r]/steps[0][r])
		}
		fmt.Printf("| %s | %.2f | %.3f |\n", m.name, median(steps[i]), median(ratios))
	}
	fmt.Println()
	return nil
}

// tracedRun gives the mean time of a step, the first of each stage left out, in milliseconds.
func tracedRun(o options, endpoint string) (float64, error) {
	dir, err := os.MkdirTemp("", "stepflow-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := copyQuickstart(dir); err != nil {
		return 0, err
	}
	cmd := exec.Command(o.stepflow, "apply", "-auto-approve", "-threads", fmt.Sprint(o.threads), "-var",
		"tokens=250000", dir)
	cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint)
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, ".stepflow", "blocks", "*", metrics.FileName))
	if err != nil {
		return 0, err
	}
	sum, n := 0.0, 0
	for _, path := range files {
		list, err := metrics.Read(path)
		if err != nil {
			return 0, err
		}
		for _, s := range list[min(1, len(list)):] {
			sum += s.Seconds
			n++
		}
	}
	if n == 0 {
		return 0, fmt.Errorf("no step was made")
	}
	return 1e3 * sum / float64(n), nil
}

// copyQuickstart makes a folder a copy of the quickstart, so that what make quickstart exported stays. It reads the
// same data.
func copyQuickstart(dir string) error {
	const from = "pipelines/quickstart"
	data, err := filepath.Abs(filepath.Join(from, "data"))
	if err != nil {
		return err
	}
	if err := os.Symlink(data, filepath.Join(dir, "data")); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(from, "*.hcl"))
	if err != nil {
		return err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o666); err != nil {
			return err
		}
	}
	return nil
}
