package gpu

// Tensor is a value in the transient region of the arena, alive from the launch that makes it to the last that reads it,
// or to the one before that writes over it.
type Tensor struct {
	Name        string // kernel and place of the launch that made it
	Operand     Operand
	First, Last int // launches, indices into Program.Launches
	Output      int // which of the launch's outputs
}

// Bytes is what the tensor takes.
func (t Tensor) Bytes() int64 { return t.Operand.Span() }

// Transients lists the tensors of a segment in the order in which they are made. An output written over an input takes
// its place; a view counts as what it looks at.
func (p *Program) Transients(s Segment) []Tensor {
	var all []Tensor
	var alive []int // indices into all
	for i := s.Lo; i < s.Hi; i++ {
		l := &p.Launches[i]
		for _, in := range l.In {
			for _, n := range alive {
				if Overlap(all[n].Operand, in) {
					all[n].Last = i
				}
			}
		}
		for o, out := range l.Out {
			if out.Offset < p.ResidentBytes {
				continue
			}
			kept, inside := alive[:0], false
			for _, n := range alive {
				t := all[n].Operand
				switch {
				case !Overlap(t, out):
					kept = append(kept, n)
				case all[n].Last == i && t.Offset <= out.Offset && t.Offset+t.Span() >= out.Offset+out.Span() && t.Span() > out.Span():
					kept, inside = append(kept, n), true // part of a tensor is changed where it lies
				case all[n].Last == i:
					all[n].Last = i - 1
				}
			}
			if alive = kept; inside {
				continue
			}
			alive = append(alive, len(all))
			all = append(all, Tensor{Name: l.Kernel + " " + l.Name, Operand: out, First: i, Last: i, Output: o})
		}
	}
	return all
}

// AliveBytes gives, for each launch of a segment, the bytes of the arena that hold something: named buffers, tensors
// that are alive, and the launch's own scratch.
func (p *Program) AliveBytes(s Segment) []int64 {
	bytes := make([]int64, s.Hi-s.Lo)
	for _, t := range p.Transients(s) {
		for i := t.First; i <= t.Last; i++ {
			bytes[i-s.Lo] += t.Bytes()
		}
	}
	for i := range bytes {
		bytes[i] += p.ResidentBytes + p.Launches[s.Lo+i].Scratch.Type.Bytes()
	}
	return bytes
}
