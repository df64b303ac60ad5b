package gputest

import (
	"bytes"
	"testing"

	"stepflow/gpu"
)

// RunReplayed runs every case of [Cases] and [Wide] on the device that open gives, three times untimed, as training
// does, and once timed: a device may put launches together, or record them and replay the record. The bits are the
// same each time.
func RunReplayed(t *testing.T, open func() gpu.Device) {
	onEach(t, open, append(Cases(), Wide()...), replayed)
}

func replayed(t *testing.T, d gpu.Device, c Case) {
	p, err := Program(c, d.Caps(), nil)
	check(t, err)
	l, err := d.Load(p)
	check(t, err)
	defer l.Close()
	whole := gpu.Operand{Type: gpu.Type{Shape: gpu.Shape{int(p.ArenaBytes / 4)}, DType: gpu.I32}}
	before := make([]byte, whole.Type.Bytes())
	for i, v := range Inputs(c, seedOf(c)) {
		o := p.Launches[0].In[i]
		put(before, o, Encode(v, o.Type))
	}
	outputs := func(timed bool) (all []byte) {
		check(t, l.CopyIn(whole, before))
		check(t, l.Run(0, 1, timed))
		after := make([]byte, len(before))
		check(t, l.CopyOut(after, whole))
		for _, o := range p.Launches[0].Out {
			all = append(all, after[o.Offset:o.Offset+o.Span()]...)
		}
		return all
	}
	want := outputs(false)
	for _, how := range []struct {
		name  string
		timed bool
	}{{"for the second time", false}, {"for the third time", false}, {"timed", true}} {
		if !bytes.Equal(outputs(how.timed), want) {
			t.Errorf("run %s, %v gives other bits", how.name, c)
		}
	}
	_, err = l.Sync()
	check(t, err)
}
