package gpu

import (
	"fmt"
	"sort"
)

// Attrs are the constants of a launch. A kernel reads the few its row names; the rest stay zero,
// so a launch is a plain comparable value that can be hashed and printed.
type Attrs struct {
	TransA, TransB bool    // matmul: use the operand transposed
	Alpha          float64 // matmul, scale, sgdw, channel_factors, random_matrix: factor
	Eps            float64 // rmsnorm, adamw, adam: added under the root, to the root; normalize, inverse_rms: the least divisor
	Heads, KVHeads int     // rope, attention: heads in the row of q, of k and v
	Inverse        bool    // rope: rotate back
	Rows           int     // embedding_grad: rows of the table when no accumulator is given; random_matrix; else those that count
	Chunk          int     // linear_cross_entropy: rows of logits in memory at a time
	Frozen         bool    // linear_cross_entropy_grad: no gradient of the weight
	MaxNorm        float64 // clip: bound on the global norm; 0 for none
	Beta1, Beta2   float64 // adamw, adam; ema: Beta1
	WeightDecay    float64 // adamw, sgdw: decoupled
	DType          DType   // cast, random_matrix: result type

	// See attrs.go for how fields are encoded, new ones too.

	Ranks int // all_reduce, reduce, bcast: how many processes run the program
	Root  int // reduce, bcast: the one that has the result, or the operand
	Lo    int // slice, slice_grad: first column; random_matrix: columns that are not 0
	// slice: columns of the result; slice_grad: of it, when no accumulator is given; matmul: of the result, where a
	// quantised operand has fewer; else see Counted
	Cols int
}

// Kernel is a row of the table: all that a planner needs to know without a device.
type Kernel struct {
	Name    string
	Formula string // the meaning, over inputs in order; sums are over the index that repeats
	// Attrs names the attributes it reads, by their fields; Infer refuses all others.
	Attrs []string
	// Infer checks attributes and inputs, and returns the outputs' types.
	Infer func(a Attrs, in []Type) ([]Type, error)
	// FLOPs counts multiplications and additions separately: a product [m,k]x[k,n] is 2mkn. It counts as Product does.
	FLOPs func(a Attrs, in, out []Type) int64
	// Scratch is the bytes of device memory it needs beyond its operands; nil for none.
	Scratch func(a Attrs, in, out []Type) int64
	// Products is set if it multiplies matrices, for which a device may want a workspace after the scratch.
	Products bool
	// InPlace lists {output, input} pairs that may be one buffer.
	InPlace [][2]int
	// Collective is set if it waits for the other ranks that run the program. It may run beside launches after it that do not name
	// it in Deps.
	Collective bool
	// Strided counts the operands that may have a row stride; all others are contiguous.
	Strided Strided
}

// Strided counts the first inputs and the first outputs of a kernel whose rows may lie apart: columns of a wider matrix.
type Strided struct{ In, Out int }

var table = map[string]*Kernel{}

func register(rows ...Kernel) {
	for i := range rows {
		k := &rows[i]
		if table[k.Name] != nil {
			panic("gpu: two kernels named " + k.Name)
		}
		k.onlyReads()
		table[k.Name] = k
	}
}

// Lookup finds a kernel by name; nil if there is none.
func Lookup(name string) *Kernel { return table[name] }

// Kernels lists the table in order of names.
func Kernels() []*Kernel {
	list := make([]*Kernel, 0, len(table))
	for _, k := range table {
		list = append(list, k)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

func (k *Kernel) scratch(a Attrs, in, out []Type) int64 {
	if k.Scratch == nil {
		return 0
	}
	return k.Scratch(a, in, out)
}

// Align rounds n up to a multiple of alignment.
func Align(n, alignment int64) int64 {
	alignment = max(alignment, 1)
	return (n + alignment - 1) / alignment * alignment
}

// Bytes is the memory traffic of a launch at least: every operand once.
func Bytes(in, out []Type) int64 {
	var n int64
	for _, t := range in {
		n = Sum(n, t.Bytes())
	}
	for _, t := range out {
		n = Sum(n, t.Bytes())
	}
	return n
}

// SumBlock is the number of elements one partial sum of a reduction covers. Reductions are split
// by it, so by shape alone, and their result does not depend on the number of threads.
const SumBlock = 1 << 14

// RowBlock is the number of rows one partial sum over rows covers.
const RowBlock = 64

// blocks is the number of blocks of a size that hold n elements, of which the last may be shorter.
func blocks(n, size int) int64 { return int64(n/size + min(n%size, 1)) }

// arity checks the number of inputs.
func arity(in []Type, least, most int) error {
	if len(in) < least || len(in) > most {
		return fmt.Errorf("takes %d to %d inputs, not %d", least, most, len(in))
	}
	return nil
}

func needFloat(in ...Type) error {
	for i, t := range in {
		if !t.DType.IsFloat() {
			return fmt.Errorf("input %d is %v, not floating point", i, t)
		}
	}
	return nil
}

func needSame(what string, a, b Type) error {
	if !a.Equal(b) {
		return fmt.Errorf("%s: %v and %v differ", what, a, b)
	}
	return nil
}

func needType(what string, t, want Type) error {
	if !t.Equal(want) {
		return fmt.Errorf("%s is %v, not %v", what, t, want)
	}
	return nil
}

func elementwise(flops int64) func(Attrs, []Type, []Type) int64 {
	return func(_ Attrs, in, _ []Type) int64 { return Product(flops, int64(in[0].Shape.Elems())) }
}

// withAddend is the FLOPs of a kernel of n inputs and, where there is one more, of adding that to its result: as many as
// when the sum is a launch, so that what a step counts is the same on every device.
func withAddend(n int, of func(Attrs, []Type, []Type) int64) func(Attrs, []Type, []Type) int64 {
	return func(a Attrs, in, out []Type) int64 {
		flops := of(a, in, out)
		if len(in) > n {
			flops = Sum(flops, int64(out[0].Shape.Elems()))
		}
		return flops
	}
}

// none is the FLOPs of a kernel that computes nothing.
func none(Attrs, []Type, []Type) int64 { return 0 }

// sameAs0 is the Infer of a kernel with n operands of one type, which its result has too.
func sameAs0(n int) func(Attrs, []Type) ([]Type, error) {
	return func(_ Attrs, in []Type) ([]Type, error) {
		if err := arity(in, n, n); err != nil {
			return nil, err
		}
		if err := needFloat(in...); err != nil {
			return nil, err
		}
		for i := 1; i < n; i++ {
			if err := needSame("operands", in[0], in[i]); err != nil {
				return nil, err
			}
		}
		return []Type{in[0]}, nil
	}
}
