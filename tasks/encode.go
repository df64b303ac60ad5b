package tasks

import (
	"errors"
	"fmt"
	"strings"

	"stepflow/fineweb/tokenizer"
)

// Pair is a request in tokens.
type Pair struct{ Context, Continuation []int32 }

// Encoder makes tokens of requests, as the harness does for models of transformers.
type Encoder struct {
	tok       *tokenizer.Tokenizer
	positions int
	prefix    int32  // the token that a text without context comes after; -1 if there is none
	begin     string // its text: a text that begins with it gets no more tokens from the tokenizer's template

	context    string // that was encoded last: the choices of a document come one after the other
	contextIDs []int32
}

// NewEncoder encodes for a model that has so many positions.
func NewEncoder(tok *tokenizer.Tokenizer, positions int) *Encoder {
	e := &Encoder{tok: tok, positions: positions, prefix: tok.BOS}
	if e.prefix < 0 {
		e.prefix = tok.EOS
	}
	if e.prefix >= 0 {
		e.begin = tok.Token(e.prefix)
	}
	return e
}

// errPrefix is the error of a text without a context.
var errPrefix = errors.New("the context is empty, and the tokenizer has no token that begins or ends a text to stand for it: " +
	"name one with eos_token")

// encode makes tokens of a text, with those of the tokenizer's template.
func (e *Encoder) encode(text string) ([]int32, error) {
	if e.begin != "" && strings.HasPrefix(text, e.begin) {
		return e.tok.Encode(nil, text)
	}
	return e.tok.EncodeWithTemplate(nil, text)
}

// Pair encodes a context and its continuation: together, so that the tokens at the seam are those that the model knows,
// and then apart. White space at the end of the context belongs to the continuation. What does not fit the model is cut
// off at the beginning.
func (e *Encoder) Pair(context, continuation string) (p Pair, cut bool, err error) {
	trimmed := strings.TrimRightFunc(context, isSpace)
	continuation, context = context[len(trimmed):]+continuation, trimmed
	if context == "" {
		p, err = e.alone(continuation)
	} else {
		p, err = e.seam(context, continuation)
	}
	if err != nil {
		return p, false, err
	}
	switch n := len(p.Continuation); {
	case n == 0:
		return p, false, fmt.Errorf("the continuation %q adds no token to its context", shownText(continuation))
	case n > e.positions:
		return p, false, fmt.Errorf("the continuation has %d tokens, and the model takes %d", n, e.positions)
	}
	if over := len(p.Context) + len(p.Continuation) - e.positions - 1; over > 0 {
		return Pair{p.Context[over:], p.Continuation}, true, nil
	}
	return p, false, nil
}

// seam encodes two texts that both hold something.
func (e *Encoder) seam(context, continuation string) (p Pair, err error) {
	whole, err := e.encode(context + continuation)
	if err != nil {
		return p, err
	}
	if context != e.context {
		ids, err := e.encode(context)
		if err != nil {
			return p, err
		}
		e.context, e.contextIDs = context, ids
	}
	before := len(e.contextIDs)
	if before == 0 {
		return e.alone(context + continuation)
	}
	p = Pair{Context: e.contextIDs}
	if len(whole) > before {
		p.Continuation = whole[before:]
	}
	return p, nil
}

// alone encodes a continuation without a context.
func (e *Encoder) alone(continuation string) (p Pair, err error) {
	ids, err := e.tok.Encode(nil, continuation)
	switch {
	case err != nil:
		return p, err
	case e.prefix < 0:
		return p, errPrefix
	case len(ids) > 0 && ids[0] == e.prefix:
		return Pair{ids[:1], ids[1:]}, nil
	}
	return Pair{[]int32{e.prefix}, ids}, nil
}

// Rolling cuts a text into windows that predict each of its tokens once, with as much context as the model takes.
func (e *Encoder) Rolling(text string) (list []Pair, err error) {
	ids, err := e.encode(text)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	if e.prefix < 0 {
		return nil, errPrefix
	}
	first := min(e.positions, len(ids))
	list = append(list, Pair{[]int32{e.prefix}, ids[:first]})
	for at := first; at < len(ids); {
		n := min(len(ids)-at, e.positions)
		end := at + n
		list = append(list, Pair{ids[end-e.positions-1 : at], ids[at:end]})
		at = end
	}
	return list, nil
}

// Prompt encodes a text that is continued by at most so many tokens.
func (e *Encoder) Prompt(text string, most int) (ids []int32, cut bool, err error) {
	room := e.positions - most
	if room <= 0 {
		return nil, false, fmt.Errorf("max_gen_toks is %d, and the model takes %d tokens, the prompt included: lower it", most,
			e.positions)
	}
	if ids, err = e.encode(text); err != nil {
		return nil, false, err
	}
	if len(ids) == 0 {
		if e.prefix < 0 {
			return nil, false, errPrefix
		}
		ids = []int32{e.prefix}
	}
	if over := len(ids) - room; over > 0 {
		return ids[over:], true, nil
	}
	return ids, false, nil
}
