package trial

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
)

// mocks are the generated documents of a file's runs.
type mocks struct {
	mu   sync.Mutex
	made map[string]bool // by path
}

// filters are the attributes of data that leave documents out by columns, which generated documents do not have, and
// those that say where a document is.
var filters = []string{"min_int_score", "min_score", "min_language_score", "min_token_count", "max_token_count",
	"languages", "dump", "filter", "text_column", "id_column", "cache"}

// formats write documents as each type of data has them.
var formats = map[string]func(path string, rows []fineweb.Row) error{
	"fineweb_edu":   writeParquet,
	"parquet":       writeParquet,
	"jsonl":         writeLines,
	"text":          writeText,
	"conversations": writeConversations,
}

// separator is between the documents of a text file.
const separator = "\n\n"

// mock makes documents for a block of data, and returns the attributes that name them. Data of one name in several
// modules have the same, so that what is trained once for all of them is trained once in a test too.
func (f *File) mock(a addr.Addr, m *dsl.Mock) (map[string]cty.Value, error) {
	a.Module = ""
	write := formats[a.Type]
	folder := filepath.Join(f.folder, "data")
	path := filepath.Join(folder, fmt.Sprintf("%s-%d-%d-%d.%s", a.Dir(), m.Documents, m.Words, m.Seed, a.Type))
	if a.Type == "conversations" {
		path += ".jsonl" // its format goes by the name
	}
	values := map[string]cty.Value{"source": cty.StringVal(path)}
	for _, name := range filters {
		values[name] = cty.NilVal
	}
	switch a.Type {
	case "conversations":
		values["form"] = cty.NilVal
	case "text":
		values["separator"] = cty.StringVal(separator)
	}
	f.mocks.mu.Lock()
	defer f.mocks.mu.Unlock()
	if f.mocks.made[path] {
		return values, nil
	}
	err := os.MkdirAll(folder, 0o777)
	if err == nil {
		err = write(path, documents(a.String(), m))
	}
	if err != nil {
		return nil, err
	}
	if f.mocks.made == nil {
		f.mocks.made = map[string]bool{}
	}
	f.mocks.made[path] = true
	return values, nil
}

// The language of generated documents: numWords words, of which few are frequent, as in any language. Every second word
// is the one that follows the word before it.
const (
	numWords   = 4000
	consonants = "bdfghklmnprstvz"
	vowels     = "aeiou"
)

// word returns a word of two or three syllables.
func word(i int) string {
	const syllables = len(consonants) * len(vowels)
	var b strings.Builder
	for n := i + syllables; n > 0; n /= syllables {
		b.WriteByte(consonants[n%len(consonants)])
		b.WriteByte(vowels[n/len(consonants)%len(vowels)])
	}
	return b.String()
}

// documents generates the documents of a block of data. They depend on its name and on what the test asks for alone.
func documents(name string, m *dsl.Mock) []fineweb.Row {
	h := fnv.New64a()
	h.Write([]byte(name))
	random := rand.New(rand.NewPCG(h.Sum64(), uint64(m.Seed)))
	rows := make([]fineweb.Row, m.Documents)
	for i := range rows {
		var b strings.Builder
		at := 0
		for left := 1 + m.Words/2 + random.IntN(m.Words); left > 0; left-- {
			if at = (at*7 + 17) % numWords; random.IntN(2) == 0 {
				at = int(numWords * math.Pow(random.Float64(), 4))
			}
			b.WriteString(word(at))
			if b.WriteByte(' '); random.IntN(9) == 0 {
				b.WriteString(". ")
			}
		}
		text := strings.TrimSpace(b.String())
		rows[i] = fineweb.Row{Text: text, ID: fmt.Sprintf("%s-%d", name, i), Language: "en", LanguageScore: 1, Score: 5,
			IntScore: 5, TokenCount: int64(len(text) / 4)}
	}
	return rows
}

func writeParquet(path string, rows []fineweb.Row) error {
	return fineweb.WriteParquet(path, rows, 512)
}

func writeLines(path string, rows []fineweb.Row) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, r := range rows {
		if err := e.Encode(map[string]string{"id": r.ID, "text": r.Text}); err != nil {
			return err
		}
	}
	return os.WriteFile(path, b.Bytes(), 0o666)
}

// writeConversations makes a question of the first half of each document, and its answer of the second.
func writeConversations(path string, rows []fineweb.Row) error {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, r := range rows {
		words := strings.Fields(r.Text)
		half := (len(words) + 1) / 2
		err := e.Encode(map[string]any{"id": r.ID, "messages": []message{
			{"user", strings.Join(words[:half], " ")}, {"assistant", strings.Join(append(words[half:], "."), " ")}}})
		if err != nil {
			return err
		}
	}
	return os.WriteFile(path, b.Bytes(), 0o666)
}

func writeText(path string, rows []fineweb.Row) error {
	texts := make([]string, len(rows))
	for i, r := range rows {
		texts[i] = r.Text
	}
	return os.WriteFile(path, []byte(strings.Join(texts, separator)), 0o666)
}
