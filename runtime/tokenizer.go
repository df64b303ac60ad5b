package runtime

import (
	"fmt"
	"path/filepath"

	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
)

// Tokenizer reads a planned tokenizer: from its file, or as a run trained it.
func (p *Plan) Tokenizer(t *Tokenizer) (*tokenizer.Tokenizer, error) {
	if tok := p.planner.trained(t); tok != nil {
		return tok, nil
	}
	return nil, fmt.Errorf("%s has not been trained yet: apply trains it", t.Addr)
}

// trained is a tokenizer that is there, as the plan leaves it; nil if it is not.
func (p *planner) trained(t *Tokenizer) *tokenizer.Tokenizer {
	if t.loaded != nil || p.pending[t.Addr] {
		return t.loaded
	}
	if a := p.done[t.Addr]; a != nil && a.found != nil && a.found.Done {
		t.loaded, _ = ReadTokenizer(filepath.Join(p.stateDir, a.found.dir(), fileTokenizer))
	}
	return t.loaded
}

// ReadTokenizer reads a tokenizer.json.
func ReadTokenizer(path string) (*tokenizer.Tokenizer, error) {
	b, err := foreign.ReadFile(path, tokenizer.MaxBytes)
	if err != nil {
		return nil, err
	}
	t, err := tokenizer.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func (r *runner) tokenizer(t *Tokenizer) (*tokenizer.Tokenizer, error) {
	if t.loaded != nil {
		return t.loaded, nil
	}
	if tok := r.tokens[t.Addr]; tok != nil {
		return tok, nil
	}
	dir, err := r.contentDir(t.Addr)
	if err != nil {
		return nil, err
	}
	tok, err := ReadTokenizer(filepath.Join(dir, fileTokenizer))
	if err != nil {
		return nil, err
	}
	r.tokens[t.Addr] = tok
	return tok, nil
}

// trainTokenizer counts the words of the training split and makes the vocabulary.
func (r *runner) trainTokenizer(a *Action, entry *state.Block) error {
	t := a.Token
	c, err := r.open(t.TrainOn)
	if err != nil {
		return err
	}
	defer c.Close()
	tr := tokenizer.NewTrainer()
	left, found := t.MaxBytes, false
	err = c.Texts(fineweb.Train, func(text string) bool {
		found = true
		tr.Add(text)
		left -= int64(len(text))
		return left > 0 && r.ctx.Err() == nil
	})
	if err != nil {
		return err
	}
	if !found && r.ctx.Err() == nil {
		return c.None(fineweb.Train)
	}
	tok, err := tr.Train(r.ctx, t.VocabSize)
	if err != nil {
		return err
	}
	if tok.VocabSize() < t.VocabSize {
		return fmt.Errorf("the data give %d tokens only, vocab_size asks for %d: lower it, or train on more text", tok.VocabSize(), t.VocabSize)
	}
	entry.Dir = filepath.Join(a.Dir(), "tokenizer")
	entry.Values = map[string]any{"vocab_size": float64(tok.VocabSize()), "eos_token_id": float64(tok.EOS), "distinct_words": float64(tr.Words())}
	return r.writeContent(a, entry, checkpoint.Bytes(fileTokenizer, tok.JSON()))
}
