package growth

// stack repeats the layers on top, from the bottom one on (Gong et al. 2019).
func stack(s Spec, n int) (added []inserted, err error) {
	for j := range s.Layers {
		added = append(added, inserted{above: n - 1, from: []Source{{j % n, 1}}})
	}
	return added, nil
}
