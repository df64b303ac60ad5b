//go:build cuda

package cuda

import (
	"testing"

	"gorgonia.org/cu"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
)

// On a real card; check.sh runs this, alone and under compute-sanitizer.
func TestCardConformance(t *testing.T) {
	open := oneCard(t)
	gputest.Run(t, open)
	gputest.RunWide(t, open)
	gputest.RunPieces(t, open)
}

// What runs captured, as training does, gives the bits of what runs launch by launch.
func TestCardCaptured(t *testing.T) { gputest.RunReplayed(t, oneCard(t)) }

// oneCard opens devices that share one context.
func oneCard(t *testing.T) func() gpu.Device { return oneCardOf(t, 0) }

// oneCardOf does so on a card, or the last where there are fewer.
func oneCardOf(t *testing.T, number int) func() gpu.Device {
	n, err := cu.NumDevices()
	if err != nil {
		t.Fatal(err)
	}
	card, err := OpenCard(min(number, n-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := card.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Log(card.Card())
	return func() gpu.Device {
		d, err := Open(keep{card})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

// keep is a driver that stays open.
type keep struct{ Driver }

func (keep) Close() error { return nil }

// The arena takes from the card what the program says, to the granularity of the driver's pages.
func TestCardMemory(t *testing.T) {
	d, err := OpenCard(0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	before := d.Card().Free
	dev, err := Open(keep{d})
	if err != nil {
		t.Fatal(err)
	}
	const n = 1 << 30
	l, err := dev.Load(&gpu.Program{ArenaBytes: n})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	after, err := d.(*card).free()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes were free before an arena of %d, %d after: %d beside the arena", before, n, after, before-after-n)
	if rest := before - after - n; rest < 0 || rest > Reserve {
		t.Errorf("an arena of %d bytes took %d from the card, %d more than the reserve of %d allows", n, before-after, rest, Reserve)
	}
}
