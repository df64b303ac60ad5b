package growth

// random puts layers on top that start as those of a fresh model do, as where a model of one layer grows to its whole depth
// at once (arXiv 2511.04981).
func random(s Spec, n int) (added []inserted, err error) {
	for range s.Layers {
		added = append(added, inserted{above: n - 1})
	}
	return added, nil
}
