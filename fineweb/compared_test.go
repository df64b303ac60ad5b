package fineweb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
)

// talk is a conversation of a question and an answer.
type talk struct{ Q, A string }

// talks are conversations in a file, of which {"q":"bad"} cannot be read.
func talks(t *testing.T, list []talk) Source {
	t.Helper()
	var b strings.Builder
	for i, x := range list {
		fmt.Fprintf(&b, `{"id":"%d","q":%q,"a":%q}`+"\n", i, x.Q, x.A)
	}
	path := filepath.Join(t.TempDir(), "talks.jsonl")
	write(t, path, b.String())
	return Source{Format: FormatConversations, IDColumn: "id", Patterns: []string{path}, DocumentMask: true,
		Said: func(_, row string) (string, error) {
			var x talk
			if err := json.Unmarshal([]byte(row), &x); err != nil || x.Q == "bad" {
				return "", errors.New("it is upside down")
			}
			return x.Q + "\n" + x.A, nil
		}}
}

// talkEncoder is the template of talks, around which the same thirteen words stand each time.
func talkEncoder(tk *tokenizer.Tokenizer) func(form, row string) ([]int32, []bool, int, error) {
	return func(_, row string) ([]int32, []bool, int, error) {
		var x talk
		if err := json.Unmarshal([]byte(row), &x); err != nil || x.Q == "bad" {
			return nil, nil, 0, errors.New("it is upside down")
		}
		ids, _, err := tk.Document(nil, "You answer all questions as well as you can and you never tell a lie. "+x.Q+" "+x.A)
		loss := make([]bool, len(ids))
		for i := len(loss) - 4; i < len(loss) && x.A != ""; i++ {
			loss[i] = true
		}
		return ids, loss, 0, err
	}
}

func talkSet(t *testing.T, tk *tokenizer.Tokenizer, parts ...Source) *Set {
	t.Helper()
	var list []Weighted
	for i, s := range parts {
		list = append(list, Weighted{Name: fmt.Sprint(i), Source: s, Weight: float64(1 + i)})
	}
	set, err := OpenSet(context.Background(), list)
	must(t, err)
	t.Cleanup(func() { set.Close() })
	set.Tune(&Tuning{Encode: talkEncoder(tk), Pack: true, Drop: true})
	return set
}

// manyTalks are conversations of words of their own: short ones, some that are longer than a sequence, some of which nothing
// counts, and some that cannot be read.
func manyTalks(n int) (list []talk) {
	for i, text := range told(n) {
		w := strings.Fields(text)
		x := talk{strings.Join(w[:9], " "), strings.Join(w[9:], " ")}
		switch i % 10 {
		case 3:
			x.A = strings.Repeat(x.A+" ", 40)
		case 5:
			x.A = ""
		case 7:
			x.Q = "bad"
		}
		list = append(list, x)
	}
	return list
}

// naive counts the documents that share thirteen words in a row, or all their words if they are eight or more, with others.
func naive(measured, trained []string) (dirty int64) {
	has := func(n int) map[string]bool {
		set := map[string]bool{}
		for _, t := range trained {
			for w := strings.Fields(strings.ToLower(t)); len(w) >= n; w = w[1:] {
				set[strings.Join(w[:n], " ")] = true
			}
		}
		return set
	}
	grams := map[int]map[string]bool{}
	for _, m := range measured {
		w := strings.Fields(strings.ToLower(m))
		n := min(len(w), ContaminationGram)
		if n < 8 {
			continue
		}
		if grams[n] == nil {
			grams[n] = has(n)
		}
		for ; len(w) >= n; w = w[1:] {
			if grams[n][strings.Join(w[:n], " ")] {
				dirty++
				break
			}
		}
	}
	return dirty
}

// TestCheckFindsConversations: wherever a stream of conversations stops, a check finds what is said in those that its
// sequences held, and in no others: not the template around them, nor conversations that are left out.
func TestCheckFindsConversations(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	inPieces(t, cut{100, 400})
	tk := tok(t)
	list := manyTalks(1400)
	var measured []string
	for _, x := range list {
		measured = append(measured, x.Q+" "+x.A)
	}
	shuffled := talks(t, list)
	shuffled.Shuffle, shuffled.SkipErrors = true, true
	ordered := shuffled
	ordered.Shuffle = false
	first, second := talks(t, list[:400]), talks(t, list[400:])
	first.Shuffle, first.SkipErrors, second.SkipErrors, second.Shuffle = true, true, true, true
	for name, parts := range map[string][]Source{"shuffled": {shuffled}, "in order": {ordered}, "mixture": {first, second}} {
		mix, err := talkSet(t, tk, parts...).Stream(Train, tk, 320, Position{})
		must(t, err)
		given, again := map[string]bool{}, map[string]bool{}
		var texts []string
		for step := range 10 {
			b, err := mix.Next([]int{1, 7, 30, 80}[step%4])
			must(t, err)
			for _, d := range b.Documents {
				again[d.ID] = given[d.Source+d.ID]
				if i := d.ID; !given[d.Source+i] {
					given[d.Source+i] = true
					var n int
					fmt.Sscan(i, &n)
					if d.Source == "1" {
						n += 400
					}
					texts = append(texts, measured[n])
				}
			}
			if step%3 > 0 {
				continue
			}
			k := NewCheck(tk)
			for i, x := range measured {
				_, err := k.Text(strings.ToUpper(x), place(i))
				must(t, err)
			}
			must(t, talkSet(t, tk, parts...).Trained(k, b.Cursor, 320))
			got, want := k.Result(), naive(measured, texts)
			if got.Words.Dirty != want || want == 0 {
				t.Errorf("%s, step %d: %d documents found, want %d of %d that were given", name, step, got.Words.Dirty, want, len(texts))
			}
			for i := 0; i < len(measured); i += 13 {
				grams, found := k.Document(i)
				if (found > 0) != (naive(measured[i:i+1], texts) > 0) || found > grams {
					t.Fatalf("%s, step %d: document %d has %d n-grams, %d found", name, step, i, grams, found)
				}
				if step > 0 {
					break
				}
			}
		}
	}
}

type place int

func (p place) String() string { return fmt.Sprint("document ", int(p)) }

// TestConversationsAreMeasured: what is said in the conversations of a split is compared, of those that windows reach, and
// a stream counts those of them that it gives.
func TestConversationsAreMeasured(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	tk := tok(t)
	list := manyTalks(200)
	s := talks(t, list)
	s.SkipErrors = true
	w := Windows{Split: All, Length: 320}
	k := NewCheck(tk)
	must(t, talkSet(t, tk, s).Measured(k, tk, w))
	train := talks(t, list[:100])
	train.SkipErrors = true
	must(t, talkSet(t, tk, train).Trained(k, Position{Cursor: Cursor{Epoch: 1}}, 320))
	// Of ten, one cannot be read, and one is without an answer, of nine words.
	if got := k.Result(); got.Documents != 180 || got.Words.Checked != 180 || got.Words.Dirty != 70 || got.Words.Grams == 0 {
		t.Errorf("%+v", got)
	}
	w.Limit = 100
	k = NewCheck(tk)
	set := talkSet(t, tk, s)
	must(t, set.Measured(k, tk, w))
	held, err := talkSet(t, tk, s).Held(tk, Windows{Split: All, Length: 320, Batch: 1, Limit: 100}, func(*Batch) error { return nil })
	must(t, err)
	if n := k.Result().Documents; n != held.Documents || n < 10 {
		t.Errorf("%d documents are compared, and %d measured", n, held.Documents)
	}
	watched := &Watched{}
	must(t, talkSet(t, tk, s).Watch(watched, tk, w))
	mix, err := talkSet(t, tk, train).Stream(Train, tk, 320, Position{})
	must(t, err)
	mix.Watch(watched)
	var met, want int64
	for range 3 {
		b, err := mix.Next(2)
		must(t, err)
		met += b.Watched
		for _, d := range b.Documents {
			var n int64
			if fmt.Sscan(d.ID, &n); n < held.Documents+2 && n%10 != 7 { // of which row 7 is passed over
				want++
			}
		}
	}
	if watched.Documents != held.Documents || met == 0 || met > want {
		t.Errorf("%d documents are watched, %d met, want %d", watched.Documents, met, want)
	}
}

// TestKeptEndsAreMeasured: where the ends of conversations are kept, as many are compared as windows reach.
func TestKeptEndsAreMeasured(t *testing.T) {
	tk := tok(t)
	s := talks(t, manyTalks(200))
	s.SkipErrors = true
	w := Windows{Split: All, Length: 16, Batch: 1, Limit: 100}
	open := func() *Set {
		set := talkSet(t, tk, s)
		set.Tune(&Tuning{Encode: talkEncoder(tk), End: true})
		return set
	}
	held, err := open().Held(tk, w, func(*Batch) error { return nil })
	must(t, err)
	k := NewCheck(tk)
	must(t, open().Measured(k, tk, w))
	if n := k.Result().Documents; n != held.Documents || n < 10 || n > 100 {
		t.Errorf("%d documents are compared, and %d measured", n, held.Documents)
	}
}

// TestDecontaminateConversations: those that hold what is kept out go, whatever the template; and conversations are what is
// kept out of others.
func TestDecontaminateConversations(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	tk := tok(t)
	list := manyTalks(300)
	s := talks(t, list)
	s.SkipErrors = true
	held := talkSet(t, tk, talks(t, []talk{list[10], {list[20].Q, "Nothing of it"}, {"x", list[31].Q + " " + list[31].A}}))
	var texts []string
	must(t, held.Texts(All, func(text string) bool { texts = append(texts, text); return true }))
	s.Against = []Against{against("held", 13, 0, texts...)}
	set := talkSet(t, tk, s)
	n, of, err := set.corpora[0].Contaminated()
	if err != nil || n != 2 || of[0] != 2 {
		t.Fatalf("%d, %v, %v", n, of, err)
	}
	mix, err := set.Stream(Train, tk, 320, Position{})
	must(t, err)
	seen := map[string]bool{}
	for {
		b, err := mix.Next(1)
		must(t, err)
		if b.Contaminated != 2 {
			t.Fatalf("%d are told", b.Contaminated)
		}
		if b.Cursor.Epoch > 0 {
			break
		}
		for _, d := range b.Documents {
			seen[d.ID] = true
		}
	}
	if seen["10"] || seen["31"] || !seen["20"] || !seen["11"] {
		t.Error("other conversations are left out")
	}
	s.SkipErrors = false
	if _, _, err := talkSet(t, tk, s).corpora[0].Contaminated(); err == nil || !strings.Contains(err.Error(), "line 8") ||
		!strings.Contains(err.Error(), `upside down; set on_error = "skip"`) {
		t.Error(err)
	}
}
