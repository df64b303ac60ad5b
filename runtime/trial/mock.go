package trial

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
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

// format is how documents are written for a type of data, and what attributes of it go with that.
type format struct {
	extension  string
	write      func(path string, rows []fineweb.Row) error
	attributes map[string]cty.Value
}

var formats = map[string]format{
	"fineweb_edu":   {".parquet", writeParquet, nil},
	"parquet":       {".parquet", writeParquet, nil},
	"jsonl":         {".jsonl", writeLines, nil},
	"text":          {".txt", writeText, map[string]cty.Value{"separator": cty.StringVal(separator)}},
	"conversations": {".jsonl", writeConversations, map[string]cty.Value{"form": cty.NilVal}},
}

// separator is between the documents of a text file.
const separator = "\n\n"

// mock makes documents for a block of data, and returns the attributes that name them. Data of one name in several
// modules have the same, so that what is trained once for all of them is trained once in a test too.
func (f *File) mock(a addr.Addr, m *dsl.Mock) (map[string]cty.Value, error) {
	a.Module = ""
	format := formats[a.Type]
	folder := filepath.Join(f.folder, "data")
	path := filepath.Join(folder, fmt.Sprintf("%s-%d-%d-%d%s", a.Dir(), m.Documents, m.Words, m.Seed, format.extension))
	values := map[string]cty.Value{"source": cty.StringVal(path)}
	for _, name := range filters {
		values[name] = cty.NilVal
	}
	maps.Copy(values, format.attributes)
	f.mocks.mu.Lock()
	defer f.mocks.mu.Unlock()
	if f.mocks.made[path] {
		return values, nil
	}
	err := os.MkdirAll(folder, 0o777)
	if err == nil {
		err = format.write(path, documents(a.String(), m))
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
	return writeJSON(path, rows, func(r fineweb.Row) any { return map[string]string{"id": r.ID, "text": r.Text} })
}

// writeConversations makes a question of the first half of each document, and its answer of the second.
func writeConversations(path string, rows []fineweb.Row) error {
	return writeJSON(path, rows, func(r fineweb.Row) any {
		words := strings.Fields(r.Text)
		half := (len(words) + 1) / 2
		return fineweb.Pair{ID: r.ID, Messages: []fineweb.Message{
			{Role: "user", Content: strings.Join(words[:half], " ")},
			{Role: "assistant", Content: strings.Join(append(words[half:], "."), " ")},
		}}
	})
}

// writeJSON writes a line for each document.
func writeJSON(path string, rows []fineweb.Row, line func(fineweb.Row) any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, r := range rows {
		if err := e.Encode(line(r)); err != nil {
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
