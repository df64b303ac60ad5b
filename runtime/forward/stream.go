package forward

import (
	"strings"

	"stepflow/fineweb/tokenizer"
)

// PromptTokens returns the tokens of a prompt.
func PromptTokens(tok *tokenizer.Tokenizer, prompt string) (ids []int32, err error) {
	if tok.BOS >= 0 {
		ids = append(ids, tok.BOS)
	}
	if ids, err = tok.Encode(ids, prompt); len(ids) == 0 && err == nil {
		ids = append(ids, tok.EOS) // it came before every document in training
	}
	return ids, err
}

// Stream turns the tokens of a continuation into text while they come. It ends before a stop string.
type Stream struct {
	tok  *tokenizer.Tokenizer
	stop []string
	ids  []int32
	// ids[from:to] is the text that came last. What follows is read behind it, so that spaces are as in the whole text.
	from, to int
	text     string // that is known so far
	shown    int    // bytes of it that were given out
	ended    bool   // a stop string was found
}

// before is how many tokens of a prompt its continuation is read behind.
const before = 8

// NewStream begins a text after the tokens of a prompt, of which there may be none, that ends before any of the stop
// strings.
func NewStream(tok *tokenizer.Tokenizer, prompt []int32, stop []string) *Stream {
	prompt = prompt[max(0, len(prompt)-before):]
	s := &Stream{tok: tok, ids: append([]int32(nil), prompt...), to: len(prompt)}
	for _, x := range stop {
		if x != "" {
			s.stop = append(s.stop, x)
		}
	}
	return s
}

// Add takes a token, and returns the text that it adds, and whether the text goes on. What may be part of a stop string,
// or of a character, is given out later.
func (s *Stream) Add(id int32) (piece string, more bool) {
	if s.ended {
		return "", false
	}
	s.ids = append(s.ids, id)
	if all := s.tok.Decode(s.ids[s.from:], true); !strings.HasSuffix(all, "\uFFFD") {
		s.take(all)
	}
	return s.give(len(s.text) - s.held()), !s.ended
}

// take adds what the tokens since the last text read.
func (s *Stream) take(all string) {
	known := s.tok.Decode(s.ids[s.from:s.to], true)
	s.text += all[min(len(known), len(all)):]
	s.from, s.to = s.to, len(s.ids)
	for _, x := range s.stop {
		if at := strings.Index(s.text[s.shown:], x); at >= 0 {
			s.text, s.ended = s.text[:s.shown+at], true
		}
	}
}

// held is how many bytes at the end may begin a stop string.
func (s *Stream) held() (most int) {
	if s.ended {
		return 0
	}
	for _, x := range s.stop {
		for n := min(len(x)-1, len(s.text)-s.shown); n > most; n-- {
			if strings.HasSuffix(s.text, x[:n]) {
				most = n
			}
		}
	}
	return most
}

// give gives out the text up to a byte.
func (s *Stream) give(to int) string {
	piece := s.text[s.shown:to]
	s.shown = to
	return piece
}

// End returns what was held back, once no token follows.
func (s *Stream) End() string {
	if !s.ended && s.to < len(s.ids) {
		s.take(s.tok.Decode(s.ids[s.from:], true))
	}
	return s.give(len(s.text))
}

// Text is the whole text, once End was called.
func (s *Stream) Text() string { return s.text }
