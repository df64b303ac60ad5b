package chat

import (
	"errors"
	"strings"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign/jinja"
)

// Example is a conversation in tokens.
type Example struct {
	IDs    []int32
	Loss   []bool // whether the loss of predicting the token counts
	Quoted int    // special tokens that stood in the conversation itself, and are text
}

// ErrNoTemplate reports messages without a template to render them.
var ErrNoTemplate = errors.New("it holds messages, and the tokenizer has no chat template: give chat_template, such as \"chatml\"")

// Encode tokenizes a conversation as a whole and says which tokens the loss is taken on: those that touch a part that it
// is taken on, as in transformers. t may be nil for data without messages.
func Encode(t *Template, tok *tokenizer.Tokenizer, c *Conversation, on LossOn) (*Example, error) {
	if c.Plain {
		return encodePlain(tok, c, on)
	}
	if t == nil {
		return nil, ErrNoTemplate
	}
	r, spans, err := t.Training(c, on)
	if err != nil {
		return nil, err
	}
	ids, err := r.Encode(tok)
	if err != nil {
		return nil, err
	}
	x := &Example{IDs: ids, Loss: make([]bool, len(ids)), Quoted: len(r.Quoted)}
	if on == All {
		for i := range x.Loss {
			x.Loss[i] = true
		}
		return x, nil
	}
	if err := x.mark(tok, r, spans); err != nil {
		return nil, err
	}
	return x, x.checkLoss()
}

// checkLoss returns an error if no token counts in the loss.
func (x *Example) checkLoss() error {
	for i, l := range x.Loss {
		if l && i > 0 { // nothing predicts the first token
			return nil
		}
	}
	return errors.New("no token of it counts in the loss")
}

// Encode returns the tokens of the rendered text. It adds none at either end: that is up to the template.
func (r *Rendered) Encode(tok *tokenizer.Tokenizer) ([]int32, error) {
	var quoted []tokenizer.Range
	for _, q := range r.Quoted {
		quoted = append(quoted, tokenizer.Range(q))
	}
	return tok.EncodeQuoted(nil, r.Text, quoted)
}

// mark makes the tokens that touch a span count in the loss.
func (x *Example) mark(tok *tokenizer.Tokenizer, r *Rendered, spans []jinja.Span) error {
	ends, ok := tok.Ends(r.Text, x.IDs)
	if ok {
		start, s := 0, 0
		for i, end := range ends {
			for s < len(spans) && spans[s].End <= start {
				s++
			}
			x.Loss[i] = s < len(spans) && end > spans[s].Start
			start = end
		}
		return nil
	}
	// The tokenizer rewrites text. The tokens before a place are those that the text up to it has, too.
	for _, s := range spans {
		from, err := x.before(tok, r, s.Start)
		if err != nil {
			return err
		}
		to, err := x.before(tok, r, s.End)
		if err != nil {
			return err
		}
		for i := from; i < to; i++ {
			x.Loss[i] = true
		}
	}
	return nil
}

// before counts the tokens before a place.
func (x *Example) before(tok *tokenizer.Tokenizer, r *Rendered, at int) (int, error) {
	part := Rendered{Text: r.Text[:at]}
	for _, q := range r.Quoted {
		if q.End <= at {
			part.Quoted = append(part.Quoted, q)
		}
	}
	ids, err := part.Encode(tok)
	return common(ids, x.IDs), err
}

// common counts the first tokens that two texts share.
func common(a, b []int32) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// encodePlain tokenizes a prompt and its completion as TRL does: as one text that ends with the end-of-text token, of
// which the completion begins where its tokens differ from those of the prompt alone.
func encodePlain(tok *tokenizer.Tokenizer, c *Conversation, on LossOn) (*Example, error) {
	text := tok.Plain()
	answer := c.Answer
	if tok.EOS >= 0 {
		answer = strings.TrimSuffix(answer, tok.Token(tok.EOS)) // it is put there once
	}
	ids, specials, err := text.Document(nil, c.Prompt+answer)
	if err != nil {
		return nil, err
	}
	x := &Example{IDs: ids, Loss: make([]bool, len(ids)), Quoted: specials}
	from := 0
	if on != All {
		prompt, err := text.Begin(c.Prompt)
		if err != nil {
			return nil, err
		}
		from = common(prompt, ids)
	}
	for i := from; i < len(ids); i++ {
		x.Loss[i] = true
	}
	return x, x.checkLoss()
}
