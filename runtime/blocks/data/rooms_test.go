package data

import (
	"testing"

	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
)

// TestKeptTokens: a plan counts the tokens of each tokenizer that reads the data, in 2 bytes of a small vocabulary.
func TestKeptTokens(t *testing.T) {
	n := &Data{Source: fineweb.Source{TokenDir: "tokens"}, bytes: 400, Rows: 10}
	for _, c := range []struct {
		sizes map[*tokenizer.Tokenizer]fineweb.Size
		want  int64
	}{
		{nil, 4*300 + 10*60},
		{map[*tokenizer.Tokenizer]fineweb.Size{nil: {Tokens: 100}}, 4*100 + 10*60},
		{map[*tokenizer.Tokenizer]fineweb.Size{{}: {Tokens: 100}, {}: {Tokens: 200}}, 2*300 + 2*10*60},
	} {
		n.sizes = c.sizes
		if r := n.Rooms(0); len(r) != 1 || r[0].Most != c.want || r[0].Stays != c.want {
			t.Errorf("%v: %+v, want %d bytes", c.sizes, r, c.want)
		}
	}
}
