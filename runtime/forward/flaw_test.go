package forward

import (
	"math"
	"testing"
)

func TestFlaw(t *testing.T) {
	f := Flaw{}
	f.Look("w", []int{2, 3}, []float32{0, 1, 2, float32(math.Inf(-1)), float32(math.NaN()), 5})
	if s := f.String(); s != "w holds 2 non-finite values of 6, the first of them -Infinity at [1, 0]" {
		t.Error(s)
	}
	if s := (&Flaw{}).String(); s != "" {
		t.Error(s)
	}
}
