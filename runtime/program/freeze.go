package program

import "stepflow/ops"

// Parts are the words for parts of a stage's model that freeze takes, with the parameters of each.
var Parts = map[string]func(*Stage, ops.Param) bool{
	"inherited":  (*Stage).Inherited,
	"embeddings": func(_ *Stage, p ops.Param) bool { return p.Kind == ops.KindEmbedding },
	"lm_head":    func(_ *Stage, p ops.Param) bool { return p.Kind == ops.KindHead },
	"norm":       func(_ *Stage, p ops.Param) bool { return p.Kind == ops.KindNorm && p.Layer < 0 },
}

// Freeze freezes a part of the model, by its word among Parts, and reports whether it has such parameters.
func (s *Stage) Freeze(word string) (some bool) {
	for _, p := range s.Params {
		if Parts[word](s, p) {
			s.Frozen[p.ID], some = true, true
		}
	}
	return some
}
