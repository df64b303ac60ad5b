package runtime

import (
	"context"
	"fmt"

	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
)

// StepBatch is the batch that a step trains on.
type StepBatch struct {
	*fineweb.Batch
	Step      int
	Before    int64 // tokens of the data that steps before it took, those of stages before included
	Length    int   // of a sequence
	Tokenizer *tokenizer.Tokenizer
}

// Batch packs the batch of a stage's step, as a run does: it depends on the plan alone. All batches before it are packed on the way;
// progress is called before each, with the sequences that are packed and how many there will be.
func (p *Plan) Batch(ctx context.Context, a *Action, step int, progress func(done, of int64) error) (*StepBatch, error) {
	s := a.Stage
	if step < 1 || step > s.Steps {
		return nil, fmt.Errorf("%s has steps 1 to %d, and no step %d", a.Addr, s.Steps, step)
	}
	if s.Data.Unseen != "" {
		return nil, fmt.Errorf("%s: %s", s.Data.Addr, s.Data.Unseen)
	}
	tok, err := p.Tokenizer(s.Tokenizer)
	if err != nil {
		return nil, err
	}
	set, err := fineweb.OpenSet(s.Data.Sources(ctx))
	if err != nil {
		return nil, err
	}
	defer set.Close()
	stream, err := set.Stream(fineweb.Train, tok, s.Seq, fineweb.Position{})
	if err != nil {
		return nil, err
	}
	before := int64(step-1) * int64(s.Batch)
	for x := s.From; x != nil && p.sameData(x, s); x = x.From { // whose position the stage went on from
		before += int64(x.Steps) * int64(x.Batch)
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
	return &StepBatch{b, step, before * int64(s.Seq), s.Seq, tok}, nil
}

// sameData reports whether two stages read the same sequences, so that one goes on where the other ended.
func (p *Plan) sameData(a, b *Stage) bool {
	ids := p.planner.ids
	return ids[a.Data.Addr] == ids[b.Data.Addr] && ids[a.Tokenizer.Addr] == ids[b.Tokenizer.Addr] && a.Seq == b.Seq
}
