package growth

// optDeUS puts each new layer between two neighbours, as a mixture of the upper one and of the lower one, whose parts are
// brought into the order of those of the upper one first (Cao et al. 2025, arXiv 2508.08011). align.go says how.
func optDeUS(s Spec, n int) ([]inserted, error) {
	added, err := between("opt_deus", s, n)
	for i := range added {
		added[i].aligned = true
	}
	return added, err
}
