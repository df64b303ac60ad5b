package growth

import "fmt"

// interpolation puts each new layer between two neighbours, as a mixture of them (arXiv 2504.04151).
func interpolation(s Spec, n int) (added []inserted, err error) {
	gaps, err := s.choose(n - 1)
	if err != nil {
		gap := "gaps"
		if n == 2 {
			gap = "gap"
		}
		return nil, fmt.Errorf("interpolation puts each new layer between two neighbours, and %d layers have %d %s: %w",
			n, n-1, gap, err)
	}
	for _, i := range gaps {
		added = append(added, inserted{i, []Source{{i, 1 - s.Mix}, {i + 1, s.Mix}}})
	}
	return added, nil
}
