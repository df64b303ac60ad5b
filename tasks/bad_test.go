package tasks_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/fineweb/tokenizer"
	"stepflow/tasks"
)

// loaded loads a YAML file of a folder.
func loaded(c *tasks.Collection, dir, name string) (string, error) {
	return c.Load(func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }, name, dir)
}

const question = `task: t
data_files: {test: d.jsonl}
test_split: test
output_type: multiple_choice
doc_to_text: q
doc_to_choice: c
doc_to_target: a
`

// keysOf are lines of so many keys that no task has.
func keysOf(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("k%d: 1\n", i))
	}
	return list
}

// Files that include others over and over, and groups that hold others over and over, are refused before they take long.
func TestRunaways(t *testing.T) {
	c := tasks.Builtin()
	again := func(name string) ([]byte, error) {
		var n int
		_, err := fmt.Sscanf(name, "%d.yaml", &n)
		return fmt.Appendf(nil, "include: [%d.yaml, %d.yaml]\n", n+1, n+1), err
	}
	if _, err := c.Load(again, "0.yaml", ""); err == nil || !strings.Contains(err.Error(), "more than 100 files are included") {
		t.Error(err)
	}
	yaml := "group: g\ntask:\n- {group: g1, task: [piqa, sciq]}\n"
	for i := 2; i < 40; i++ {
		yaml += fmt.Sprintf("- {group: g%d, task: [{group: h%d, task: [g%d]}, g%d]}\n", i, i, i-1, i-1)
	}
	name, err := c.Load(func(string) ([]byte, error) { return []byte(yaml), nil }, "t.yaml", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		name: "has more than 16384 tasks", "g3": "the task piqa is in the group g3 more than once", "g1": "",
	} {
		if _, err = c.Leaves(name); (err == nil) != (want == "") || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is wrong with a description is an error that names the key, and the file and line where it stands.
func TestWrongDescriptions(t *testing.T) {
	for _, c := range []struct{ yaml, want string }{
		{question + "process_docs: !function utils.process_docs\n", "t.yaml, line 8: process_docs: is not supported: it is Python"},
		{strings.Replace(question, "doc_to_text: q", "doc_to_text: !function utils.ask", 1),
			"t.yaml, line 5: doc_to_text: !function utils.ask is Python, which is not run"},
		{question + "metric_list: [{metric: !function m.bleu}]\n", "t.yaml, line 8: metric_list: !function m.bleu is Python"},
		{question + "metric_list: [{metric: f1}]\n",
			`t.yaml, line 8: metric_list: the metric "f1" is not supported for output_type multiple_choice`},
		{question + "metric_list: [{metric: acc, aggregation: max}]\n", `the aggregation "max" of acc is not supported; it is mean`},
		{question + "doc_to_txt: q\n", "t.yaml, line 8: doc_to_txt: there is no such key"},
		{question + "doc_to_image: i\n", "t.yaml, line 8: doc_to_image: is not supported: models here read text alone"},
		{question + "num_fewshot: many\n", "t.yaml, line 8: num_fewshot: it is a whole number from 0 to 1000"},
		{question + "repeats: 0\n", "repeats: it is a whole number from 1 to 1000"},
		{question + "output_type: guess\n", "the key output_type stands twice"},
		{strings.Replace(question, "multiple_choice", "guess", 1), `output_type: "guess" is not supported; it may be multiple_choice`},
		{question + "fewshot_config: {sampler: balanced}\n",
			`fewshot_config: sampler: "balanced" is not supported; it may be default, first_n`},
		{question + "filter_list: [{name: x, filter: [{function: vote}]}]\n", `filter: "vote" is not supported`},
		{question + "filter_list: [{name: x, filter: [{function: lowercase}]}]\n", "it ends with the function take_first"},
		{question + "filter_list: [{name: x, filter: [{function: regex, regex_pattern: '('}, {function: take_first}]}]\n",
			`the regular expression "("`},
		{question + "generation_kwargs: {until: ['.', '']}\n", "generation_kwargs: until: an empty text ends every text"},
		{strings.Replace(question, "doc_to_target: a", "doc_to_target: 0.5", 1), "a whole number or a list, not the number 0.5"},
		{question + "generation_kwargs: {num_beams: 4}\n", "generation_kwargs: num_beams is not supported"},
		{strings.Replace(question, "doc_to_choice: c\n", "", 1), "t.yaml: the task needs doc_to_choice: the answers to choose from"},
		{strings.Replace(question, "test_split: test\n", "", 1), "the task needs test_split or validation_split"},
		{question + "include: t.yaml\n", "t.yaml, line 8: include: t.yaml includes itself"},
		{question + "include: none.yaml\n", "t.yaml, line 8: include: open"},
		{"- a\n", "t.yaml: it is not a mapping of keys"},
		{"a: [\n", "t.yaml: line 1: did not find expected node content"},
		{"group: g\ntask: [h]\naggregate_metric_list: {metric: acc, aggregation: max}\n",
			`aggregate_metric_list: aggregation: "max" is not supported`},
		{"group: g\ntask: [piqa]\nnum_fewshot: 3\n", "the group has num_fewshot, which a task of its own file does not take over"},
		{"a: &a [*a]\n", "t.yaml"},
		{question + "---\n" + question, "t.yaml, line 8: a second document begins after ---"},
		{question + "metric_list: !!python/object/apply:os.system ['id']\n", "line 8: the tag !!python/object/apply:os.system is not read"},
		{question + "? [a, b]\n: 1\n", "t.yaml, line 1: a key of a mapping is a text"},
		{strings.Replace(question, "task: t", `task: "a\e[31m"`, 1),
			`t.yaml, line 1: task: "a\\x1b[31m" holds characters that a terminal may obey`},
		{"a: &a " + strings.Repeat("x", 1<<20) + "\nb: [*a, *a, *a, *a, *a]\n",
			"its values have more than 4194304 bytes, each alias counted"},
		{strings.Repeat("k", 500) + strings.Join(keysOf(20_000), ""), "t.yaml: and 19990 more"},
		{"group: g\ntask: [piqa, piqa]\n", "t.yaml, line 2: task: piqa stands twice"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "t.yaml"), []byte(c.yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loaded(tasks.Builtin(), dir, "t.yaml"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n%v\nwant %s", c.yaml, err, c.want)
		}
	}
}

// asked makes the requests of a description and documents.
func asked(t *testing.T, yaml, documents string, shots int) (*tasks.Requests, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"t.yaml": yaml, "d.jsonl": documents} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := tasks.Builtin()
	name, err := loaded(c, dir, "t.yaml")
	if err != nil {
		t.Fatal(err)
	}
	task := c.Tasks[name]
	s, err := task.Data.Source(task.Eval())
	if err != nil {
		return nil, err
	}
	d, err := tasks.OpenDocuments(context.Background(), s)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	list, err := d.First(0)
	if err != nil {
		return nil, err
	}
	examples := list
	if task.Samples != nil {
		examples, shots = tasks.Given(task.Samples), task.NumFewshot
	}
	r, err := tasks.NewRequests(task, shots, list, examples, 1)
	if err == nil {
		err = r.Unanswered()
	}
	return r, err
}

// What is wrong with a document is an error that says which it is.
func TestWrongDocuments(t *testing.T) {
	good := `{"q": "Is it?", "c": ["yes", "no"], "a": 1}` + "\n"
	for _, c := range []struct{ yaml, documents, want string }{
		{question, good + `{"q": "Is it?", "c": ["yes", "no"]}`, `d.jsonl, line 2: doc_to_target: it has no column "a"`},
		{question, good + `{"q": 5.5, "c": ["yes", "no"], "a": 0}`, "d.jsonl, line 2: doc_to_text: it makes a number, not a text"},
		{question, good + `{"q": "x", "c": "yes", "a": 0}`, "d.jsonl, line 2: doc_to_choice: it makes a text, not a list of texts"},
		{question, good + `{"q": "x", "c": ["yes", 4], "a": 0}`, "d.jsonl, line 2: doc_to_choice: choice 1 is a number"},
		{question, good + `{"q": "x", "c": [], "a": 0}`, "d.jsonl, line 2: doc_to_choice: it makes an empty list"},
		{question, good + `{"q": "x", "c": ["y"], "a": 0.5}`, "d.jsonl, line 2: doc_to_target: it makes the number 0.5, which is neither"},
		{strings.NewReplacer("multiple_choice", "loglikelihood_rolling", "doc_to_choice: c\n", "").Replace(question),
			strings.Repeat(`{"q": "x", "a": ""}`+"\n", 2), "d.jsonl, line 1: doc_to_target: it makes an empty text. No document has a text"},
		{question, strings.Repeat(`{"q": "x", "c": ["yes", "no"], "a": "B"}`+"\n", 2),
			`d.jsonl, line 1: doc_to_target: it makes "B", which is none of the 2 choices. No document has a right answer`},
		{question, good + `{"q": null, "c": ["y", "n"], "a": 0}`, "d.jsonl, line 2: doc_to_text: it makes null, not a text"},
		{strings.Replace(question, "doc_to_text: q", "doc_to_text: hint", 1), good + `{"q": "x", "c": ["y"], "a": 0, "hint": "h"}`,
			`d.jsonl, line 1: doc_to_text: it has no column "hint", which other documents have; it has q, c, a`},
		{strings.NewReplacer("multiple_choice", "generate_until", "doc_to_choice: c\n", "").Replace(question), good + `{"q": "x", "a": null}`,
			"d.jsonl, line 2: doc_to_target: it makes null, and there is no right answer"},
		{question + "num_fewshot: 1\nfewshot_config: {samples: [{q: Is it, c: [y, n]}]}\n", good,
			`sample 1 of fewshot_config: doc_to_target: it has no column "a"`},
		{question, "\n\n", "holds no documents"},
		{question, good + "{", "d.jsonl, line 2: it is not JSON"},
		{question + "target_delimiter: ''\n", `{"q": "x", "c": ["y", ""], "a": 0}`, "choice 1 is empty, and so is target_delimiter"},
		{strings.Replace(question, "doc_to_text: q", `doc_to_text: "{{q}} {{nothing}}"`, 1), good,
			"d.jsonl, line 1: doc_to_text: the template, line 1: 'nothing' is undefined"},
		{strings.Replace(question, "doc_to_text: q", `doc_to_text: "{{q"`, 1), good, "d.jsonl, line 1: doc_to_text: the template, line 1"},
		{strings.Replace(question, "doc_to_choice: c", `doc_to_choice: "{{q}}"`, 1), good,
			`doc_to_choice: "Is it?" is not a value of Python`},
		{strings.Replace(question, "doc_to_text: q", `doc_to_text: "{% for i in range(99999999) %}{{i}}{% endfor %}"`, 1), good,
			"d.jsonl, line 1: doc_to_text: the template, line 1"},
	} {
		if _, err := asked(t, c.yaml, c.documents, 0); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n%v\nwant %s", c.documents, err, c.want)
		}
	}
	if _, err := asked(t, question, good, 3); err == nil || !strings.Contains(err.Error(), "3 examples are asked for, and there are 1") {
		t.Error(err)
	}
}

// What is odd about documents is counted: a right answer that is no choice, an empty choice, two that are equal.
func TestNotes(t *testing.T) {
	r, err := asked(t, question, `{"q": "x", "c": ["y", "z"], "a": 7}
{"q": "x", "c": ["y", ""], "a": 0}
{"q": "x", "c": ["y", "y"], "a": 1}
{"q": "x", "c": ["y", "z"], "a": 0}
{"q": "x", "c": ["y", "z"], "a": [0, 0]}
{"q": "x", "c": ["y", "z"], "a": []}
`, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, first, _ := strings.Cut(r.Notes.FirstNoGold, "d.jsonl, ")
	if r.Notes.FirstNoGold = ""; r.Notes != (tasks.Notes{EmptyChoice: 1, EqualChoice: 1, NoGold: 2}) ||
		first != "line 1: doc_to_target: it makes 7, and the choices are numbered from 0 to 1" {
		t.Fatal(r, first)
	}
	var list []tasks.Judgement
	for _, x := range r.Items {
		j, err := r.Judge(x, []tasks.Answer{{LogLikelihood: -1}, {LogLikelihood: -1}})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, j)
	}
	s := r.Score(list)
	if s.Metrics["acc"] != 0.5 || s.Metrics["acc_norm"] != 0.5 || math.Abs(s.Chance-2.0/6) > 1e-15 || s.Documents != 6 {
		t.Errorf("%+v", s)
	}
}

// The tokens at the seam are those of the whole text; white space goes to the continuation; what is too long is cut.
func TestSeam(t *testing.T) {
	b, err := os.ReadFile("../runtime/testdata/stories260K/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	e := tasks.NewEncoder(tok, 16)
	for _, c := range []struct {
		context, continuation string
		rest                  string // what the continuation's tokens say
		cut                   bool
	}{
		{"One day ", "Lily", "Lily", false},
		{"One day", " Lily", "Lily", false},
		{"One day", "s", "s", false},
		{"caf", "é", "é", false},
		{"", "Lily", "Lily", false},
		{" \n ", "Lily", "\n Lily", false},
		{strings.Repeat("zebra ", 30), "Lily", "Lily", true},
	} {
		p, cut, err := e.Pair(c.context, c.continuation)
		if err != nil || cut != c.cut || len(p.Context) == 0 || len(p.Context)+len(p.Continuation) > 17 {
			t.Errorf("%q %q: %v, cut %v, %v", c.context, c.continuation, p, cut, err)
		}
		if got := strings.TrimSpace(tok.Decode(p.Continuation, true)); got != strings.TrimSpace(c.rest) {
			t.Errorf("%q %q: the continuation is %q", c.context, c.continuation, got)
		}
	}
	for _, c := range []struct{ context, continuation, want string }{
		{"a", strings.Repeat("zebra ", 30), "tokens, and the model takes 16"},
		{"a", "", "adds no token to its context"},
	} {
		if _, _, err := e.Pair(c.context, c.continuation); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.continuation, err)
		}
	}
	if _, _, err := e.Prompt("a", 16); err == nil || !strings.Contains(err.Error(), "max_gen_toks is 16, and the model takes 16 tokens") {
		t.Error(err)
	}
	tok.BOS, tok.EOS = -1, -1
	if _, _, err := tasks.NewEncoder(tok, 16).Pair("", "Lily"); err == nil || !strings.Contains(err.Error(), "has no token that begins or ends a text") {
		t.Error(err)
	}
}

// FuzzTask reads descriptions: a task or an error, no panic.
func FuzzTask(f *testing.F) {
	f.Add([]byte(question))
	f.Add([]byte("group: g\ntask: [{task: piqa, fewshot_config: {sampler: first_n, samples: [{a: 1}]}}]\n"))
	f.Add([]byte("task: t\noutput_type: generate_until\nfilter_list: [{name: x, filter: [{function: map, mapping_dict: {a: b}}]}]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := tasks.Builtin()
		if name, err := c.Load(func(string) ([]byte, error) { return b, nil }, "t.yaml", ""); err == nil {
			c.Leaves(name)
		}
	})
}
