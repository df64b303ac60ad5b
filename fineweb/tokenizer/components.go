package tokenizer

import (
	"encoding/json"
	"strings"

	"stepflow/foreign"
)

// byteRune maps each byte to the printable character that stands for it in byte-level
// vocabularies (GPT-2): printable Latin-1 stands for itself, the rest follow from U+0100.
var (
	byteRune [256]rune
	runeByte = map[rune]byte{}
)

func init() {
	next := rune(256)
	for b := 0; b < 256; b++ {
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae) {
			r = next
			next++
		}
		byteRune[b], runeByte[r] = r, byte(b)
	}
}

func toByteLevel(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		b.WriteRune(byteRune[s[i]])
	}
	return b.String()
}

// depth is how deep arrays and objects nest in a JSON text.
func depth(b []byte) (most int) {
	now, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			most = max(most, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return most
}

// component reads the type of a part and its fields, and lists the parts of a Sequence.
func component(raw json.RawMessage, into any, listField string) (kind string, parts []json.RawMessage, err error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil, nil
	}
	var t struct {
		Type string `json:"type"`
	}
	if err := foreign.Unmarshal(raw, &t); err != nil {
		return "", nil, err
	}
	if t.Type == "Sequence" {
		var lists map[string]json.RawMessage
		if err := foreign.Unmarshal(raw, &lists); err != nil {
			return "", nil, err
		}
		return t.Type, parts, foreign.Unmarshal(lists[listField], &parts)
	}
	return t.Type, nil, foreign.Unmarshal(raw, into)
}
