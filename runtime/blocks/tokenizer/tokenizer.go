// Package tokenizer is the tokenizer block, which is read from a file or trained by the run.
package tokenizer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/chat"
	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
	"stepflow/runtime/observe"
	"stepflow/tracing"
)

// Kind is the tokenizer block.
var Kind = blocks.Kind{
	Sound: func(_ addr.Addr, d *dsl.Decoded) hcl.Diagnostics { return blocks.SoundHome(d, "file") },
	Plan:  plan,
	Idle: map[string]string{"file": "the bytes of the file are hashed",
		"chat_template": "stages that tune on conversations hash what they render with",
		"executor":      "what is made is the same anywhere"},
}

// Tokenizer is a planned tokenizer block.
type Tokenizer struct {
	Addr      addr.Addr
	VocabSize int
	MaxBytes  int64        // the most text to train on
	TrainOn   *data.Data   // nil if it is read from a file
	Special   []string     // special tokens beside the end-of-text token
	Chat      *chat.Source // its chat template; if it has none, the special tokens alone
	path      string       // of its file; "" if it is trained
	hash      string       // of the file
	loaded    *tokenizer.Tokenizer
	size      int64 // of its file; 0 if it is not known yet
	world     *blocks.World
}

var (
	_ blocks.Task       = (*Tokenizer)(nil)
	_ blocks.Forecaster = (*Tokenizer)(nil)
	_ blocks.Reader     = (*Tokenizer)(nil)
	_ blocks.Traced     = (*Tokenizer)(nil)
)

// Identity writes the version of the encoder, and the hash of the file that is read.
func (t *Tokenizer) Identity(w io.Writer) {
	fmt.Fprintf(w, "encoder %d\n", tokenizer.EncoderVersion)
	if t.path != "" {
		fmt.Fprintf(w, "file %s\n", t.hash)
	}
}

// Summary says how many tokens there are.
func (t *Tokenizer) Summary() string { return fmt.Sprintf("%d tokens", t.VocabSize) }

// Runs reports whether the tokenizer is trained.
func (t *Tokenizer) Runs() bool { return t.path == "" }

// Files lists the files of a trained tokenizer.
func (t *Tokenizer) Files(bool) []string {
	return []string{checkpoint.NoteName, checkpoint.TokenizerFile}
}

// Reads returns the file that is read if it is inside folder; "" if not.
func (t *Tokenizer) Reads(folder, _ string) string {
	if t.path != "" && durable.LeadsInto(t.path, folder) {
		return t.path
	}
	return ""
}

func plan(_ context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	t := &Tokenizer{Addr: p.Addr, world: p.World}
	p.Block = t
	if p.Addr.Type == "huggingface" {
		return t.read(p, d)
	}
	ref, _, _ := d.Ref("train_on")
	t.TrainOn = p.Use(ref).(*data.Data)
	if !slices.ContainsFunc(t.TrainOn.InFiles(), func(n *data.Data) bool { return n.Source.ValidationFraction < 1 }) {
		return nil, hcl.Diagnostics{d.Error("train_on", "Nothing to train on",
			fmt.Sprintf("%s holds all its documents out: its validation_fraction is 1.", ref))}
	}
	for _, n := range t.TrainOn.InFiles() {
		if n.Source.Format == fineweb.FormatConversations {
			return nil, hcl.Diagnostics{d.Error("train_on", "No documents", fmt.Sprintf("%s holds conversations, and a "+
				"tokenizer is trained on text. Name the documents that the model is trained on first.", n.Addr))}
		}
	}
	if t.Special = d.Strs("special_tokens"); d.Known("special_tokens") {
		for i, s := range t.Special {
			if len([]rune(s)) < 2 || s == tokenizer.EndOfText || slices.Contains(t.Special[:i], s) {
				return nil, hcl.Diagnostics{d.Error("special_tokens", "Invalid token", fmt.Sprintf("%q cannot be a special token: "+
					"each has two characters or more, is named once, and is not %s, which is there anyway.", s, tokenizer.EndOfText))}
			}
		}
	}
	if diags := t.chat(p, d, ""); diags.HasErrors() {
		return nil, diags
	}
	t.VocabSize = d.Int("vocab_size")
	var err error
	if t.MaxBytes, err = dsl.ParseBytes(d.Str("max_bytes")); err != nil {
		return nil, blocks.Problem(d, "max_bytes", "Invalid value", err)
	}
	p.Hashed["max_bytes"] = fmt.Sprint(t.MaxBytes)
	return map[string]cty.Value{"vocab_size": blocks.Number(t.VocabSize), "eos_token_id": blocks.Number(0)}, nil
}

// read plans a tokenizer that is read from a file.
func (t *Tokenizer) read(p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	t.path = p.World.Path(d.Str("file"))
	b, err := foreign.ReadFile(t.path, tokenizer.MaxBytes)
	if err != nil {
		return nil, blocks.Problem(d, "file", "Unreadable tokenizer", err)
	}
	if t.loaded, err = tokenizer.Parse(b); err != nil {
		return nil, blocks.Problem(d, "file", "Unreadable tokenizer", fmt.Errorf("%s: %w", t.path, err))
	}
	if name := d.Str("eos_token"); name != "" {
		id, ok := t.loaded.ID(name)
		if !ok {
			return nil, hcl.Diagnostics{d.Error("eos_token", "Unknown token", fmt.Sprintf("%s has no token %q.", t.path, name))}
		}
		t.loaded.EOS = id
	}
	if t.loaded.EOS < 0 {
		return nil, hcl.Diagnostics{d.Error("file", "No end-of-text token",
			"Documents are separated by an end-of-text token, "+
				"and the file has none of the usual ones. Name one with eos_token.")}
	}
	if diags := t.chat(p, d, filepath.Dir(t.path)); diags.HasErrors() {
		return nil, diags
	}
	sum := sha256.Sum256(b)
	t.hash, t.VocabSize = hex.EncodeToString(sum[:]), t.loaded.VocabSize()
	p.Hashed["eos_token"] = strconv.Itoa(int(t.loaded.EOS)) // named or found
	return map[string]cty.Value{"vocab_size": blocks.Number(t.VocabSize),
		"eos_token_id": blocks.Number(int(t.loaded.EOS))}, nil
}

// Forecast reports data that hold nothing to train on.
func (t *Tokenizer) Forecast(ctx context.Context, _ *blocks.Planned, _ int, d *dsl.Decoded) hcl.Diagnostics {
	if t.TrainOn == nil {
		return nil
	}
	if err := t.TrainOn.HoldsText(ctx); err != nil {
		return data.Unfit(d, "train_on", err)
	}
	return nil
}

// Takes returns nil: it is not predicted what training a tokenizer takes.
func (t *Tokenizer) Takes() *blocks.Forecast { return nil }

// Ready returns the tokenizer, read from its file or trained by an earlier run; nil if it has not been trained.
func (t *Tokenizer) Ready() *tokenizer.Tokenizer {
	if t.loaded == nil {
		if folder, ok := t.world.Made(t.Addr); ok {
			t.loaded, _ = Read(filepath.Join(folder, checkpoint.TokenizerFile))
		}
	}
	return t.loaded
}

// NotTrained returns the error of a tokenizer that is not Ready.
func (t *Tokenizer) NotTrained() error {
	return fmt.Errorf("%s has not been trained yet: apply trains it", t.Addr)
}

// Own returns the tokenizer if it is known without a run; nil if the run makes it.
func (t *Tokenizer) Own() *tokenizer.Tokenizer { return t.loaded }

// Load returns the tokenizer, which the run may have trained; result returns the folder of a block's result.
func (t *Tokenizer) Load(result func(addr.Addr) (string, error)) (*tokenizer.Tokenizer, error) {
	if t.loaded != nil {
		return t.loaded, nil
	}
	dir, err := result(t.Addr)
	if err != nil {
		return nil, err
	}
	t.loaded, err = Read(filepath.Join(dir, checkpoint.TokenizerFile))
	return t.loaded, err
}

// Read reads a tokenizer.json.
func Read(path string) (*tokenizer.Tokenizer, error) {
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

// Run counts the words of the training split and makes the vocabulary.
func (t *Tokenizer) Run(ctx context.Context, r *blocks.Run) error {
	c, err := t.TrainOn.Open(ctx, fineweb.OpenSet)
	if err != nil {
		return err
	}
	defer c.Close()
	tr := tokenizer.NewTrainer()
	tr.Special(t.Special...)
	err = r.Observe.Inside(ctx, tracing.SpanCount, func(ctx context.Context) error { return t.count(ctx, r, c, tr) })
	if err != nil {
		return err
	}
	var tok *tokenizer.Tokenizer
	err = r.Observe.Inside(ctx, tracing.SpanVocabulary, func(ctx context.Context) error {
		tok, err = tr.Train(ctx, t.VocabSize)
		return err
	})
	if err != nil {
		return err
	}
	if tok.VocabSize() < t.VocabSize {
		return fmt.Errorf("the data give %d tokens only, vocab_size asks for %d: lower it, or train on more text",
			tok.VocabSize(), t.VocabSize)
	}
	r.Entry.Values = map[string]any{"vocab_size": float64(tok.VocabSize()), "eos_token_id": float64(tok.EOS),
		"distinct_words": float64(tr.Words())}
	return r.Write("tokenizer", checkpoint.Bytes(checkpoint.TokenizerFile, tok.JSON()))
}

// Traced returns what is traced: counting words and making the vocabulary.
func (t *Tokenizer) Traced(int) observe.Planned { return observe.Planned{Inside: 2} }

// piece is how many bytes of text have a span.
const piece = 1 << 20

// count counts the words of the training split.
func (t *Tokenizer) count(ctx context.Context, r *blocks.Run, c *fineweb.Set, tr *tokenizer.Trainer) error {
	pieces, n := r.Observe.Batches(ctx, tracing.SpanText, tracing.Bytes), int64(0)
	left, found := t.MaxBytes, false
	err := c.Texts(fineweb.Train, func(text string) bool {
		found = true
		tr.Add(text)
		left -= int64(len(text))
		if n += int64(len(text)); n >= piece {
			pieces.Done(n)
			n = 0
		}
		return left > 0 && ctx.Err() == nil
	})
	if n > 0 {
		pieces.Done(n)
	}
	pieces.End()
	if err == nil && !found && ctx.Err() == nil {
		err = c.None(fineweb.Train)
	}
	return err
}
