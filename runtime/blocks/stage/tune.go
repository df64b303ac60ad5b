package stage

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/hcl/v2"

	"stepflow/chat"
	"stepflow/dsl"
	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/words"
)

// Tuning is how a stage learns from conversations.
type Tuning struct {
	LossOn chat.LossOn
	Pack   bool
	Wrap   bool // conversations are cut where a sequence is full
	Drop   bool // conversations that are longer than a sequence
	End    bool // their ends stay
	chat   *chat.Source
	size   *tuningSize // nil where it is not known
}

// tuneAttrs are the attributes of train that go with sft alone.
var tuneAttrs = []string{"loss_on", "packing", "truncation_mode", "epochs", "neftune_noise_alpha"}

// soundTune checks that what goes with sft stands beside it.
func soundTune(t *dsl.Decoded) (diags hcl.Diagnostics) {
	if t.Str("packing") == "wrapped" && t.Known("truncation_mode") {
		diags = append(diags, t.Error("truncation_mode", "Setting without effect", `With packing = "wrapped" a conversation goes on `+
			"in the next sequence, and none is too long. Leave truncation_mode out."))
	}
	if t.Has("objective") && !t.Known("objective") || t.Str("objective") == "sft" {
		return diags
	}
	for _, x := range tuneAttrs {
		if t.Has(x) {
			diags = append(diags, t.Error(x, "Not part of pre-training", fmt.Sprintf(`%s goes with objective = "sft".`, x)))
		}
	}
	return diags
}

// readTuning reads how the stage learns from conversations, if that is its objective.
func (s *Stage) readTuning(t *dsl.Decoded) hcl.Diagnostics {
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
	s.NEFTuneAlpha = t.Float("neftune_noise_alpha")
	packing, cut := cmp.Or(t.Str("packing"), "bfd"), t.Str("truncation_mode")
	s.Tune = &Tuning{LossOn: cmp.Or(chat.LossOn(t.Str("loss_on")), chat.Assistant), Pack: packing == "bfd", Wrap: packing == "wrapped",
		Drop: cut == "drop", End: cut == "keep_end", chat: s.Tokenizer.Chat}
	if s.Tune.chat.Any() {
		if _, err := s.Tune.chat.Compile(nil, time.Time{}); err != nil {
			return blocks.Problem(t, "tokenizer", "Unusable chat template", err)
		}
	}
	return nil
}

// identity writes what decides which tokens conversations become, and which of them count; "" of documents.
func (t *Tuning) identity() string {
	if t == nil {
		return ""
	}
	text := fmt.Sprintf("sft, loss on %s, packed %t, long ones dropped %t, template %s", t.LossOn, t.Pack, t.Drop, t.chat.Identity())
	if t.Wrap {
		text += ", wrapped"
	}
	if t.End {
		text += ", ends kept"
	}
	return text
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
		c, err := chat.Row(form, row)
		if err != nil {
			return nil, nil, 0, err
		}
		x, err := chat.Encode(template, tok, c, t.LossOn)
		if err != nil {
			return nil, nil, 0, err
		}
		return x.IDs, x.Loss, x.Quoted, nil
	}
	return &fineweb.Tuning{Encode: encode, Pack: t.Pack, Wrap: t.Wrap, Drop: t.Drop, End: t.End}, nil
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
