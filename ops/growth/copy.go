package growth

import "fmt"

// double puts a copy of a layer above it (Wu et al. 2024, LLaMA Pro).
func double(s Spec, n int) (added []inserted, err error) {
	layers, err := s.choose(n)
	if err != nil {
		return nil, fmt.Errorf("copy doubles each layer at most once, and there are %d: %w", n, err)
	}
	for _, i := range layers {
		added = append(added, inserted{above: i, from: []Source{{i, 1}}})
	}
	return added, nil
}
