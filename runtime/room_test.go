//go:build linux

package runtime_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/apply"
	"stepflow/runtime/blocks"
)

// roomy is a pipeline of stages that take much more than the process does by itself, in tensors that take little.
const roomy = `
data "jsonl" "d" { source = "d.jsonl" }
tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 300
}
model "llama" "m" {
  vocab_size          = 300
  hidden_size         = 256
  intermediate_size   = 1024
  num_hidden_layers   = 5
  num_attention_heads = 4
}
peft "lora" "a" {
  r              = 4
  lora_alpha     = 8
  target_modules = ["all-linear"]
}
optimizer "adamw" "o" { learning_rate = 1e-3 }
defaults "stage" {
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 8
    batch_size      = 1
    steps           = 3
    checkpoint { every_steps = 1 }
  }
}
stage "one" {
  model  = model.llama.m
  layers = 3
}
stage "two" {
  from    = stage.one
  freeze  = ["inherited"]
  adapter = peft.lora.a
  grow "interpolation" { layers = 2 }
}
export "huggingface" "h" {
  model = stage.two
  path  = "out/h"
}
`

// TestRoomIsPlanned runs a pipeline in a process of its own, and compares what is planned with the most memory that the
// process had and the most that lay on the disk.
func TestRoomIsPlanned(t *testing.T) {
	const child = "STEPFLOW_TEST_ROOM"
	if os.Getenv(child) == "" {
		c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		c.Env = append(os.Environ(), child+"=1")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%s", out)
		return
	}
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(roomy), 0o644))
	p := planOf(t, dir)
	host, disks := p.Host(), p.Disks()
	if len(disks) != 1 {
		t.Fatalf("%d file systems", len(disks))
	}
	had := onDisk(dir)
	var most int64
	end, ended := make(chan bool), make(chan bool)
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(time.Millisecond):
				most = max(most, onDisk(dir)-had)
			}
		}
	}()
	err := applyWith(t.Context(), p, apply.Options{Device: d})
	close(end)
	<-ended
	must(t, err)
	between := func(what string, planned, measured int64, least, highest float64) {
		t.Logf("%s: planned %.1f MB, measured %.1f MB", what, float64(planned)/1e6, float64(measured)/1e6)
		if r := float64(measured) / float64(planned); r < least || r > highest {
			t.Errorf("%s: planned %d, measured %d", what, planned, measured)
		}
	}
	between("on disk at most", disks[0].Most, most, 0.9, 1)
	between("on disk in the end", disks[0].Stays, onDisk(dir)-had, 0.99, 1.002)
	// How much of twice what is alive the heap grows to is the collector's choice.
	between("memory of the host", host.Bytes, peakRSS(t), 0.5, 1)
	if left := planOf(t, dir); left.Host() != nil || len(left.Disks()) != 0 {
		t.Errorf("nothing is left to run, and %v and %v are planned", left.Host(), left.Disks())
	}
}

// TestRoomOfWhatIsThere plans a stage again of which checkpoints lie on the disk already, or what a killed process left.
func TestRoomOfWhatIsThere(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	text := strings.NewReplacer("steps           = 3", "steps           = var.steps",
		"checkpoint { every_steps = 1 }", "checkpoint {\n      every_steps = 1\n      keep        = var.keep\n    }",
		"= 256", "= 32", "= 1024", "= 64").Replace(roomy) + "variable \"keep\" { default = 4 }\nvariable \"steps\" { default = 9 }\n"
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
	room := func(vars ...string) blocks.Room {
		t.Helper()
		p := planOf(t, dir, vars...)
		return p.Rooms(p.Action(addr.Addr{Kind: "stage", Name: "one"}))[0]
	}
	fresh := room()
	each := fresh.Once
	if fresh.Most != 5*each { // keep, and the one that is written
		t.Fatalf("%d bytes, of checkpoints of %d", fresh.Most, each)
	}
	near := func(what string, got, want int64) {
		t.Helper()
		if off := got - want; off < -each/5 || off > each/5 {
			t.Errorf("%s: %d bytes, want about %d of %d each", what, got, want, each)
		}
	}
	near("no checkpoint on the way", room("steps=1").Most, each)

	killed := filepath.Join(dir, ".stepflow", "blocks", "stage.one", "step-00000001.tmp")
	must(t, os.MkdirAll(killed, 0o777))
	must(t, os.WriteFile(filepath.Join(killed, "model.safetensors"), make([]byte, 3*each), 0o666))
	near("what a killed run left, which is removed first", room().Most, 2*each)

	stopAt(t, d, dir, "one", 6)
	for _, c := range []struct {
		vars        string
		most, stays int64
	}{
		{"keep=4", each, 0},            // four are there, and the next is written before one is removed
		{"keep=1", each, -3 * each},    // three are removed only when the next is there
		{"keep=9", 3 * each, 3 * each}, // two checkpoints, and the result
	} {
		r := room(c.vars)
		near(c.vars+", at most", r.Most, c.most)
		near(c.vars+", in the end", r.Stays-r.Frees, c.stays)
	}
	must(t, applyOn(t, d, planOf(t, dir)))
	r := room("steps=11") // the result of nine steps is gone on from, and removed when that of eleven is there
	near("two more steps, at most", r.Most, 2*each)
	near("two more steps, in the end", r.Stays-r.Frees, 0)
}

// onDisk adds up the files in a folder, each once, whatever names it has.
func onDisk(dir string) (n int64) {
	seen := map[uint64]bool{}
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			if st, err := e.Info(); err == nil {
				if ino := st.Sys().(*syscall.Stat_t).Ino; !seen[ino] {
					seen[ino] = true
					n += st.Size()
				}
			}
		}
		return nil
	})
	return n
}

// peakRSS is the most memory that this process had.
func peakRSS(t *testing.T) int64 {
	b, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for line := range strings.Lines(string(b)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
