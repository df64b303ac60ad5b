package fineweb

import (
	"strings"
	"testing"
)

// checkQuestions wants pairs and questions to be of different packages, and every question to have one right choice.
func checkQuestions(t *testing.T, s GoSample) {
	t.Helper()
	if len(s.Pairs) != goPairs || len(s.Questions) < 100 {
		t.Fatal(len(s.Pairs), len(s.Questions))
	}
	packageOf := func(id string) string { return id[:strings.LastIndex(id, ".")] }
	trained := map[string]bool{}
	for _, p := range s.Pairs {
		trained[packageOf(p.ID)] = true
	}
	for _, q := range s.Questions {
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
