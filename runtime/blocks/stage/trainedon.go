package stage

import (
	"context"
	"fmt"

	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/trainstate"
)

// Trained is data that stages trained on.
type Trained struct {
	Stage *Stage // the last that did
	Data  *data.Data
	At    fineweb.Position // to which they were read
}

// Open opens the data as the stage read them.
func (t *Trained) Open(ctx context.Context, tok *bpe.Tokenizer) (*fineweb.Set, error) {
	return t.Stage.open(ctx, tok)
}

// TrainedOn returns what a stage, whose result is in a folder, and those before it trained on, the first of them first.
// before says what else trained the model, of which nothing is known here; "" for nothing.
func (s *Stage) TrainedOn(r *blocks.Run, folder string) (list []Trained, before string, err error) {
	for x, after := s, (*Stage)(nil); x != nil; x, after = x.Before, x {
		if x.Imported != nil {
			return list, fmt.Sprintf("%s is imported", x.Addr), nil
		}
		if x.Init != "" {
			before = "the model was trained before, elsewhere"
		}
		if after != nil && x.sameData(r.World, after) { // which went on from there
			continue
		}
		if x != s {
			if folder, err = r.Result(x.Addr); err != nil {
				return nil, "", err
			}
		}
		state, err := trainstate.Read(folder)
		if err != nil {
			return nil, "", err
		}
		list = append([]Trained{{x, x.Data, state.Position}}, list...)
	}
	return list, before, nil
}
