package growth

import "fmt"

// midas doubles the block of layers in the middle (Saunshi et al. 2024, arXiv 2409.19044, section 2.3): of k blocks of
// s.Layers layers each, block ⌈k/2⌉. Where the layers are not a whole number of blocks, the block has as many layers
// below it as above, or one fewer.
func midas(s Spec, n int) (added []inserted, err error) {
	b := s.Layers
	if b > n {
		return nil, fmt.Errorf("midas doubles a block of the layers there are, and %d layers have no block of %d; grow by at most %d",
			n, b, n)
	}
	first := (n - b) / 2
	if k := n / b; n%b == 0 {
		first = ((k+1)/2 - 1) * b
	}
	for i := first; i < first+b; i++ {
		added = append(added, inserted{above: first + b - 1, from: []Source{{i, 1}}})
	}
	return added, nil
}
