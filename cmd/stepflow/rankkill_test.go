//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"stepflow/runtime/state"
)

// rankPipeline is a pipeline of which ranks are killed while a stage runs.
const rankPipeline = `
data "jsonl" "d" {
  source              = "d.jsonl"
  validation_fraction = 0.3
}
tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 270
}
model "llama" "m" {
  vocab_size          = 272
  hidden_size         = 16
  intermediate_size   = 24
  num_hidden_layers   = 2
  num_attention_heads = 2
}
optimizer "adamw" "o" { learning_rate = 1e-2 }
stage "s" {
  model = model.llama.m
  train {
    data             = data.jsonl.d
    tokenizer        = tokenizer.bpe.t
    optimizer        = optimizer.adamw.o
    sequence_length  = 16
    batch_size       = 3
    micro_batch_size = 1
    steps            = 60
    parallel { shard = "optimizer" }
    checkpoint { every_steps = 5 }
  }
}
evaluate "perplexity" "p" {
  model = stage.s
  data  = data.jsonl.d.validation
}
`

// TestKilledRanks kills a random one of three ranks, or what started them, at a random step of a stage, again and again. Each time the
// others end too; in the end the results have the bits of one process that nothing happened to.
func TestKilledRanks(t *testing.T) {
	t.Parallel()
	kills := 34 // make test-long runs every test three times
	if testing.Short() {
		kills = 5
	}
	undisturbed := killedPipeline(t)
	if out, err := exec.Command("stepflow", "apply", "-auto-approve", undisturbed).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := contentsOf(t, undisturbed)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for kills > 0 {
		dir := killedPipeline(t)
		for kills > 0 && killRank(t, dir, random) {
			kills--
		}
		x := startRanks(t, dir)
		x.until(1 << 30)
		if text, err := x.end(t); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		got := contentsOf(t, dir)
		for name, id := range want {
			if got[name] != id {
				t.Errorf("%s has other bits than without kills", name)
			}
		}
	}
}

// killRank runs a pipeline and kills one of its processes. It reports false if the stage had ended before.
func killRank(t *testing.T, dir string, random *rand.Rand) bool {
	t.Helper()
	x := startRanks(t, dir)
	after := 1 + random.IntN(10)
	if x.until(after) < after {
		x.end(t)
		return false
	}
	victims := append(children(x.cmd.Process.Pid), x.cmd.Process.Pid)
	if len(victims) != 4 {
		t.Fatalf("3 ranks are %d processes", len(victims)-1)
	}
	which := random.IntN(len(victims))
	if err := syscall.Kill(victims[which], syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
	text, err := x.end(t)
	if err == nil {
		t.Fatalf("a run ended well of which process %d was killed: %s", which, text)
	}
	for began := time.Now(); slices.ContainsFunc(victims, running); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("processes go on a minute after number %d was killed: %s", which, text)
		}
	}
	return true
}

// killedPipeline writes the pipeline and its documents.
func killedPipeline(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var docs strings.Builder
	words := strings.Fields("the quick brown fox jumps over a lazy dog while seven wizards quietly mix strange potions in a cellar")
	for i := range 30 {
		var text []string
		for j := range 6 + i%9 {
			text = append(text, words[(i*5+j*j)%len(words)])
		}
		fmt.Fprintf(&docs, "{\"text\":%q}\n", strings.Join(text, " "))
	}
	for name, text := range map[string]string{"main.hcl": rankPipeline, "d.jsonl": docs.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// rankRun is a run on three ranks of one machine.
type rankRun struct {
	cmd    *exec.Cmd
	out    *bufio.Scanner
	errors strings.Builder
}

func startRanks(t *testing.T, dir string) *rankRun {
	t.Helper()
	x := &rankRun{cmd: exec.Command("stepflow", "apply", "-json", "-auto-approve", "-ranks", "3", dir)}
	x.cmd.Env = append(os.Environ(), tcpVariable+"=1")
	x.cmd.Stderr = &x.errors
	pipe, err := x.cmd.StdoutPipe()
	if err == nil {
		err = x.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.cmd.Process.Kill() })
	x.out = bufio.NewScanner(pipe)
	x.out.Buffer(nil, 1<<24)
	return x
}

// until reads the output up to a number of steps, and returns how many there were.
func (x *rankRun) until(steps int) (n int) {
	for n < steps && x.out.Scan() {
		var line struct{ Type string }
		if json.Unmarshal(x.out.Bytes(), &line) == nil && line.Type == "step_metrics" {
			n++
		}
	}
	return n
}

// end waits until the run has ended, and returns what it said since.
func (x *rankRun) end(t *testing.T) (string, error) {
	t.Helper()
	hang := time.AfterFunc(2*time.Minute, func() { x.cmd.Process.Kill() })
	defer hang.Stop()
	var rest strings.Builder
	for x.out.Scan() {
		rest.WriteString(x.out.Text() + "\n")
	}
	err := x.cmd.Wait()
	return rest.String() + x.errors.String(), err
}

// children lists the processes that a process has started.
func children(pid int) (list []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range tasks {
		b, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(field); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}

// running reports whether a process goes on; one that has ended and was not waited for does not.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, found := strings.Cut(string(b), ") ")
	return err == nil && found && !strings.HasPrefix(after, "Z")
}

// contentsOf are the content ids of a pipeline's blocks.
func contentsOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	d, err := state.Read(filepath.Join(dir, ".stepflow"))
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for name, b := range d.State.Blocks {
		if b.Status != state.Done {
			t.Errorf("%s is %s", name, b.Status)
		}
		m[name] = b.Content
	}
	return m
}
