package fineweb

import (
	"os/exec"
	"strings"
	"testing"
)

// TestGoQuestions: pairs and questions are of different packages, and every question has one right choice.
func TestGoQuestions(t *testing.T) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("no go command to ask for GOROOT")
	}
	pairs, questions, err := GoQuestions(strings.TrimSpace(string(root)), 0.08)
	if err != nil || len(pairs) != goPairs || len(questions) < 100 {
		t.Fatal(len(pairs), len(questions), err)
	}
	packageOf := func(id string) string { return id[:strings.LastIndex(id, ".")] }
	trained := map[string]bool{}
	for _, p := range pairs {
		trained[packageOf(p.ID)] = true
	}
	for _, q := range questions {
		if trained[packageOf(q.ID)] {
			t.Errorf("%s is in a package of the pairs", q.ID)
		}
		seen := map[string]bool{}
		for _, c := range q.Choices {
			seen[c] = true
		}
		if len(seen) != goChoices || q.Gold < 0 || q.Gold >= goChoices {
			t.Errorf("%+v", q)
		}
	}
}
