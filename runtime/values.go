package runtime

import (
	"encoding/json"
	"fmt"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
)

// toPlain turns a value into what encoding/json writes.
func toPlain(v cty.Value) (any, error) {
	v, _ = v.UnmarkDeep()
	if !v.IsWhollyKnown() {
		return nil, fmt.Errorf("the value is not known")
	}
	b, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		return nil, err
	}
	var x any
	return x, json.Unmarshal(b, &x)
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
