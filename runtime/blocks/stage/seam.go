package stage

import (
	"stepflow/runtime/blocks"
	"stepflow/runtime/train"
)

// measureStart makes the program that measures the model that the stage starts from. There is none if the stage trains that model as it
// is, if the stage before measures it on the same batch, or if measuring would take more memory than training.
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

// countMoments counts the parameters whose moments begin again, because the stage before ends with those of another optimizer.
func (s *Stage) countMoments() error {
	b := s.Before
	if b == nil {
		return nil
	}
	updates, has := b.Ends()
	if b.Imported != nil {
		if b.Imported.Moments != "" || b.Imported.Folder == "" {
			return nil
		}
		x, err := train.OpenImported(&b.Stage, b.Imported.Folder, "")
		if err != nil {
			return err
		}
		defer x.Close()
		updates, has = x.Ends()
	}
	s.beginAgain = s.BeginningAgain(updates, has)
	return nil
}
