package tasks

import (
	"slices"
	"strings"
	"testing"

	"stepflow/fineweb"
)

// TestCompared: of a document the question and its right answer are looked for, in each type of task, and nothing that all
// documents have.
func TestCompared(t *testing.T) {
	document := func(fields ...fineweb.Field) *Document {
		d := &Document{Fields: fields, Where: "d.jsonl, line 1", columns: map[string]bool{}}
		for _, f := range fields {
			d.columns[f.Name] = true
		}
		return d
	}
	question := document(fineweb.Field{Name: "q", Value: "Who is it?"}, fineweb.Field{Name: "choices", Value: fineweb.List{"Bob", "Ada"}},
		fineweb.Field{Name: "gold", Value: int64(1)}, fineweb.Field{Name: "several", Value: fineweb.List{int64(1), int64(0)}},
		fineweb.Field{Name: "wrong", Value: int64(7)}, fineweb.Field{Name: "answer", Value: "Ada, by night"})
	for name, x := range map[string]struct{ keys, want string }{
		"choice": {`{"output_type": "multiple_choice", "doc_to_text": "Q: {{q}}", "doc_to_choice": "choices", "doc_to_target": "gold"}`,
			"Q: Who is it? Ada"},
		"several": {`{"output_type": "multiple_choice", "doc_to_text": "q", "doc_to_choice": "choices", "doc_to_target": "several"}`,
			"Who is it? Ada"},
		"no gold": {`{"output_type": "multiple_choice", "doc_to_text": "q", "doc_to_choice": "choices", "doc_to_target": "wrong"}`,
			"Who is it?"},
		"contexts": {`{"output_type": "multiple_choice", "doc_to_text": "gold",
			"doc_to_choice": "{{[choices[0] + '?', choices[1] + '?']}}", "doc_to_target": "q"}`,
			"Ada? Who is it?"},
		"mutual": {`{"output_type": "multiple_choice", "doc_to_text": "q", "doc_to_choice": "choices", "doc_to_target": "gold",
			"metric_list": [{"metric": "acc_mutual_info"}]}`,
			"Who is it? Ada"},
		"likelihood": {`{"output_type": "loglikelihood", "doc_to_text": "q", "doc_to_target": " {{answer}}"}`, "Who is it? Ada, by night"},
		"rolling":    {`{"output_type": "loglikelihood_rolling", "doc_to_target": "answer"}`, "Ada, by night"},
		"written": {`{"output_type": "generate_until", "doc_to_text": "q", "doc_to_target": "answer", "gen_prefix": "It is"}`,
			"Who is it? Ada, by night"},
		"of a choice": {`{"output_type": "generate_until", "doc_to_text": "q", "doc_to_choice": "choices", "doc_to_target": "gold"}`,
			"Who is it? Ada"},
		"query": {`{"output_type": "generate_until", "doc_to_text": "q", "doc_to_target": "answer",
			"should_decontaminate": true, "doc_to_decontamination_query": "{{answer}}!"}`,
			"Ada, by night!"},
	} {
		c := Builtin()
		read := func(string) ([]byte, error) {
			return []byte(strings.Replace(x.keys, "{", `{"task": "own", "dataset_path": "json", `+
				`"dataset_kwargs": {"data_files": {"test": "d.jsonl"}}, "test_split": "test", `+
				`"num_fewshot": 3, "description": "Answer well.", `, 1)), nil
		}
		if _, err := c.Load(read, "own.yaml", ""); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := c.Tasks["own"].Compared([]*Document{question})
		if err != nil || !slices.Equal(got, []string{x.want}) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, x.want)
		}
	}
}
