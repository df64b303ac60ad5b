package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"stepflow/fineweb"
	"stepflow/runtime/apply"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
)

// overServer is a pipeline whose documents lie on a server, more of them than a client keeps in memory.
const overServer = `
data "parquet" "d" {
  source   = "%s/d.parquet"
  seed     = 3
  on_error = "%s"
}
tokenizer "bpe" "t" {
  train_on   = data.parquet.d
  vocab_size = 270
  max_bytes  = "16 KiB"
}
model "llama" "m" {
  vocab_size          = 272
  hidden_size         = 8
  intermediate_size   = 8
  num_hidden_layers   = 1
  num_attention_heads = 1
}
optimizer "adamw" "o" { learning_rate = 1e-2 }
stage "one" {
  model = model.llama.m
  train {
    data            = data.parquet.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 64
    batch_size      = 64
    steps           = 40
  }
}
`

// A run that is asked to end while its server is silent or refuses saves its last step, and goes on to the same bits.
func TestInterruptedWhileDataDoNotCome(t *testing.T) {
	t.Setenv("STEPFLOW_CACHE_DIR", t.TempDir())
	rng := rand.New(rand.NewPCG(1, 2))
	rows := make([]fineweb.Row, 1000)
	for i := range rows {
		text := make([]byte, 20_000)
		for j := range text {
			text[j] = 'a' + byte(rng.IntN(26))
			if j%7 == 6 {
				text[j] = ' '
			}
		}
		rows[i] = fineweb.Row{ID: fmt.Sprint(i), Text: string(text)}
	}
	file := filepath.Join(t.TempDir(), "d.parquet")
	must(t, fineweb.WriteParquet(file, rows, 1))
	data, err := os.ReadFile(file)
	must(t, err)
	var down atomic.Bool
	var how func(w http.ResponseWriter, q *http.Request)
	asked := make(chan bool, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !down.Load() {
			http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data)) // of no known version: no range is kept on disk
			return
		}
		select {
		case asked <- true:
		default:
		}
		how(w, q)
	}))
	defer server.Close()
	in := func(onError string) string {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), fmt.Appendf(nil, overServer, server.URL, onError), 0o644))
		return dir
	}
	d := cpuDevice(t, 2)
	for _, onError := range []string{"fail", "skip"} {
		whole := in(onError)
		must(t, applyOn(t, d, planOf(t, whole)))
		want := contents(t, whole)
		for what, f := range map[string]func(w http.ResponseWriter, q *http.Request){
			"silent":  func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() },
			"refuses": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		} {
			how = f
			dir := in(onError)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			last := 0
			ended := make(chan error, 1)
			p := planOf(t, dir)
			go func() {
				ended <- applyWith(ctx, p, apply.Options{Device: d, Emit: func(e observe.Event) {
					if e.Kind == observe.StepDone {
						last = e.Step.Step
						down.Store(last >= 3)
					}
				}})
			}()
			select {
			case <-asked:
			case err := <-ended:
				t.Fatalf("%s: the run needed no more data: %v", what, err)
			}
			cancel()
			select {
			case err := <-ended:
				if !errors.Is(err, observe.ErrInterrupted) || !strings.Contains(err.Error(), fmt.Sprintf("at step %d of 40", last)) {
					t.Fatalf("%s: at step %d the error is %v", what, last, err)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%s: the run goes on", what)
			}
			if steps, err := checkpoint.Steps(filepath.Join(dir, ".stepflow", "blocks", "stage.one")); len(steps) == 0 || steps[0] != last {
				t.Errorf("%s: of %d steps %v are saved, %v", what, last, steps, err)
			}
			down.Store(false)
			for len(asked) > 0 {
				<-asked
			}
			must(t, applyOn(t, d, planOf(t, dir)))
			sameContents(t, what, contents(t, dir), want)
		}
	}
}

// Everything before and after training ends at once.
func TestInterruptedPlanning(t *testing.T) {
	stuck := make(chan bool, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		stuck <- true
		<-q.Context().Done()
	}))
	defer server.Close()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), fmt.Appendf(nil, overServer, server.URL, "fail"), 0o644))
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-stuck; cancel() }()
	_, diags := plan.New(ctx, plan.Options{Path: dir, Patient: true, Caps: cpuDevice(t, 1).Caps()})
	if !diags.HasErrors() {
		t.Error("an interrupted plan is a plan")
	}
}
