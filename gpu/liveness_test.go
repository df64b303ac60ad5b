package gpu_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"stepflow/gpu"
)

// life follows a tensor through the launches after the one that made it: last is the last that reads it, or the one before
// that writes over it; gone is the launch that puts something else in its place, end if none does.
func life(p *gpu.Program, t gpu.Tensor, end int) (last, gone int) {
	last = t.First
	for i := t.First + 1; i < end; i++ {
		for _, in := range p.Launches[i].In {
			if gpu.Overlap(in, t.Operand) {
				last = i
			}
		}
		for _, out := range p.Launches[i].Out {
			if !gpu.Overlap(out, t.Operand) || last == i && contains(t.Operand, out) {
				continue
			}
			return min(last, i-1), i
		}
	}
	return last, end
}

func contains(t, o gpu.Operand) bool {
	return t.Offset <= o.Offset && o.Offset+o.Span() <= t.Offset+t.Span() && o.Span() < t.Span()
}

// transients is the definition of Program.Transients: each tensor is followed alone.
func transients(p *gpu.Program, s gpu.Segment) (all []gpu.Tensor) {
	for i := s.Lo; i < s.Hi; i++ {
		for n, out := range p.Launches[i].Out {
			made := out.Offset >= p.ResidentBytes
			for _, t := range all {
				read := slices.ContainsFunc(p.Launches[i].In, func(in gpu.Operand) bool { return gpu.Overlap(in, t.Operand) })
				if _, gone := life(p, t, i); t.First < i && gone == i && read && contains(t.Operand, out) {
					made = false // part of it is changed where it lies
				}
			}
			if !made {
				continue
			}
			t := gpu.Tensor{Name: "k n", Operand: out, First: i, Last: i, Output: n}
			t.Last, _ = life(p, t, s.Hi)
			all = append(all, t)
		}
	}
	return all
}

// randomProgram has launches that read and write anywhere in a small arena, two outputs beside each other included, often in
// the place of what they read or of a part of it.
func randomProgram(rng *rand.Rand) *gpu.Program {
	operand := func(lo, hi int) gpu.Operand { // floats [lo, hi)
		return gpu.Operand{Offset: int64(4 * lo), Type: gpu.Type{Shape: gpu.Shape{hi - lo}, DType: gpu.F32}}
	}
	const floats, resident = 24, 4
	anywhere := func(from, to int) gpu.Operand {
		lo := from + rng.IntN(to-from)
		return operand(lo, lo+1+rng.IntN(min(8, to-lo)))
	}
	p := &gpu.Program{ArenaBytes: 4 * floats, ResidentBytes: 4 * resident}
	for range 40 {
		l := gpu.Launch{Kernel: "k", Name: "n", Out: []gpu.Operand{anywhere(resident, floats/2)}, Scratch: operand(0, rng.IntN(3))}
		if rng.IntN(8) == 0 {
			l.Out[0] = operand(0, resident)
		}
		if rng.IntN(3) == 0 {
			l.Out = append(l.Out, anywhere(floats/2+8, floats))
		}
		for range rng.IntN(3) {
			l.In = append(l.In, anywhere(0, floats))
		}
		if rng.IntN(2) == 0 {
			l.In = append(l.In, l.Out[0])
		}
		p.Launches = append(p.Launches, l)
	}
	p.Segments = []gpu.Segment{{Name: "s", Lo: 5, Hi: 40}}
	return p
}

// TestColumnsAreOneTensor: the outputs of a launch that are columns of one matrix are one tensor, which lives on while some of
// its columns are changed where they lie, and until the last of them is read.
func TestColumnsAreOneTensor(t *testing.T) {
	columns := func(lo, n int) gpu.Operand {
		return gpu.Operand{Offset: int64(4 * lo), Type: gpu.Type{Shape: gpu.Shape{3, n}, DType: gpu.F32}, Stride: 8}
	}
	flat := func(at, n int) gpu.Operand {
		return gpu.Operand{Offset: int64(4 * at), Type: gpu.Type{Shape: gpu.Shape{n}, DType: gpu.F32}}
	}
	q, k, v, other := columns(0, 4), columns(4, 2), columns(6, 2), flat(24, 5)
	p := &gpu.Program{ArenaBytes: 4 * 29, Launches: []gpu.Launch{
		{Kernel: "k", Name: "n", Out: []gpu.Operand{q, v, k}},
		{Kernel: "k", Name: "n", In: []gpu.Operand{k}, Out: []gpu.Operand{k}},
		{Kernel: "k", Name: "n", In: []gpu.Operand{q}, Out: []gpu.Operand{other}},
		{Kernel: "k", Name: "n", In: []gpu.Operand{v}, Out: []gpu.Operand{flat(0, 24)}},
	}}
	p.Segments = []gpu.Segment{{Name: "s", Hi: 4}}
	got := p.Transients(p.Segments[0])
	if len(got) != 3 || got[0].Bytes() != 4*24 || got[0].First != 0 || got[0].Last != 2 || got[1].Operand.Offset != other.Offset {
		t.Errorf("tensors are %+v", got)
	}
	if alive := p.AliveBytes(p.Segments[0]); !slices.Equal(alive, []int64{96, 96, 116, 96}) {
		t.Errorf("%v bytes are alive", alive)
	}
}

func TestTransientsAreWhatTheLaunchesSay(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	parts := 0
	for range 500 {
		p := randomProgram(rng)
		s := p.Segments[0]
		want := transients(p, s)
		got := p.Transients(s)
		if !slices.EqualFunc(got, want, func(a, b gpu.Tensor) bool {
			return a.Operand.Offset == b.Operand.Offset && a.Bytes() == b.Bytes() && a.Name == b.Name && a.First == b.First && a.Last == b.Last && a.Output == b.Output
		}) {
			t.Fatalf("tensors are\n%v, want\n%v", got, want)
		}
		for i, l := range p.Launches[s.Lo:s.Hi] {
			for _, out := range l.Out {
				if out.Offset >= p.ResidentBytes && !slices.ContainsFunc(want, func(t gpu.Tensor) bool { return t.First == s.Lo+i && t.Operand.Offset == out.Offset }) {
					parts++
				}
			}
		}
		for i, n := range p.AliveBytes(s) {
			alive := p.ResidentBytes + p.Launches[s.Lo+i].Scratch.Type.Bytes()
			for _, x := range want {
				if x.First <= s.Lo+i && s.Lo+i <= x.Last {
					alive += x.Bytes()
				}
			}
			if n != alive {
				t.Fatalf("at launch %d %d bytes are alive, want %d", s.Lo+i, n, alive)
			}
		}
	}
	if parts == 0 {
		t.Error("no program changes a part of a tensor where it lies")
	}
}
