package ops

import "slices"

// Parts are parts of a layer that may change places without a change of what the layer computes, such as the neurons of a
// feed-forward layer: the rows of its first projections and the columns of its last. An axis of a tensor is
// [groups, repeats, count, size], and parts change places within their group.
type Parts struct {
	Groups, Count int
	Repeated      bool     // a group has its parts several times, each of size 1; else once
	Rows, Cols    []string // tensors, by their names in the layer, whose rows or columns they are; those of a vector are rows
}

// Has reports whether parts of a tensor are among them.
func (p Parts) Has(name string) bool {
	return slices.Contains(p.Rows, name) || slices.Contains(p.Cols, name)
}

// Permuted returns the values of a tensor with its parts in another order: order has, for each place of each group, where in
// the group its part is taken from.
func (p Parts) Permuted(name string, shape []int, x []float32, order []int) []float32 {
	s, y := p.layout(name, shape), make([]float32, len(x))
	for g := range s.groups {
		for r := range s.repeats {
			for c := range s.count {
				for i := range s.size {
					for other := range s.other {
						y[s.at(g, r, c, i, other)] = x[s.at(g, r, order[g*s.count+c], i, other)]
					}
				}
			}
		}
	}
	return y
}

// Group returns the parts of a group in a tensor as the rows of a matrix.
func (p Parts) Group(name string, shape []int, x []float32, g int) []float32 {
	s := p.layout(name, shape)
	m := make([]float32, 0, len(x)/s.groups)
	for c := range s.count {
		for r := range s.repeats {
			for i := range s.size {
				for other := range s.other {
					m = append(m, x[s.at(g, r, c, i, other)])
				}
			}
		}
	}
	return m
}

// layout is where parts lie in a matrix.
type layout struct {
	groups, repeats, count, size int // along the axis
	other                        int // extent of the other axis
	step, stride                 int // in elements, along the axis and along the other
}

func (p Parts) layout(name string, shape []int) layout {
	rows, cols := shape[0], 1
	for _, n := range shape[1:] {
		cols *= n
	}
	s := layout{groups: p.Groups, count: p.Count, repeats: 1, other: cols, step: cols, stride: 1}
	along := rows
	if slices.Contains(p.Cols, name) {
		s.other, s.step, s.stride, along = rows, 1, cols, cols
	}
	if s.size = along / (p.Groups * p.Count); p.Repeated {
		s.repeats, s.size = s.size, 1
	}
	return s
}

// at is the index of an element of a part.
func (s layout) at(g, r, c, i, other int) int {
	return (((g*s.repeats+r)*s.count+c)*s.size+i)*s.step + other*s.stride
}
