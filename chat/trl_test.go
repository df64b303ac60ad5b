package chat

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign/jinja"
)

// TestTRL compares ids and labels with those that TRL's SFTTrainer makes of the same rows (tools/parity/sft.py), with a
// tokenizer that begins texts with a token, and one that does not. STEPFLOW_TRL names a fixture made anew.
func TestTRL(t *testing.T) {
	path := "testdata/trl.json"
	if p := os.Getenv("STEPFLOW_TRL"); p != "" {
		path = p
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var fixture struct {
		Template   string
		Tokenizers map[string]json.RawMessage
		Rows       map[string][]json.RawMessage
		Sets       []struct {
			Tokenizer, Form string
			LossOn          LossOn `json:"loss_on"`
			IDs             [][]int32
			Labels          [][]int32
		}
	}
	if err := json.Unmarshal(b, &fixture); err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, set := range fixture.Sets {
		tok, err := tokenizer.Parse(fixture.Tokenizers[set.Tokenizer])
		if err != nil {
			t.Fatal(err)
		}
		tmpl, err := Text(fixture.Template, "t").Compile(tok, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		for i, ids := range set.IDs {
			v, err := jinja.FromJSON(fixture.Rows[set.Form][i])
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse("auto", v.(*jinja.Dict))
			if err != nil {
				t.Fatal(err)
			}
			x, err := Encode(tmpl, tok, c, set.LossOn)
			if err != nil {
				t.Fatal(err)
			}
			rows++
			same := len(ids) == len(x.IDs)
			for j := 0; same && j < len(ids); j++ {
				same = ids[j] == x.IDs[j] && (set.Labels[i][j] != -100) == x.Loss[j]
			}
			if !same {
				t.Errorf("%s, %s, loss on %s, row %d:\n%s, and of TRL %d tokens\n%v\n%v", set.Tokenizer, set.Form, set.LossOn, i, marked(tok, x), len(ids), ids, set.Labels[i])
			}
		}
	}
	if rows < 50 {
		t.Errorf("%d rows", rows)
	}
}
