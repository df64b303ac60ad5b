package ngram

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func index(n int, documents ...string) *Index {
	x := New(n)
	add := x.Adder()
	for _, d := range documents {
		add.Text(d)
		add.End()
	}
	return x
}

// found lists the n-grams of an index that stand in a text, in order.
func found(x *Index, parts ...string) (grams []uint32) {
	s := x.Finder(func(g uint32) { grams = append(grams, g) })
	for _, p := range parts {
		s.Text(p)
	}
	s.End()
	return grams
}

const thirteen = "It was the best of times, it was the worst of times, said Charles."

// Texts that differ in case, punctuation, accents, white space or invisible characters have the same words.
func TestSameWords(t *testing.T) {
	x := index(13, thirteen)
	if n := len(x.Document(0)); n != 2 {
		t.Fatalf("%d n-grams of 14 words", n)
	}
	for name, text := range map[string]string{
		"same":        thirteen,
		"case":        strings.ToUpper(thirteen),
		"punctuation": "“It was — the best of times; it was the 'worst' of times!” said (Charles)",
		"line breaks": strings.ReplaceAll(thirteen, " ", "\n\n\t"),
		"no-break":    strings.ReplaceAll(thirteen, " ", "\u00a0"),
		"accents":     strings.ReplaceAll(thirteen, "e", "e\u0301"),
		"composed":    strings.ReplaceAll(thirteen, "e", "é"),
		"soft hyphen": strings.ReplaceAll(thirteen, "times", "ti\u00admes"),
		"inside":      "And so " + thirteen + " and so on",
	} {
		if got := found(x, text); !slices.Equal(got, []uint32{0, 1}) {
			t.Errorf("%s: %v", name, got)
		}
	}
	for name, text := range map[string]string{
		"one word changed": strings.Replace(thirteen, "it was", "it is", 1),
		"one word more":    strings.Replace(thirteen, "it was", "it really was", 1),
		"one word less":    strings.Replace(thirteen, "worst ", "", 1),
		"words joined":     strings.Replace(thirteen, "it was", "itwas", 1),
		"order":            strings.Replace(thirteen, "it was", "was it", 1),
	} {
		if got := found(x, text); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := found(index(13, "ΟΔΟΣ "+thirteen), "οδος "+thirteen); len(got) != 3 {
		t.Errorf("sigma: %v", got)
	}
}

func TestIdeographsAreWords(t *testing.T) {
	x := index(13, "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。")
	if n := len(x.Document(0)); n != 8 {
		t.Errorf("%d n-grams of 20 ideographs", n)
	}
	if got := found(x, "孟浩然：春眠不覺曉處處聞啼鳥夜來風雨聲 花落知多少"); len(got) != 8 {
		t.Errorf("%v", got)
	}
}

// A document that is shorter than n is one n-gram, and one of fewer than eight words none.
func TestShortDocuments(t *testing.T) {
	x := index(13, "one two three four five six seven", "one two three four five six seven eight", "", "a b c d e f g h i j k l", thirteen)
	var sizes []int
	for i := range x.Documents() {
		sizes = append(sizes, len(x.Document(i)))
	}
	if !slices.Equal(sizes, []int{0, 1, 0, 1, 2}) {
		t.Errorf("%v", sizes)
	}
	if got := found(x, "zero one two three four five six seven eight nine"); !slices.Equal(got, []uint32{0}) {
		t.Errorf("%v", got)
	}
	if got := found(x, "one two three four five six seven nine"); got != nil {
		t.Errorf("%v", got)
	}
	if got := index(5, "a b c d", "a b c d e").Grams(); got != 1 {
		t.Errorf("%d", got)
	}
}

// However a text is cut into parts, and whatever stands beside it, the same n-grams are found.
func TestPartsDoNotMatter(t *testing.T) {
	text := strings.Repeat("Größe 春眠 naïve — ", 9) + thirteen + strings.Repeat(" 🙂 ñandú é", 5)
	x := index(13, thirteen, "größe 春眠 naive größe 春眠 naive größe 春眠 naive größe")
	want := found(x, text)
	if len(want) < 3 {
		t.Fatalf("%v", want)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var parts []string
		for rest := text; rest != ""; {
			n := 1 + r.IntN(min(len(rest), 9))
			parts, rest = append(parts, rest[:n]), rest[n:]
		}
		if got := found(x, parts...); !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", parts, got, want)
		}
	}
	long := strings.Repeat("x ", partBytes) + thirteen
	if got := found(x, long); !slices.Equal(got, []uint32{0, 1}) {
		t.Errorf("%v", got)
	}
	if got := found(x, "It was the best of times, it was", "", " the worst of times, said Charles."); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// Documents do not run into each other.
func TestDocumentsEnd(t *testing.T) {
	x := index(13, thirteen)
	n := 0
	s := x.Finder(func(uint32) { n++ })
	s.Text("It was the best of times, it was")
	s.End()
	s.Text("the worst of times, said Charles.")
	s.End()
	if n != 0 {
		t.Error(n)
	}
}

// The index agrees with a map of joined words on random texts of few words.
func TestAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	text := func(n int) string {
		w := make([]string, n)
		for i := range w {
			w[i] = fmt.Sprint("w", r.IntN(3))
		}
		return strings.Join(w, " ")
	}
	grams := func(text string, n int) (list []string) {
		w := strings.Fields(text)
		for i := 0; i+n <= len(w); i++ {
			list = append(list, strings.Join(w[i:i+n], " "))
		}
		return list
	}
	for range 20 {
		n := 2 + r.IntN(12)
		var docs []string
		has := map[string]bool{}
		for range 50 {
			d := text(n + r.IntN(500))
			docs = append(docs, d)
			for _, g := range grams(d, n) {
				has[g] = true
			}
		}
		x := index(n, docs...)
		if x.Grams() != len(has) {
			t.Fatalf("n = %d: %d n-grams, want %d", n, x.Grams(), len(has))
		}
		train, want := text(20000), 0
		for _, g := range grams(train, n) {
			if has[g] {
				want++
			}
		}
		if got := len(found(x, train)); got != want {
			t.Fatalf("n = %d: %d found, want %d", n, got, want)
		}
	}
}

func TestTokens(t *testing.T) {
	ids := func(from, n int) (list []int32) {
		for i := range n {
			list = append(list, int32(from+i))
		}
		return list
	}
	x := New(13)
	a := x.Adder()
	a.Tokens(append([]int32{1}, append(ids(100, 14), 2)...), 1, 2)
	a.End()
	if x.Grams() != 2 {
		t.Fatal(x.Grams())
	}
	n := 0
	s := x.Finder(func(uint32) { n++ })
	s.Tokens(ids(50, 60), 1, 2)
	s.Tokens(ids(110, 30), 1, 2)
	s.End()
	if n != 2 {
		t.Error(n)
	}
}

// fold is the same for a letter's cases and stands still.
func TestFold(t *testing.T) {
	for r := range rune(unicode.MaxRune) {
		f := fold(r)
		if f != 0 && f != ' ' && fold(f) != f {
			t.Errorf("%U becomes %U, and that %U", r, f, fold(f))
		}
	}
}

func FuzzParts(f *testing.F) {
	f.Add(thirteen, uint8(5))
	f.Add("\xe6\x98\xe6\x98\xa5\xff", uint8(1))
	f.Fuzz(func(t *testing.T, text string, cut uint8) {
		x := index(3, text)
		want := found(x, text)
		if len(want) < len(x.Document(0)) {
			t.Fatalf("%d of its %d n-grams are found in itself", len(want), len(x.Document(0)))
		}
		k := min(int(cut), len(text))
		if strings.ToValidUTF8(text, "") == text {
			if got := found(x, text[:k], text[k:]); !slices.Equal(got, want) {
				t.Fatalf("%v, cut %v", want, got)
			}
		}
	})
}

// BenchmarkWords reads a text against n-grams that it has not, that it may have, and that are those of its first half.
func BenchmarkWords(b *testing.B) {
	text, err := os.ReadFile("../../README.md")
	if path := os.Getenv("STEPFLOW_TEXT"); path != "" {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		b.Fatal(err)
	}
	whole := strings.Repeat(string(text), 1+8<<20/len(text))
	for _, known := range []string{"", thirteen, string(text[:len(text)/2])} {
		x := index(13, known, "a document that is one run of its nine words", "another one of ten of them that is not there")
		b.Run(fmt.Sprint(x.Grams()), func(b *testing.B) {
			b.SetBytes(int64(len(whole)))
			s := x.Finder(func(uint32) {})
			for range b.N {
				s.Text(whole)
				s.End()
			}
		})
	}
}

// TestBytes: an index takes no more memory than Bytes says, at the moment when its table has just grown too.
func TestBytes(t *testing.T) {
	for _, grams := range []int{5000, 1 << 14, 1<<14 + 1, 1 << 16, 1<<16 + 1} {
		var text strings.Builder
		for i := range grams + 1 {
			fmt.Fprintf(&text, "w%d ", i)
		}
		x := index(2, text.String())
		if x.Grams() != grams {
			t.Fatalf("%d n-grams of %d", x.Grams(), grams)
		}
		table := 16*len(x.slots) + 8*len(x.bits)
		growing := table * 3 / 2 // beside the table of half its size
		if got, most := int64(growing+4*cap(x.grams)), Bytes(int64(grams)); got > most || 2*got < most {
			t.Errorf("%d n-grams take %d bytes, Bytes says %d", grams, got, most)
		}
	}
}
