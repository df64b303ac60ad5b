package chat

import (
	"strings"
	"testing"
)

// TestSaid: what is compared of a conversation is what stands in it alone, in every form.
func TestSaid(t *testing.T) {
	for _, c := range []struct{ form, row, want string }{
		{"auto", `{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"},
			{"role": "assistant", "content": "Ada."}]}`,
			"Who?\nAda."},
		{"messages", `{"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Who "},
			{"type": "text", "text": "else?"}]}, {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]},
			{"role": "tool", "content": "42"}, {"role": "assistant", "content": "42!"}]}`,
			"Who else?\n42\n42!"},
		{"auto", `{"system": "Be brief.", "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Ada."}]}`,
			"Who?\nAda."},
		{"auto", `{"prompt": "It was ", "completion": "Ada."}`, "It was Ada."},
		{"auto", `{"prompt": [{"role": "user", "content": "Who?"}], "completion": [{"role": "assistant", "content": "Ada."}]}`,
			"Who?\nAda."},
		{"auto", `{"instruction": "Name her.", "input": "", "output": "Ada."}`, "Name her.\nAda."},
		{"alpaca", `{"instruction": "Name her.", "input": "A countess", "output": "Ada."}`, "Name her.\nA countess\nAda."},
	} {
		if got, err := Said(c.form, c.row); err != nil || got != c.want {
			t.Errorf("%s: %q, %v", c.row, got, err)
		}
	}
	for row, says := range map[string]string{
		`[]`:               "not an object",
		`{"text": "a"}`:    "none of the columns",
		`{`:                "",
		`{"messages": []}`: "is empty",
	} {
		if _, err := Said("auto", row); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", row, err)
		}
	}
}
