package fineweb

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file is known again under another name, as a copy, on the hub, and as part of a larger sample of FineWeb.
func TestShared(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.txt"), "one")
	put(t, filepath.Join(dir, "copy.txt"), "one")
	put(t, filepath.Join(dir, "other.txt"), "two")
	if err := os.Symlink("a.txt", filepath.Join(dir, "link.txt")); err != nil {
		t.Fatal(err)
	}
	contents := func(name string) []Content {
		c := open(t, Source{Format: "text", Dir: dir, Patterns: []string{name}})
		list, err := c.Contents()
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	named := func(address, id string) []Content {
		c := ContentOf(address)
		if key := contentKey(id); key != "" {
			c.keys = append(c.keys, key)
		}
		return []Content{c}
	}
	const one = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed" // of "one"
	edu, all := "hf://datasets/HuggingFaceFW/fineweb-edu@abc/", "hf://datasets/HuggingFaceFW/fineweb@abc/"
	for _, x := range []struct {
		a, b []Content
		want bool
	}{
		{contents("a.txt"), contents("a.txt"), true},
		{contents("a.txt"), contents("link.txt"), true},
		{contents("a.txt"), contents("copy.txt"), true},
		{contents("a.txt"), contents("other.txt"), false},
		{contents("*.txt"), contents("other.txt"), true},
		{contents("a.txt"), named("hf://datasets/x/y@1/a.txt", one), true},
		{contents("other.txt"), named("hf://datasets/x/y@1/a.txt", one), false},
		{contents("a.txt"), named("https://h/z.txt", `3 "`+one+`"`), true},
		{named("https://h/z.txt", `3 "v1"`), named("https://g/z.txt", `3 "v1"`), true},
		{named("https://h/z.txt", `3 "v1"`), named("https://g/z.txt", `4 "v1"`), false},
		{named("https://h/z.txt", "3 Sat, 28 Nov 2026"), named("https://g/z.txt", "3 Sat, 28 Nov 2026"), false},
		{named("https://h/z.txt", "3 Sat, 28 Nov 2026"), named("https://H:443/z.txt", ""), true},
		{named(edu+"sample/10BT/000.parquet", ""), named(edu+"sample/100BT/000.parquet", ""), true},
		{named(edu+"sample/100BT/000.parquet", ""), named(edu+"sample/10BT/000.parquet", ""), true},
		{named(edu+"sample/10BT/000.parquet", ""), named(edu+"sample/10BT/001.parquet", ""), false},
		{named(edu+"sample/10BT/000.parquet", ""), named(edu+"data/CC-MAIN-2024-10/0.parquet", ""), true},
		{named(edu+"data/CC-MAIN-2023-50/0.parquet", ""), named(edu+"data/CC-MAIN-2024-10/0.parquet", ""), false},
		{named(edu+"sample/10BT/000.parquet", ""), named(all+"sample/10BT/000.parquet", ""), true},
		{named("/data/fineweb-edu/sample/10BT/0.parquet", ""), named("https://huggingface.co/datasets/HuggingFaceFW/fineweb-edu/resolve/main/sample/350BT/0.parquet", ""), true},
		{named("/data/mine/sample/10BT/0.parquet", ""), named("/data/mine/sample/100BT/0.parquet", ""), false},
	} {
		if got := Shared(x.a, x.b); (got != "") != x.want {
			t.Errorf("%v with %v: %q", x.a, x.b, got)
		}
	}
	if notes := Copies(contents("*.txt")); len(notes) != 1 || !strings.Contains(notes[0], "a.txt and ") || !strings.Contains(notes[0], "copy.txt hold the same bytes") {
		t.Errorf("%q", notes)
	}
}

// The same documents are held out of two sources only where ids are made alike and the share is as large.
func TestSameSplit(t *testing.T) {
	a := Source{Format: "parquet", Patterns: []string{"a"}, TextColumn: "text", IDColumn: "id", ValidationFraction: 0.1}
	for name, x := range map[string]struct {
		change func(b *Source)
		same   bool
	}{
		"as it is":         {func(b *Source) {}, true},
		"another seed":     {func(b *Source) { b.Seed, b.Shuffle = 7, true }, true},
		"a larger share":   {func(b *Source) { b.ValidationFraction = 0.2 }, true},
		"a smaller share":  {func(b *Source) { b.ValidationFraction = 0.09 }, false},
		"none":             {func(b *Source) { b.ValidationFraction = 0 }, false},
		"other ids":        {func(b *Source) { b.IDColumn = "url" }, false},
		"another text":     {func(b *Source) { b.TextColumn = "body" }, false},
		"as FineWeb":       {func(b *Source) { b.Format = "fineweb_edu" }, true},
		"more files":       {func(b *Source) { b.Patterns = []string{"a", "b"} }, true},
		"text, of places":  {func(b *Source) { b.Format = "text" }, false},
		"stricter filters": {func(b *Source) { n := int64(3); b.MinIntScore = &n }, true},
	} {
		b := a
		x.change(&b)
		if SameSplit(&a, &b) != x.same {
			t.Errorf("%s: %t", name, !x.same)
		}
	}
	text, other := Source{Format: "text", Patterns: []string{"a"}}, Source{Format: "text", Patterns: []string{"b"}}
	if !SameSplit(&text, &text) || SameSplit(&text, &other) {
		t.Error("ids of text are of the files' places")
	}
	if Apart(&Source{}, &Source{Languages: []string{"en"}}) || !Apart(&Source{Languages: []string{"de"}}, &Source{Languages: []string{"en"}}) || Apart(&Source{Languages: []string{"de", "en"}}, &Source{Languages: []string{"en"}}) {
		t.Error("languages")
	}
}
