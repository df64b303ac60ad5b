package data

import (
	"fmt"
	"strings"
)

// SpecialsNote says how many special tokens documents hold, and whether they are read as text or as ids.
func SpecialsNote(n int64, ids bool) string {
	what := `are read as text (special_tokens = "text")`
	if ids {
		what = `get their ids (special_tokens = "ids")`
	}
	if n == 1 {
		what = strings.NewReplacer("are read", "is read", "get their ids", "gets its id").Replace(what)
		return "1 special token, such as <|endoftext|>, stands in the documents and " + what
	}
	return fmt.Sprintf("%d special tokens, such as <|endoftext|>, stand in the documents and %s", n, what)
}
