package stage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/hcl/v2"

	"stepflow/chat"
	"stepflow/dsl"
	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/foreign/jinja"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/durable"
	"stepflow/runtime/words"
)

// Tuning is how a stage learns from conversations.
type Tuning struct {
	LossOn chat.LossOn
	Pack   bool
	Drop   bool // conversations that are longer than a sequence
	chat   *chat.Source
	size   *tuningSize // nil where it is not known
}

// tuneAttrs are the attributes of train that go with sft alone.
var tuneAttrs = []string{"loss_on", "packing", "truncation_mode", "epochs"}

// soundTune checks that what goes with sft stands beside it.
func soundTune(t *dsl.Decoded) (diags hcl.Diagnostics) {
	if t.Has("objective") && !t.Known("objective") || t.Str("objective") == "sft" {
		return nil
	}
	for _, x := range tuneAttrs {
		if t.Has(x) {
			diags = append(diags, t.Error(x, "Not part of pre-training", fmt.Sprintf(`%s goes with objective = "sft".`, x)))
		}
	}
	return diags
}

func stringOr(d *dsl.Decoded, attr, otherwise string) string {
	if s := d.Str(attr); s != "" {
		return s
	}
	return otherwise
}

// tune reads how the stage learns from conversations, if that is its objective.
func (s *Stage) tune(t *dsl.Decoded) hcl.Diagnostics {
	sft := t.Str("objective") == "sft"
	switch {
	case sft && !s.Data.Conversations():
		return hcl.Diagnostics{t.Error("data", "No conversations", fmt.Sprintf("%s holds documents, and objective = \"sft\" learns from "+
			"conversations: name data \"conversations\".", s.Data.Addr))}
	case !sft && s.Data.Conversations():
		return hcl.Diagnostics{t.Error("data", "Conversations", fmt.Sprintf("%s holds conversations: set objective = \"sft\" to learn "+
			"from them.", s.Data.Addr))}
	case !sft:
		return nil
	}
	s.Tune = &Tuning{LossOn: chat.LossOn(stringOr(t, "loss_on", string(chat.Assistant))), Pack: stringOr(t, "packing", "bfd") == "bfd",
		Drop: t.Str("truncation_mode") == "drop", chat: s.Tokenizer.Chat}
	if s.Tune.chat.Any() {
		if _, err := s.Tune.chat.Compile(nil, time.Time{}); err != nil {
			return blocks.Problem(t, "tokenizer", "Unusable chat template", err)
		}
	}
	return nil
}

// identity writes what decides which tokens conversations become, and which of them count.
func (t *Tuning) identity() string {
	return fmt.Sprintf("sft, loss on %s, packed %t, long ones dropped %t, template %s", t.LossOn, t.Pack, t.Drop, t.chat.Identity())
}

// with is what makes tokens of conversations.
func (t *Tuning) with(tok *bpe.Tokenizer) (*fineweb.Tuning, error) {
	var template *chat.Template
	if t.chat.Any() {
		var err error
		if template, err = t.chat.Compile(tok, time.Time{}); err != nil {
			return nil, err
		}
	}
	encode := func(form, row string) ([]int32, []bool, int, error) {
		v, err := jinja.FromJSON([]byte(row))
		if err != nil {
			return nil, nil, 0, err
		}
		fields, ok := v.(*jinja.Dict)
		if !ok {
			return nil, nil, 0, errors.New("it is not an object")
		}
		c, err := chat.Parse(form, fields)
		if err != nil {
			return nil, nil, 0, err
		}
		x, err := chat.Encode(template, tok, c, t.LossOn)
		if err != nil {
			return nil, nil, 0, err
		}
		return x.IDs, x.Loss, x.Quoted, nil
	}
	return &fineweb.Tuning{Encode: encode, Pack: t.Pack, Drop: t.Drop}, nil
}

// Tunes is how the stage, or the last one before it that does, learns from conversations; nil if none does. s may be nil.
func (s *Stage) Tunes() *Tuning {
	for ; s != nil; s = s.Before {
		if s.Tune != nil {
			return s.Tune
		}
	}
	return nil
}

// Untuned is the error of conversations to be measured with a model that was not tuned on any.
func Untuned(d *dsl.Decoded, n *data.Data) hcl.Diagnostics {
	return hcl.Diagnostics{d.Error("data", "Conversations", fmt.Sprintf("%s holds conversations, and they are measured with a stage "+
		"that learns from conversations, or one that continues it: it says how they become tokens, and which count.", n.Addr))}
}

// open opens the data of the stage as it reads them.
func (s *Stage) open(ctx context.Context, tok *bpe.Tokenizer) (*fineweb.Set, error) {
	return s.Tune.Open(ctx, s.Data, fineweb.OpenSet, tok)
}

// Open opens data as a stage that tunes so reads them; t may be nil.
func (t *Tuning) Open(ctx context.Context, n *data.Data, opens data.Opener, tok *bpe.Tokenizer) (*fineweb.Set, error) {
	set, err := n.Open(ctx, opens)
	if err != nil || !n.Conversations() {
		return set, err
	}
	tuning, err := t.with(tok)
	if err != nil {
		set.Close()
		return nil, err
	}
	set.Tune(tuning)
	return set, nil
}

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
	x.Patterns, x.Cache, x.Hashing, x.Epochs = nil, nil, nil, 0
	key := sha256.Sum256(fmt.Appendf(nil, "1 %s %+v %s %x %d %d", s.Data.Content, x, s.Tune.identity(), sha256.Sum256(tok.JSON()), tok.EOS, s.Seq))
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
		size.Conversations += int64(len(b.Documents))
		size.Counted += int64(b.Valid)
		for _, x := range b.Documents {
			size.Tokens += int64(x.N)
		}
		size.Truncated, size.Masked, size.Quoted = b.Truncated, b.Masked, b.Specials
		if b.Cursor.Epoch > 0 {
			return &size, nil
		}
	}
}

// epochs turns a number of passes into a number of sequences.
func (s *Stage) epochs(ctx context.Context, t *dsl.Decoded) (float64, hcl.Diagnostics) {
	size, err := s.conversations(ctx, true)
	if err != nil {
		return 0, blocks.Problem(t, "data", "Unusable conversations", err)
	}
	if size == nil {
		why := "remote, or part of a mixture"
		if s.Tokenizer.Ready() == nil {
			why = fmt.Sprintf("not tokenized, since %s is not trained yet", s.Tokenizer.Addr)
		}
		return 0, hcl.Diagnostics{t.Error("epochs", "Length not known", fmt.Sprintf("How many sequences %s makes is not known when the plan "+
			"is made: it is %s. Give steps or tokens instead.", s.Data.Addr, why))}
	}
	s.Tune.size = size
	return t.Float("epochs") * float64(size.Sequences), nil
}

// tunes notes what a pass over the conversations is, and what is left out of it.
func (s *Stage) tunes(ctx context.Context, p *blocks.Planned, t *dsl.Decoded) hcl.Diagnostics {
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
			"Lower batch_size, or sequence_length if many share a sequence.", s.Data.Addr, words.Plural(int(size.Sequences), "sequence"), s.Batch))}
	}
	return nil
}

// notes say what is left out of conversations, or read otherwise than it looks.
func (t *Tuning) notes(truncated, masked, quoted int64, seq int) (list []string) {
	if truncated > 0 && t.Drop {
		list = append(list, fmt.Sprintf(`%s longer than %d tokens left out (truncation_mode = "drop")`, number(truncated, "conversation is", "conversations are"), seq))
	} else if truncated > 0 {
		list = append(list, fmt.Sprintf(`%s longer than %d tokens and cut (truncation_mode = "keep_start")`, number(truncated, "conversation is", "conversations are"), seq))
	}
	if masked > 0 {
		list = append(list, fmt.Sprintf("%s left out, since nothing that counts in the loss (loss_on = %q) is among the first %d tokens",
			number(masked, "conversation is", "conversations are"), string(t.LossOn), seq))
	}
	if quoted > 0 {
		list = append(list, fmt.Sprintf("%s of the tokenizer stand in messages and are read as text", number(quoted, "special token", "special tokens")))
	}
	return list
}

func number(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// summary says how the stage tunes.
func (t *Tuning) summary(seq int, passes float64) string {
	text := fmt.Sprintf("sft, loss on %s", map[chat.LossOn]string{chat.Assistant: "what the assistant said", chat.Completion: "completions",
		chat.All: "all tokens"}[t.LossOn])
	if t.chat.Any() {
		text += ", template " + foreign.Shown(t.chat.Name())
	}
	if x := t.size; x != nil {
		text += fmt.Sprintf("; a pass is %s of %s tokens in %s, %.0f %% filled, and %.0f %% of the tokens count; %.2f passes in all",
			words.Plural(int(x.Conversations), "conversation"), words.Count(x.Tokens), words.Plural(int(x.Sequences), "sequence"),
			100*float64(x.Tokens)/math.Max(1, float64(x.Sequences*int64(seq))), 100*float64(x.Counted)/math.Max(1, float64(x.Tokens)), passes)
	}
	return text
}
