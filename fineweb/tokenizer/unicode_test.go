package tokenizer

import (
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// What the tokenizers library (0.23) gives, where x/text or package unicode alone would give something else.
func TestUnicodeAsTokenizersHasIt(t *testing.T) {
	for _, c := range []struct {
		form     norm.Form
		in, want string
	}{
		{norm.NFC, "a" + strings.Repeat("\u0301", 40) + "\u0323", "\u1ea1" + strings.Repeat("\u0301", 40)}, // no joiner after 30 marks
		{norm.NFD, "\u1ea1" + strings.Repeat("\u0301", 31), "a\u0323" + strings.Repeat("\u0301", 31)},
		{norm.NFC, "e\u0301 \u0eb8\u0eba", "\u00e9 \u0eb8\u0eba"}, // U+0EBA is of Unicode 12: no combining class
		{norm.NFKC, "\u32ff\ufb01", "\u32fffi"},                   // so is U+32FF: no decomposition
		{norm.NFC, "가각\u11a8", "가각\u11a8"},
		{norm.NFC, "\u1100\u1161\u11a8" + strings.Repeat("\u0300", 31), "각" + strings.Repeat("\u0300", 31)},
		{norm.NFC, "plain", "plain"},
		{norm.NFC, "", ""},
	} {
		if got := normalizer(c.form)(c.in); got != c.want {
			t.Errorf("%+q becomes %+q, not %+q", c.in, got, c.want)
		}
	}
	// U+105C0 is a letter since Unicode 16, U+10D40 a digit.
	if classOf(0x105c0) != letter || classOf(0x10d40) != number || classOf(0x10ffff) != other || classOf('a') != letter {
		t.Error("new letters and digits are not known")
	}
}

// slowly agrees with x/text wherever that puts in no joiner.
func FuzzNormalize(f *testing.F) {
	f.Add("e\u0301\u0323\u1100\u1161\u11a8 ﬁ")
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "")
		for _, form := range []norm.Form{norm.NFC, norm.NFD, norm.NFKC, norm.NFKD} {
			want := form.String(s)
			if strings.Contains(want, "\u034f") {
				return
			}
			if got := slowly(form, s); got != want {
				t.Errorf("%+q becomes %+q, not %+q", s, got, want)
			}
		}
	})
}
