package cpu

import (
	"bytes"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"unsafe"

	"stepflow/gpu"
	"stepflow/gpu/probe"
)

// TestStopEndsALaunchEarly stops launches when they have run a few tiles, and counts how many tiles they run in all.
func TestStopEndsALaunchEarly(t *testing.T) {
	// One head of one sequence: all of attention is a task or two.
	s := probe.Shapes{Batch: 1, Seq: 512, Hidden: 64, Intermediate: 512, Heads: 1, KVHeads: 1, Vocab: 512, Rank: 8}
	cases := slices.DeleteFunc(probe.Cases(s, gpu.F32), func(c probe.Case) bool {
		return !slices.Contains([]string{"gate projection", "attention", "attention, backward", "logits and loss"}, c.Name)
	})
	for _, threads := range []int{1, 2} {
		d := open(t, threads, "")
		var tiles atomic.Int64
		var at func(n int64) // is called with the number of tiles that began
		count := func(from *tile) *tile {
			return &tile{from.mr, from.nr, func(steps int, a, b, c, add unsafe.Pointer, ldc, mode int, alpha float32) {
				at(tiles.Add(1))
				from.run(steps, a, b, c, add, ldc, mode, alpha)
			}}
		}
		v := *d.variant
		v.f32 = tileSet{count(v.f32.wide), count(v.f32.narrow), count(v.f32.short), nil}
		d.variant = &v
		for _, c := range cases {
			run := func(stopAt int64, l gpu.Loaded) (int64, error) {
				tiles.Store(0)
				at = func(n int64) {
					if n == stopAt {
						l.Stop()
					}
				}
				err := l.Run(0, 1, false)
				return tiles.Load(), err
			}
			l, p := opened(t, c, d)
			all, err := run(-1, l)
			if err != nil {
				t.Fatal(err)
			}
			whole := copied(t, l, p)
			const few = 8
			if n, err := run(few, l); n > all/4 || !errors.Is(err, gpu.ErrStopped) {
				t.Errorf("%s, %d threads: stopped at tile %d of %d it ran %d: %v", c.Name, threads, few, all, n, err)
			}
			if n, err := run(-1, l); n > 0 || !errors.Is(err, gpu.ErrStopped) {
				t.Errorf("%s, %d threads: a program that was stopped ran %d tiles: %v", c.Name, threads, n, err)
			}
			copied(t, l, p) // it can still be read
			other, p := opened(t, c, d)
			if n, err := run(-1, other); n != all || err != nil || !bytes.Equal(copied(t, other, p), whole) {
				t.Errorf("%s, %d threads: after the stop of one program another ran %d tiles of %d, or to other bits: %v", c.Name, threads, n, all, err)
			}
		}
	}
}

func opened(t *testing.T, c probe.Case, d gpu.Device) (gpu.Loaded, *gpu.Program) {
	t.Helper()
	l, p, err := c.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, p
}

// copied is the memory of a loaded program.
func copied(t *testing.T, l gpu.Loaded, p *gpu.Program) []byte {
	t.Helper()
	all := make([]byte, p.ArenaBytes/4*4)
	if err := l.CopyOut(all, gpu.Operand{Type: gpu.Type{Shape: gpu.Shape{len(all) / 4}, DType: gpu.I32}}); err != nil {
		t.Fatal(err)
	}
	return all
}
