package metrics

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

// someStep is a step with numbers of every size.
func someStep(r *rand.Rand) Step {
	real := func() float64 { return r.NormFloat64() * math.Pow(10, float64(r.IntN(40)-20)) }
	s := Step{Step: r.Int(), Time: r.Int64(), Tokens: r.Int64(), FLOPs: r.Int64(), Loss: real(), LearningRate: real(), GradNorm: real(),
		Seconds: real(), TokensPerSec: real(), MFU: real(), DataWait: real(), Epoch: r.Int64N(9)}
	if r.IntN(2) == 0 {
		s.MergeError, s.HeldOut = real(), 1+r.Int64N(99)
	}
	if r.IntN(2) == 0 {
		s.Sources = map[string]int64{`data.jsonl.a["x"]`: r.Int64(), "data.jsonl.b": 1, `d["}"]`: 2, "data.c": r.Int64()}
	}
	if r.IntN(8) == 0 {
		s.Loss, s.Skipped = math.Inf(1), true
	}
	return s
}

// TestLinesAreReadAsWritten: the quick way to read a line gives what was written, or leaves it to the other.
func TestLinesAreReadAsWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	quick := 0
	for range 2000 {
		want := someStep(r)
		line, err := encode(want)
		if err != nil {
			t.Fatal(err)
		}
		var got, scanned Step
		if !got.decode(line) || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\nis read as %+v", line, got)
		}
		at := bytes.LastIndex(line, []byte(sumStart))
		if scanned.scan(line[:at]) {
			quick++
			if !reflect.DeepEqual(scanned, want) {
				t.Fatalf("%s\nis scanned as %+v", line, scanned)
			}
		}
	}
	plain, err := encode(Step{Step: 1, Sources: map[string]int64{"data.jsonl.a": 3, "data.jsonl.b": 4}})
	if err != nil {
		t.Fatal(err)
	}
	if at := bytes.LastIndex(plain, []byte(sumStart)); quick == 0 || !new(Step).scan(plain[:at]) {
		t.Errorf("%d lines were read the quick way, and of a plain one: %s", quick, plain)
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(`{"step":1,"loss":2.5,"sources":{"a":1,"b":2},"epoch":0`))
	f.Add([]byte(`{"step":1,"sources":{"a}":1`))
	f.Fuzz(func(t *testing.T, b []byte) {
		new(Step).scan(b)
		new(Step).decode(b)
	})
}

func BenchmarkDecode(b *testing.B) {
	line, err := encode(Step{Step: 123456, Time: 1795968650123, Tokens: 64725450752, FLOPs: 397688446976000, Loss: 2.48171, LearningRate: 2.9e-4,
		GradNorm: 0.4637, Seconds: 0.31482, TokensPerSec: 1665358.2, MFU: 0.4132, DataWait: 0.00113, Epoch: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if s := (Step{}); !s.decode(line) {
			b.Fatal("the line is not read")
		}
	}
}
