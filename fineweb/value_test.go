package fineweb

import (
	"math/big"
	"strings"
	"testing"
	"time"
)

// TestLargeNumbersAsIDs holds that a number gives the same id whatever type holds it.
func TestLargeNumbersAsIDs(t *testing.T) {
	for _, c := range []struct{ json, id string }{
		{"7", "7"}, {"7.0", "7"}, {"-7e0", "-7"}, {"0.5", "0.5"}, {"5e-1", "0.5"}, {"-0.0", "0"},
		{"9223372036854775807", "9223372036854775807"}, {"9223372036854775808", "9223372036854775808"}, {"9223372036854775808.0", "9223372036854775808"},
		{"-9223372036854775808.0", "-9223372036854775808"}, {"18446744073709551616", "18446744073709551616"}, {"18446744073709551616.0", "18446744073709551616"},
		{"1e22", "10000000000000000000000"}, {"10000000000000000000000", "10000000000000000000000"}, {"1e400", ""},
	} {
		if v, err := valueOf([]byte(c.json)); err != nil || v.idText() != c.id {
			t.Errorf("%s: id %q, %v, want %q", c.json, v.idText(), err, c.id)
		}
	}
	n, _ := new(big.Int).SetString("9223372036854775808", 10)
	if a, b := (value{kind: large, n: n}).idText(), (value{kind: fraction, f: 1 << 63}).idText(); a != b {
		t.Errorf("%s of an unsigned integer, %s of a float", a, b)
	}
}

// TestLongNumbers reads a number of as many digits as a line may have.
func TestLongNumbers(t *testing.T) {
	done := make(chan value, 1)
	go func() { done <- numberOf(strings.Repeat("7", 100_000_000)) }()
	select {
	case v := <-done:
		if v.kind != fraction || v.idText() != "" {
			t.Errorf("it is of kind %d, with id %.20q", v.kind, v.idText())
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
}
