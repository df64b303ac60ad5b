package cuda

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"stepflow/gpu"
)

// meter is a card that notes what it is measured on: every launch takes a millisecond.
type meter struct {
	recorder
	full   bool
	copied int64
	zeros  int64
	held   int
	most   int
}

func (m *meter) Card() Card {
	c := m.recorder.Card()
	c.Processors = 132
	return c
}

func (m *meter) Alloc(int64) (Pointer, error) {
	if m.full {
		return 0, errors.New("out of memory")
	}
	m.held++
	m.most = max(m.most, m.held)
	return 1 << 20, nil
}

func (m *meter) Free(Pointer) error { m.held--; return nil }

func (m *meter) CopyIn(_ Pointer, b []byte) error {
	m.copied, m.zeros = m.copied+int64(len(b)), m.zeros+int64(bytes.Count(b, []byte{0, 0}))
	return nil
}

func (m *meter) Elapsed(list []Event) (times []time.Duration, err error) {
	for i := range list {
		times = append(times, time.Duration(i)*time.Millisecond)
	}
	return times, nil
}

// Rates are measured on random data, before the first arena takes its memory.
func TestRates(t *testing.T) {
	m := &meter{}
	d, err := Open(m)
	if err != nil {
		t.Fatal(err)
	}
	l, err := d.Load(&gpu.Program{ArenaBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if m.held != 1 || m.most != 1 {
		t.Errorf("%d arenas are held, %d were at once: the rates are not measured before", m.held, m.most)
	}
	for _, x := range []struct {
		name      string
		got, want float64
	}{
		{"bf16", d.PeakFLOPs(gpu.BF16), 2 * 8192. * 8192 * 8192 * 1000},
		{"fp32", d.PeakFLOPs(gpu.F32), 2 * 8192. * 8192 * 8192 * 1000},
		{"copy", d.Bandwidth(), 2 * (1 << 30) * 1000},
	} {
		if x.got != x.want {
			t.Errorf("%s: %g a second, not %g", x.name, x.got, x.want)
		}
	}
	if want := int64(2*8192*8192*(2+4) + 1<<30); m.copied != want || m.zeros > m.copied/1000 {
		t.Errorf("%d bytes of data, %d pairs of them zero, not %d of random data", m.copied, m.zeros, want)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// What cannot be measured is not a rate.
func TestRatesOfAFullCard(t *testing.T) {
	d, err := Open(&meter{full: true})
	if err != nil {
		t.Fatal(err)
	}
	if p, b := d.PeakFLOPs(gpu.BF16), d.Bandwidth(); p != 0 || b != 0 {
		t.Errorf("%g FLOP/s and %g B/s were measured on a card without memory", p, b)
	}
}
