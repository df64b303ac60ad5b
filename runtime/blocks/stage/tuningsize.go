package stage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/runtime/blocks"
	"stepflow/runtime/durable"
	"stepflow/runtime/words"
)

// tuningSize is one pass over the conversations.
type tuningSize struct {
	Conversations, Sequences, Tokens, Counted int64 // of the tokens, those that count in the loss
	Truncated, Masked, Quoted                 int64
}

// countsAtOnce is the most bytes of local conversations that a plan counts without being asked for it.
const countsAtOnce = 16 << 20

// conversations counts one pass over the conversations, which takes about as long as packing them. It returns nil where
// they cannot be counted, or where nobody asked and they are large.
func (s *Stage) conversations(ctx context.Context, asked bool) (*tuningSize, error) {
	tok := s.Tokenizer.Ready()
	if tok == nil || s.Data.Unseen != "" || s.Data.Parts != nil {
		return nil, nil
	}
	var bytes int64
	for _, f := range s.Data.Files {
		if fineweb.IsRemote(f) {
			return nil, nil
		}
		if !filepath.IsAbs(f) {
			f = filepath.Join(s.Data.Source.Dir, f)
		}
		if st, err := os.Stat(f); err == nil {
			bytes += st.Size()
		}
	}
	if bytes > countsAtOnce && !asked {
		return nil, nil
	}
	path := s.countsPath(tok)
	if b, err := foreign.ReadFile(path, 1<<12); err == nil {
		var size tuningSize
		if json.Unmarshal(b, &size) == nil && size.Sequences > 0 {
			return &size, nil
		}
	}
	size, err := s.pass(ctx, tok)
	if err != nil {
		return nil, err
	}
	if b, err := json.Marshal(size); err == nil && path != "" {
		if os.MkdirAll(filepath.Dir(path), 0o755) == nil {
			durable.WriteFile(path, b) // a count that is not kept is counted again
		}
	}
	return size, nil
}

// countsPath is where the count is kept: below a hash of all that decides it.
func (s *Stage) countsPath(tok *bpe.Tokenizer) string {
	dir := foreign.CacheDir()
	if dir == "" {
		return ""
	}
	x := s.Data.Source
	x.Patterns, x.Cache, x.Hashing, x.Epochs, x.Said, x.Against = nil, nil, nil, 0, nil, nil
	against := ""
	for _, a := range s.Data.Source.Against {
		against += fmt.Sprintf(" %q %d %d", a.Identity, a.N, a.MaxMatches)
	}
	key := sha256.Sum256(fmt.Appendf(nil, "1 %s %+v%s %s %x %d %d", s.Data.Content, x, against, s.Tune.identity(),
		sha256.Sum256(tok.JSON()), tok.EOS, s.Seq))
	return filepath.Join(dir, "conversations", hex.EncodeToString(key[:16])+".json")
}

func (s *Stage) pass(ctx context.Context, tok *bpe.Tokenizer) (*tuningSize, error) {
	set, err := s.open(ctx, tok)
	if err != nil {
		return nil, err
	}
	defer set.Close()
	stream, err := set.Stream(fineweb.Train, tok, s.Seq, fineweb.Position{})
	if err != nil {
		return nil, err
	}
	var size tuningSize
	for {
		b, err := stream.Next(1)
		if errors.Is(err, fineweb.ErrUsedUp) && size.Sequences > 0 {
			return &size, nil
		}
		if err != nil {
			return nil, err
		}
		size.Sequences++
		size.Counted += int64(b.Valid)
		for _, x := range b.Documents {
			size.Tokens += int64(x.N)
			if x.Token == 0 {
				size.Conversations++
			}
		}
		size.Truncated, size.Masked, size.Quoted = b.Truncated, b.Masked, b.Specials
		if b.Cursor.Epoch > 0 {
			return &size, nil
		}
	}
}

// epochs turns a number of passes into a number of sequences. Before the tokenizer is trained there is none: the stage is
// planned after that.
func (s *Stage) epochs(ctx context.Context, p *blocks.Planned, t *dsl.Decoded) (float64, hcl.Diagnostics) {
	if s.Tokenizer.Ready() == nil {
		p.Later = fmt.Sprintf("%s is not trained yet, and a pass of train.epochs is counted in its tokens", s.Tokenizer.Addr)
		return 0, nil
	}
	size, err := s.conversations(ctx, true)
	if err != nil {
		return 0, blocks.Problem(t, "data", "Unusable conversations", err)
	}
	if size == nil {
		why := "its files are remote, and a plan does not fetch them whole. Download them and name the copies, or give steps or tokens " +
			"instead of epochs"
		if s.Data.Parts != nil {
			why = "it is a mixture, which has no end of its own. Give steps or tokens instead of epochs"
		}
		return 0, hcl.Diagnostics{t.Error("epochs", "Length not known", fmt.Sprintf("How many sequences a pass over %s makes is not known "+
			"when the plan is made: %s.", s.Data.Addr, why))}
	}
	s.Tune.size = size
	return t.Float("epochs") * float64(size.Sequences), nil
}

// tuningPasses notes what a pass over the conversations is, and what is left out of it.
func (s *Stage) tuningPasses(ctx context.Context, p *blocks.Planned, t *dsl.Decoded) hcl.Diagnostics {
	size := s.Tune.size
	if size == nil {
		var err error
		if size, err = s.conversations(ctx, false); err != nil {
			return blocks.Problem(t, "data", "Unusable conversations", err)
		}
	}
	if s.Tune.size = size; size == nil {
		return nil
	}
	for _, note := range s.Tune.notes(size.Truncated, size.Masked, size.Quoted, s.Seq) {
		p.Warn(fmt.Sprintf("%s: %s in a pass", s.Data.Addr, note))
	}
	f := &s.Figures
	f.DataTokens, f.DataHow = size.Sequences*int64(s.Seq), fineweb.Exact
	sequences := float64(s.Steps) * float64(s.Batch)
	for x := s.Before; x != nil && x.Tune != nil && x.sameData(p.World, s); x = x.Before {
		sequences += float64(x.Steps) * float64(x.Batch)
	}
	f.Epochs = sequences / float64(size.Sequences)
	if limit := float64(s.Data.Source.Epochs); limit > 0 && f.Epochs > limit {
		return hcl.Diagnostics{t.Error("data", "Data used up", fmt.Sprintf("The stage ends after %.2f passes over %s, whose epochs is "+
			"%.0f. Raise that, or train for less.", f.Epochs, s.Data.Addr, limit))}
	}
	if size.Sequences*2 < int64(s.Batch) {
		return hcl.Diagnostics{t.Error("batch_size", "Fewer conversations than a batch", fmt.Sprintf("%s makes %s, and a batch takes %d. "+
			"Lower batch_size, or sequence_length if many share a sequence.", s.Data.Addr, words.Plural(int(size.Sequences), "sequence"),
			s.Batch))}
	}
	return nil
}

// notes say what is left out of conversations, or read otherwise than it looks.
func (t *Tuning) notes(truncated, masked, quoted int64, seq int) (list []string) {
	conversations := func(n int64) string { return number(n, "conversation is", "conversations are") }
	if truncated > 0 && t.Drop {
		list = append(list, fmt.Sprintf(`%s longer than %d tokens left out (truncation_mode = "drop")`, conversations(truncated), seq))
	} else if truncated > 0 {
		list = append(list, fmt.Sprintf(`%s longer than %d tokens and cut (truncation_mode = %q)`, conversations(truncated), seq,
			map[bool]string{false: "keep_start", true: "keep_end"}[t.End]))
	}
	if masked > 0 {
		list = append(list, fmt.Sprintf("%s left out, since nothing that counts in the loss (loss_on = %q) is among the %s %d tokens",
			conversations(masked), string(t.LossOn), map[bool]string{false: "first", true: "last"}[t.End], seq))
	}
	if quoted > 0 {
		list = append(list, fmt.Sprintf("%s of the tokenizer stand in messages and are read as text",
			number(quoted, "special token", "special tokens")))
	}
	return list
}

func number(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
