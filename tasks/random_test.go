package tasks

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

// The numbers are those of Python's random; see tools/parity/tasks_fixture.py.
func TestRandom(t *testing.T) {
	b, err := os.ReadFile("testdata/lm_eval/random.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Seed    uint64
		Floats  []float64
		N, K    int
		Samples [][]int
	}
	if err := json.Unmarshal(b, &cases); err != nil || len(cases) < 10 {
		t.Fatal(len(cases), err)
	}
	for _, c := range cases {
		r := NewRandom(c.Seed)
		for i, want := range c.Floats {
			if got := r.Float(); got != want {
				t.Fatalf("seed %d: float %d is %v, not %v", c.Seed, i, got, want)
			}
		}
		for i, want := range c.Samples {
			if got := r.Sample(c.N, c.K); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: sample %d of %d from %d is %v, not %v", c.Seed, i, c.K, c.N, got, want)
			}
		}
	}
	if NewRandom(0).Sample(2, 3) != nil {
		t.Error("three of two")
	}
}
