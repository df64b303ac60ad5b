package stage

import (
	"stepflow/runtime/blocks"
)

// measureStart makes the program that measures the model which the stage starts from, where the stage trains another, and no
// stage before measures it on the batch that is compared. What takes more memory than the stage is not measured.
func (s *Stage) measureStart(w *blocks.World) error {
	if !s.ChangesAtStart() || s.measuredBefore() {
		return nil
	}
	p, err := w.Programs.Streamed(s.StartPass())
	if err == nil && p.ArenaBytes <= s.Program.ArenaBytes {
		s.startProgram = p
	}
	return err
}

// measuredBefore reports whether the stage before ends with the loss of the micro-batch that this one begins with.
func (s *Stage) measuredBefore() bool {
	b := s.Before
	return b != nil && b.Imported == nil && b.Data == s.Data && b.Tokenizer == s.Tokenizer && b.Seq == s.Seq && b.Micro == s.Micro &&
		b.Tune.identity() == s.Tune.identity()
}
