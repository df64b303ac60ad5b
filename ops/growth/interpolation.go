package growth

import "fmt"

// interpolation puts each new layer between two neighbours, as a mixture of them (arXiv 2504.04151).
func interpolation(s Spec, n int) ([]inserted, error) { return between("interpolation", s, n) }

// between puts new layers between neighbours, as mixtures of them.
func between(method string, s Spec, n int) (added []inserted, err error) {
	gaps, err := s.choose(n - 1)
	if err != nil {
		gap := "gaps"
		if n == 2 {
			gap = "gap"
		}
		return nil, fmt.Errorf("%s puts each new layer between two neighbours, and %d layers have %d %s: %w",
			method, n, n-1, gap, err)
	}
	for _, i := range gaps {
		added = append(added, inserted{above: i, from: []Source{{i, 1 - s.Mix}, {i + 1, s.Mix}}})
	}
	return added, nil
}
