package chat

import (
	"encoding/json"
	"testing"
	"time"

	"stepflow/fineweb/tokenizer"
)

// TestTRL compares ids and labels with those that TRL's SFTTrainer makes of the same rows (tools/parity/sft.py), with a
// tokenizer that puts a token before each text and with one that does not. STEPFLOW_TRL names another fixture to compare with.
func TestTRL(t *testing.T) {
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
	readFixture(t, "testdata/trl.json", "STEPFLOW_TRL", &fixture)
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
			c, err := parse(t, "auto", string(fixture.Rows[set.Form][i]))
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
