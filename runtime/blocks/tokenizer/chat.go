package tokenizer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"stepflow/chat"
	"stepflow/dsl"
	"stepflow/runtime/blocks"
)

// chat finds the chat template: the one that the block names, or else the one beside its file.
func (t *Tokenizer) chat(p *blocks.Planned, d *dsl.Decoded, folder string) hcl.Diagnostics {
	t.Chat = &chat.Source{}
	var err error
	if folder != "" {
		if t.Chat, err = chat.Beside(folder); err != nil {
			return blocks.Problem(d, "file", "Unreadable chat template", err)
		}
	}
	if s := d.Str("chat_template"); s != "" {
		named, err := template(p, s)
		if err != nil {
			return blocks.Problem(d, "chat_template", "Unusable chat template", err)
		}
		if named.Special == nil {
			named.Special = t.Chat.Special
		}
		t.Chat = named
	}
	if !t.Chat.Any() {
		return nil
	}
	if _, err := t.Chat.Compile(nil, time.Time{}); err != nil && d.Has("chat_template") {
		return blocks.Problem(d, "chat_template", "Unusable chat template", err)
	}
	return nil // one that nobody asked for is not judged until it is used
}

// template reads what chat_template says.
func template(p *blocks.Planned, s string) (*chat.Source, error) {
	if strings.Contains(s, "{%") || strings.Contains(s, "{{") {
		return chat.Text(s, "chat_template of "+p.Addr.String()), nil
	}
	if named, ok := chat.Named(s); ok {
		return named, nil
	}
	source, err := chat.File(p.World.Path(s))
	if err != nil {
		return nil, fmt.Errorf("%w. Name a file, or a built-in template (%s)", err,
			strings.Join(slices.Sorted(maps.Keys(chat.BuiltIn)), ", "))
	}
	return source, nil
}
