package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
)

// Tokenizer is a planned tokenizer block: read from a file, or trained by the run.
type Tokenizer struct {
	Addr      addr.Addr
	VocabSize int
	MaxBytes  int64
	TrainOn   *Data
	path      string
	hash      string
	loaded    *tokenizer.Tokenizer
}

func (p *planner) tokenizer(a *Action, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	t := &Tokenizer{Addr: a.Addr}
	a.Token = t
	if a.Addr.Type == "huggingface" {
		t.path = p.relative(d.Str("file"))
		b, err := foreign.ReadFile(t.path, tokenizer.MaxBytes)
		if err != nil {
			return nil, problem(d, "file", "Unreadable tokenizer", err)
		}
		if t.loaded, err = tokenizer.Parse(b); err != nil {
			return nil, problem(d, "file", "Unreadable tokenizer", fmt.Errorf("%s: %w", t.path, err))
		}
		if name := d.Str("eos_token"); name != "" {
			id, ok := t.loaded.ID(name)
			if !ok {
				return nil, hcl.Diagnostics{d.Error("eos_token", "Unknown token", fmt.Sprintf("%s has no token %q.", t.path, name))}
			}
			t.loaded.EOS = id
		}
		sum := sha256.Sum256(b)
		t.hash, t.VocabSize = hex.EncodeToString(sum[:]), t.loaded.VocabSize()
		known := map[string]cty.Value{"vocab_size": number(float64(t.VocabSize))}
		if t.loaded.EOS < 0 {
			return nil, hcl.Diagnostics{d.Error("file", "No end-of-text token", "Documents are separated by an end-of-text token, and none of the usual ones is in the file. Name one with eos_token.")}
		}
		a.hashed["eos_token"] = strconv.Itoa(int(t.loaded.EOS)) // named or found
		known["eos_token_id"] = number(float64(t.loaded.EOS))
		return known, nil
	}
	ref, _, _ := d.Ref("train_on")
	t.TrainOn = p.use(a, ref).Data
	if !slices.ContainsFunc(t.TrainOn.sources(), func(n *Data) bool { return n.Source.ValidationFraction < 1 }) {
		return nil, hcl.Diagnostics{d.Error("train_on", "Nothing to train on", fmt.Sprintf("%s holds all its documents out: its validation_fraction is 1.", ref))}
	}
	t.VocabSize = d.Int("vocab_size")
	var err error
	if t.MaxBytes, err = dsl.ParseBytes(d.Str("max_bytes")); err != nil {
		return nil, problem(d, "max_bytes", "Invalid value", err)
	}
	a.hashed["max_bytes"] = fmt.Sprint(t.MaxBytes)
	return map[string]cty.Value{"vocab_size": number(float64(t.VocabSize)), "eos_token_id": number(0)}, nil
}

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
		t.loaded, _ = ReadTokenizer(filepath.Join(p.stateDir, a.found.dir(), checkpoint.TokenizerFile))
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
	tok, err := ReadTokenizer(filepath.Join(dir, checkpoint.TokenizerFile))
	if err != nil {
		return nil, err
	}
	r.tokens[t.Addr] = tok
	return tok, nil
}

// trainTokenizer counts the words of the training split and makes the vocabulary.
func (r *runner) trainTokenizer(ctx context.Context, a *Action, entry *state.Block) error {
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
		return left > 0 && ctx.Err() == nil
	})
	if err != nil {
		return err
	}
	if !found && ctx.Err() == nil {
		return c.None(fineweb.Train)
	}
	tok, err := tr.Train(ctx, t.VocabSize)
	if err != nil {
		return err
	}
	if tok.VocabSize() < t.VocabSize {
		return fmt.Errorf("the data give %d tokens only, vocab_size asks for %d: lower it, or train on more text", tok.VocabSize(), t.VocabSize)
	}
	entry.Dir = filepath.Join(a.Dir(), "tokenizer")
	entry.Values = map[string]any{"vocab_size": float64(tok.VocabSize()), "eos_token_id": float64(tok.EOS), "distinct_words": float64(tr.Words())}
	return r.writeContent(a, entry, checkpoint.Bytes(checkpoint.TokenizerFile, tok.JSON()))
}
