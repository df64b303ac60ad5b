package runtime_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// TestTuneAsTRL takes a step on all rows that tools/parity/sft.py wrote, packed and not, and cut to fewer tokens than most have in
// each way: its loss is that which TRL's SFTTrainer computes.
func TestTuneAsTRL(t *testing.T) {
	root := given(t, "STEPFLOW_TUNE")
	folders, err := filepath.Glob(filepath.Join(root, "*", "expected.json"))
	must(t, err)
	if len(folders) == 0 {
		t.Fatalf("%s holds nothing to compare with", root)
	}
	for _, file := range folders {
		from := filepath.Dir(file)
		b, err := os.ReadFile(file)
		must(t, err)
		var want []struct {
			Form   string
			LossOn string `json:"loss_on"`
			IDs    [][]int32
			Loss   float64
			Cut    map[string]struct {
				IDs  [][]int32
				Loss float64
			}
		}
		must(t, json.Unmarshal(b, &want))
		dir := t.TempDir()
		text := fmt.Sprintf("tokenizer \"huggingface\" \"t\" { file = %q }\nmodel \"llama\" \"m\" { from = %q }\n"+
			"optimizer \"adamw\" \"o\" { learning_rate = 0.0001 }\n", filepath.Join(from, "tokenizer.json"), from)
		names := map[string]float64{}
		for i, w := range want {
			text += fmt.Sprintf("data \"conversations\" \"d%d\" {\n source = %q\n shuffle = false\n }\n", i,
				filepath.Join(from, w.Form+".jsonl"))
			add := func(way string, loss float64, length, sequences int, more string) {
				name := fmt.Sprintf("s%d-%s", i, way)
				names[name] = loss
				text += fmt.Sprintf("stage %q {\n model = model.llama.m\n train {\n objective = \"sft\"\n data = data.conversations.d%d\n tokenizer = "+
					"tokenizer.huggingface.t\n optimizer = optimizer.adamw.o\n sequence_length = %d\n batch_size = %d\n steps = 1\n loss_on = %q\n %s\n }\n}\n",
					name, i, length, sequences, w.LossOn, more)
			}
			add("none", w.Loss, 128, len(w.IDs), `packing = "none"`)
			add("bfd", w.Loss, 128, packed(w.IDs, 128), `packing = "bfd"`)
			for way, cut := range w.Cut {
				more := fmt.Sprintf("packing = \"none\"\n truncation_mode = %q", way)
				if way == "wrapped" {
					more = `packing = "wrapped"`
				}
				add(way, cut.Loss, 24, len(cut.IDs), more)
			}
		}
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
		must(t, applyOn(t, cpuDevice(t, 2), planOf(t, dir)))
		worst := 0.0
		for name, loss := range names {
			got := valuesOf(t, dir, "stage."+name)["loss"].(float64)
			worst = max(worst, math.Abs(got-loss))
			if math.Abs(got-loss) > 2e-5 {
				t.Errorf("%s, %s: loss %.6f, TRL %.6f", filepath.Base(from), name, got, loss)
			}
		}
		t.Logf("%s: %d losses, largest difference %.1e", filepath.Base(from), len(names), worst)
	}
}

// packed is the number of sequences that best fit decreasing makes.
func packed(list [][]int32, length int) int {
	var lengths []int
	for _, x := range list {
		lengths = append(lengths, len(x))
	}
	for i := range lengths {
		for j := i + 1; j < len(lengths); j++ {
			if lengths[j] > lengths[i] {
				lengths[i], lengths[j] = lengths[j], lengths[i]
			}
		}
	}
	var room []int
	for _, n := range lengths {
		best := -1
		for k, left := range room {
			if left >= n && (best < 0 || left < room[best]) {
				best = k
			}
		}
		if best < 0 {
			room, best = append(room, length), len(room)
		}
		room[best] -= n
	}
	return len(room)
}
