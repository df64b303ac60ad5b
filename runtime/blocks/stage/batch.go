package stage

import (
	"context"
	"fmt"

	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
	"stepflow/runtime/trainstate"
)

// StepBatch is the batch that a step trains on.
type StepBatch struct {
	*fineweb.Batch
	Step      int
	Before    int64 // tokens of the data that earlier steps took, including those of earlier stages
	Length    int   // tokens of a sequence
	Tokenizer *bpe.Tokenizer
	Tuned     bool // it is of conversations
}

// BatchOf packs the batch of a step as a run does; it depends on the plan alone. It packs all batches before it on the
// way, and calls progress before each with the number of sequences packed so far and their total.
func (s *Stage) BatchOf(ctx context.Context, w *blocks.World, step int,
	progress func(done, of int64) error) (*StepBatch, error) {
	if s.Imported != nil {
		return nil, fmt.Errorf("%s is imported from %s, and trains no step", s.Addr, s.Imported.ID)
	}
	if step < 1 || step > s.Steps {
		return nil, fmt.Errorf("%s has steps 1 to %d, and no step %d", s.Addr, s.Steps, step)
	}
	if s.Data.Unseen != "" {
		return nil, fmt.Errorf("%s: %s", s.Data.Addr, s.Data.Unseen)
	}
	tok := s.Tokenizer.Ready()
	if tok == nil {
		return nil, s.Tokenizer.NotTrained()
	}
	set, err := s.open(ctx, tok)
	if err != nil {
		return nil, err
	}
	defer set.Close()
	stream, err := set.Stream(fineweb.Train, tok, s.Seq, fineweb.Position{})
	if err != nil {
		return nil, err
	}
	before := int64(step-1) * int64(s.Batch)
	for x := s.Before; x != nil && x.sameData(w, s); x = x.Before { // the stage continues at its position
		before += int64(x.resultStep(w)) * int64(x.Batch)
	}
	for done := int64(0); done < before; {
		if err := progress(done, before); err != nil {
			return nil, err
		}
		n := min(int64(s.Batch), before-done)
		if _, err := stream.Next(int(n)); err != nil {
			return nil, err
		}
		done += n
	}
	b, err := stream.Next(s.Batch)
	if err != nil {
		return nil, err
	}
	return &StepBatch{b, step, before * int64(s.Seq), s.Seq, tok, s.Tune != nil}, nil
}

// resultStep returns the step whose model is the stage's result; the last, if it has not run.
func (s *Stage) resultStep(w *blocks.World) int {
	if dir, ok := w.Made(s.Addr); ok {
		if t, err := trainstate.Read(dir); err == nil {
			return t.Step
		}
	}
	return s.Steps
}

// sameData reports whether two stages read the same sequences, so that one continues where the other ended.
func (s *Stage) sameData(w *blocks.World, o *Stage) bool {
	return w.ID(s.Data.Addr) == w.ID(o.Data.Addr) && w.ID(s.Tokenizer.Addr) == w.ID(o.Tokenizer.Addr) && s.Seq == o.Seq &&
		(s.Tune == nil) == (o.Tune == nil) && (s.Tune == nil || s.Tune.identity() == o.Tune.identity())
}
