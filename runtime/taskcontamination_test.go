package runtime_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/runtime/state"
)

const tunedAndAsked = `
tokenizer "bpe" "t" {
  train_on       = data.jsonl.d
  vocab_size     = 300
  special_tokens = ["<|im_start|>", "<|im_end|>"]
  chat_template  = "chatml"
}
data "jsonl" "d" { source = "d.jsonl" }
data "conversations" "c" {
  source              = ["messages.jsonl", "pairs.jsonl"]
  validation_fraction = 0.3
}
model "llama" "m" {
  vocab_size              = tokenizer.bpe.t.vocab_size
  hidden_size             = 8
  intermediate_size       = 8
  num_hidden_layers       = 1
  num_attention_heads     = 1
  max_position_embeddings = 256
}
optimizer "adamw" "o" { learning_rate = 1e-3 }
defaults "stage" {
  train {
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 256
    batch_size      = 4
  }
}
stage "base" {
  model = model.llama.m
  train {
    data       = data.jsonl.d
    batch_size = 2
    steps      = 12
  }
}
stage "chat" {
  from = stage.base
  train {
    objective = "sft"
    data      = data.conversations.c
    steps     = 20
  }
}
task "own" {
  data_files    = "own.jsonl"
  output_type   = "multiple_choice"
  description   = "In all of these questions the right answer is the one that sounds as it should: "
  doc_to_text   = "q"
  doc_to_choice = "choices"
  doc_to_target = "gold"
}
evaluate "tasks" "base" {
  model = stage.base
  tasks = [task.own]
}
evaluate "tasks" "chat" {
  model = stage.chat
  tasks = [task.own]
}
evaluate "perplexity" "chat" {
  model = stage.chat
  data  = data.conversations.c.validation
}
`

// askedTexts are questions with their right answers, of eight words and more or fewer, no two alike.
func askedTexts(n int) (questions, answers []string) {
	for i := range n {
		var w []string
		for k := range 6 + i%11 {
			w = append(w, fmt.Sprintf("w%d", i*13+k*(i+3)))
		}
		questions, answers = append(questions, strings.Join(w[:len(w)-2], " ")+"?"), append(answers, strings.Join(w[len(w)-2:], " "))
	}
	return questions, answers
}

// gramsOf are the runs of n words of texts, found by splitting and joining.
func gramsOf(n int, texts ...string) map[string]int {
	all := map[string]int{}
	for _, t := range texts {
		w := strings.Fields(strings.ToLower(strings.NewReplacer("?", "", "!", "", ".", "").Replace(t)))
		for ; len(w) >= n; w = w[1:] {
			all[strings.Join(w[:n], " ")]++
		}
	}
	return all
}

// TestTaskContamination: with the scores of a task is told how many of its documents were trained on, as documents or in
// conversations of any form, and what the others give; a stage that tunes counts the measured conversations that it learns.
func TestTaskContamination(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, lines []any) {
		var b strings.Builder
		for _, x := range lines {
			line, err := json.Marshal(x)
			must(t, err)
			b.WriteString(string(line) + "\n")
		}
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(b.String()), 0o644))
	}
	type object = map[string]any
	const n = 44
	questions, answers := askedTexts(n)
	var own, docs, messages, pairs []any
	var base, chat []string // texts that are trained on
	for i := range n {
		own = append(own, object{"q": questions[i], "choices": []string{answers[(i+1)%n], answers[i]}, "gold": 1})
		whole := questions[i] + " " + answers[i]
		text := fmt.Sprintf("In all of these questions the right answer is the one that sounds as it should: page %d says", i)
		switch i % 4 {
		case 0: // the question, in a document
			text += " it: " + strings.ToUpper(whole) + "!"
			docs = append(docs, object{"id": fmt.Sprint(i), "text": text})
			base = append(base, text)
		case 1: // the question and another answer
			m := []object{{"role": "system", "content": "You are asked about everything in the world and you know all of it by heart."},
				{"role": "user", "content": questions[i]}, {"role": "assistant", "content": answers[(i+5)%n]}}
			messages = append(messages, object{"id": fmt.Sprint("m", i), "messages": m})
			chat = append(chat, questions[i]+" "+answers[(i+5)%n])
		case 2:
			pairs = append(pairs, object{"id": fmt.Sprint("p", i), "prompt": questions[i], "completion": " " + answers[i] + "."})
			chat = append(chat, whole)
		}
	}
	for range 3 { // copies of conversations, under other ids, some of which are held out
		for _, x := range append(messages[:11:11], pairs[:11]...) {
			y := object{}
			for k, v := range x.(object) {
				y[k] = v
			}
			y["id"] = fmt.Sprint("copy", len(messages), len(pairs))
			if y["messages"] != nil {
				messages = append(messages, y)
			} else {
				pairs = append(pairs, y)
			}
		}
	}
	write("own.jsonl", own)
	write("d.jsonl", docs)
	write("messages.jsonl", messages)
	write("pairs.jsonl", pairs)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(tunedAndAsked), 0o644))
	d := cpuDevice(t, 2)
	must(t, applyOn(t, d, planOf(t, dir)))
	st, err := state.Read(filepath.Join(dir, ".stepflow"))
	must(t, err)
	for name, trained := range map[string][]string{"base": base, "chat": append(base, chat...)} {
		values := valuesOf(t, dir, "evaluate.tasks."+name)["results"].(map[string]any)["own"].(map[string]any)
		samples := samplesOf(t, filepath.Join(dir, ".stepflow", st.State.Blocks["evaluate.tasks."+name].Dir, "samples.jsonl"))["own"]
		checked, dirty, grams, found, clean, right := 0, 0, 0, 0, 0, 0.0
		for i := range n {
			text := questions[i] + " " + answers[i]
			words := len(strings.Fields(text))
			mine, had := 0, 0
			if words >= 8 {
				known := gramsOf(min(words, 13), trained...)
				for g, times := range gramsOf(min(words, 13), text) {
					mine += times
					if known[g] > 0 {
						had += times
					}
				}
				checked++
			}
			grams, found = grams+mine, found+had
			if had > 0 {
				dirty++
			} else {
				clean, right = clean+1, right+*samples[i].Metrics["acc"]
			}
			if got := samples[i].Contamination; (got == nil) != (mine == 0) || got != nil && *got != float64(had)/float64(mine) {
				t.Errorf("%s, document %d: %v, want %d of %d", name, i, got, had, mine)
			}
		}
		want := object{"contamination": float64(dirty) / float64(checked), "contaminated_ngrams": float64(found) / float64(grams),
			"unchecked_documents": float64(n - checked)}
		for key, x := range want {
			if values[key] != x {
				t.Errorf("%s: %s is %v, want %v", name, key, values[key], x)
			}
		}
		if c := values["clean"].(map[string]any); dirty == 0 || clean == 0 || c["documents"] != float64(clean) ||
			math.Abs(c["acc"].(float64)-right/float64(clean)) > 1e-12 || c["acc_stderr"] == nil {
			t.Errorf("%s: %v, want %d documents, %v right", name, c, clean, right)
		}
		if x, ok := values["token_contamination"].(float64); !ok || x < 0 || x > 1 {
			t.Errorf("%s: %v", name, values)
		}
	}
	// Each conversation has three copies, so that those that are held out are known, too.
	if v := valuesOf(t, dir, "stage.chat"); !(v["held_out_documents"].(float64) > 0) {
		t.Errorf("%v", v)
	}
	if v := valuesOf(t, dir, "evaluate.perplexity.chat"); !(v["contamination"].(float64) > 0.9) || v["contaminated_ngrams"] == nil {
		t.Errorf("%v", v)
	}
	if v := valuesOf(t, dir, "stage.base"); v["held_out_documents"] != nil {
		t.Errorf("%v", v)
	}
}
