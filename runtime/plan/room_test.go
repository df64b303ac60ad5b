package plan

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/dsl"
	"stepflow/gpu/cpu"
	"stepflow/runtime/program"
)

// plain is a pipeline of one stage and two exports.
const plain = `
variable "out" { default = "out" }
data "jsonl" "d" { source = "d.jsonl" }
tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 300
}
model "llama" "m" {
  vocab_size          = 300
  hidden_size         = 64
  intermediate_size   = 128
  num_hidden_layers   = 2
  num_attention_heads = 2
}
optimizer "adamw" "o" { learning_rate = 1e-3 }
stage "s" {
  model = model.llama.m
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 8
    batch_size      = 1
    steps           = 10
    checkpoint {
      every_steps = 1
      keep        = 3
    }
  }
}
export "huggingface" "h" {
  model = stage.s
  path  = "${var.out}/h"
}
export "gguf" "g" {
  model = stage.s
  path  = "${var.out}/g"
}
`

// planPlain plans it on a disk with so many bytes free and a machine with so much memory.
func planPlain(t *testing.T, free int64, m Machine) *Plan {
	t.Helper()
	m.Free = func(string) (int64, bool) { return free, free >= 0 }
	dir := t.TempDir()
	for name, text := range map[string]string{"main.hcl": plain, "d.jsonl": strings.Repeat(`{"text": "a b c d e"}`+"\n", 50)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, diags := New(t.Context(), Options{Path: dir, Inputs: dsl.Inputs{}, Caps: cpu.PlanCaps(""), Machine: &m})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return p
}

func TestRoomOnDisk(t *testing.T) {
	disks := planPlain(t, 1<<40, Machine{}).Disks()
	if len(disks) != 1 {
		t.Fatalf("%d file systems", len(disks))
	}
	most := disks[0].Most
	const weights = 4 * (2*300*64 + 2*(4*64*64+3*64*128+2*64) + 64)
	if kept := int64(3 * 3 * weights); most < 4*kept/3 || most > 4*kept/3+1<<20 { // three, and the one that is written
		t.Errorf("%d bytes at most, of checkpoints of %d", most, 3*weights)
	}
	for _, c := range []struct {
		free      int64
		estimated bool
		problem   string
	}{
		{1 << 40, false, ""},
		{-1, false, ""}, // not known
		{most, false, ""},
		{most - 1, true, "may take"},
		{most / 2, false, "takes"},
		{0, false, "has 0 B free"},
	} {
		p := planPlain(t, c.free, Machine{})
		d := p.Disks()[0]
		text, sure := d.Problem()
		if (text == "") != (c.problem == "") || !strings.Contains(text, c.problem) || d.Estimated != c.estimated ||
			sure != (text != "" && !c.estimated) {
			t.Errorf("with %d bytes free: %q, estimated %t", c.free, text, d.Estimated)
		}
		err := p.Room()
		if refused := c.problem != "" && !c.estimated; (err != nil) != refused {
			t.Errorf("with %d bytes free a run begins with %v", c.free, err)
		}
		for _, a := range p.Actions {
			if a.Addr.Kind == "stage" && c.free == 0 && p.RoomFor(a) == nil {
				t.Error("a stage begins on a full disk")
			}
		}
	}
}

// TestRoomSaysWhatHelps: keep and -state-dir are of no use to a disk that the state is not on.
func TestRoomSaysWhatHelps(t *testing.T) {
	for state, want := range map[bool]string{true: "lower keep in checkpoint", false: "with path for an export"} {
		text, sure := (&Disk{Folder: "out", Missing: 1, exactMost: 2, Free: 1, known: true, state: state}).Problem()
		if !sure || !strings.Contains(text, want) || strings.Contains(text, "keep") != state {
			t.Errorf("with the state there, %t: %s", state, text)
		}
	}
}

// TestHostMemorySaysWhatHelps: a smaller batch is of no use where the device has its own memory, or takes less than half of what is
// needed.
func TestHostMemorySaysWhatHelps(t *testing.T) {
	for _, c := range []struct {
		shared bool
		arena  int64
		batch  bool
	}{{true, 80, true}, {true, 40, false}, {false, 80, false}} {
		text, _ := (&Host{Bytes: 100, Total: 90, Phase: program.Phase{Arena: c.arena}, shared: c.shared}).Problem()
		if strings.Contains(text, "micro_batch_size") != c.batch || strings.Contains(text, "a machine with more memory") == c.batch {
			t.Errorf("%+v: %s", c, text)
		}
	}
}

func TestHostMemory(t *testing.T) {
	h := planPlain(t, -1, Machine{}).Host()
	if text, _ := h.Problem(); text != "" || h.Bytes < ProcessBytes || h.Total+h.Available > 0 {
		t.Errorf("of an unknown machine: %+v, %q", h, text)
	}
	for _, c := range []struct {
		m       Machine
		problem string
		sure    bool
	}{
		{Machine{Memory: h.Bytes, Available: h.Bytes}, "", false},
		{Machine{Memory: h.Bytes, Available: h.Bytes - 1}, "are available now", false},
		{Machine{Memory: h.Bytes - 1, Available: h.Bytes - 1}, "of the machine's memory", false}, // the collector may run in time
		{Machine{Memory: ProcessBytes, Available: ProcessBytes}, "of the machine's memory", true},
		{Machine{Memory: ProcessBytes, Available: ProcessBytes, Swap: h.Bytes}, "of the machine's memory", false}, // slow, but it goes on
	} {
		p := planPlain(t, -1, c.m)
		text, sure := p.Host().Problem()
		if (text == "") != (c.problem == "") || !strings.Contains(text, c.problem) || sure != c.sure || (p.Room() != nil) != c.sure {
			t.Errorf("%+v: %q, sure %t, and a run begins with %v", c.m, text, sure, p.Room())
		}
	}
}
