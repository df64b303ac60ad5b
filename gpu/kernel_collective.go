package gpu

import "fmt"

// collectiveKernels combine what several ranks have. The ranks run the same collectives in the same order, with operands of
// the same types. Sums are made in fp32, in the order of ranks, and rounded once.
var collectiveKernels = []Kernel{
	{
		Name:       "all_reduce",
		Formula:    "y = sum_r x of rank r, on all ranks",
		Attrs:      []string{"Ranks"},
		InPlace:    [][2]int{{0, 0}},
		Collective: true,
		FLOPs: func(a Attrs, in, _ []Type) int64 {
			return Product(int64(a.Ranks-1), int64(in[0].Shape.Elems())) / int64(max(a.Ranks, 1))
		},
		Scratch: pieces,
		Infer:   collective,
	},
	{
		Name:       "reduce",
		Formula:    "y = sum_r x of rank r, on rank root; elsewhere y = x",
		Attrs:      []string{"Ranks", "Root"},
		InPlace:    [][2]int{{0, 0}},
		Collective: true,
		FLOPs:      func(a Attrs, in, _ []Type) int64 { return Product(int64(a.Ranks-1), int64(in[0].Shape.Elems())) },
		Scratch:    pieces,
		Infer:      collective,
	},
	{
		Name:       "bcast",
		Formula:    "y = x of rank root, on all ranks",
		Attrs:      []string{"Ranks", "Root"},
		InPlace:    [][2]int{{0, 0}},
		Collective: true,
		FLOPs:      none,
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 1, 1); err != nil {
				return nil, err
			}
			return in[:1:1], ranks(a)
		},
	},
}

func init() { register(collectiveKernels...) }

// ranks checks the attributes of a collective.
func ranks(a Attrs) error {
	if a.Ranks < 1 || a.Root < 0 || a.Root >= a.Ranks {
		return fmt.Errorf("rank %d of %d ranks", a.Root, a.Ranks)
	}
	return nil
}

// collective infers a sum over ranks.
func collective(a Attrs, in []Type) ([]Type, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	if err := needFloat(in...); err != nil {
		return nil, err
	}
	return in[:1:1], ranks(a)
}

// pieces is the scratch of a sum over ranks: what is received of a piece of the operand, from each rank.
func pieces(a Attrs, in, _ []Type) int64 {
	_, most := Share(min(in[0].Shape.Elems(), CollectivePiece), 0, max(a.Ranks, 1))
	return Product(int64(a.Ranks), int64(most), in[0].DType.Size())
}
