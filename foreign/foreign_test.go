package foreign

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode"
)

func TestShown(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünïcode 漢字 👩\u200d💻 می\u200cخواهم": "plain ünïcode 漢字 👩\u200d💻 می\u200cخواهم",
		"\x1b]0;title\x07":           `\x1b]0;title\x07`,
		"a\u009b2Jb":                 `a\x9b2Jb`,
		"a\x9b2J":                    `a\x9b2J`,
		"a\nb\tc\r":                  `a\x0ab\x09c\x0d`,
		"\u202egnp.exe\u2069":        `\u202egnp.exe\u2069`,
		"a\u2028b\u2029\u200b\ufeff": `a\u2028b\u2029\u200b\ufeff`,
		"\U000e0041\x7f\x00":         `\U000e0041\x7f\x00`,
		"\ufffd":                     "\ufffd",
	} {
		if got := Shown(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
	if got := ShownText("a\n\tb\r\x1b"); got != "a\n\tb"+`\x0d\x1b` {
		t.Errorf("%q", got)
	}
}

// TestNothingActs shows every character.
func TestNothingActs(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		s := Shown(string(r))
		if strings.ContainsFunc(s, unicode.IsControl) || strings.ContainsAny(s, "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c") {
			t.Errorf("%U is shown as %q", r, s)
		}
	}
}

func TestShownStart(t *testing.T) {
	for _, c := range []struct {
		in   string
		most int
		want string
	}{{"", 3, ""}, {"abc", 3, "abc"}, {"abcd", 3, "abc…"}, {"aéé", 2, "a…"}, {"aéé", 3, "aé…"}, {"漢字", 2, "…"}, {"ab\x1bcd", 3, `ab\x1b…`}, {"abc\x80\x80\x80\x80\x80\x80", 8, `abc\x80…`}} {
		if got := ShownStart(c.in, c.most); got != c.want {
			t.Errorf("%q to %d bytes is %q, not %q", c.in, c.most, got, c.want)
		}
	}
}

func TestShownJSON(t *testing.T) {
	for _, s := range []string{"plain", "\u009b2J \u202e \u2028 \U000e0041 \x7f \n ü 👩‍💻", "\x1b"} {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		shown := ShownJSON(b)
		if strings.ContainsFunc(string(shown), acts) {
			t.Errorf("%q", shown)
		}
		var back string
		if err := json.Unmarshal(shown, &back); err != nil || back != s {
			t.Errorf("%q comes back as %q, %v", s, back, err)
		}
	}
}

func TestOnlyRegularFilesAreOpened(t *testing.T) {
	dir := t.TempDir()
	pipe, socket, link, loop := filepath.Join(dir, "pipe"), filepath.Join(dir, "s"), filepath.Join(dir, "link"), filepath.Join(dir, "loop")
	file := filepath.Join(dir, "file")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := errors.Join(syscall.Mkfifo(pipe, 0o644), os.Symlink(pipe, link), os.Symlink(loop, loop), os.WriteFile(file, []byte("12345"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{dir: "is a folder", pipe: "is a pipe", socket: "is a socket", link: "is a pipe", "/dev/zero": "is a device"} {
		if f, err := Open(path); !errors.Is(err, ErrNotRegular) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, %v", path, f, err)
		}
	}
	if _, err := Open(loop); err == nil {
		t.Error("a link to itself is opened")
	}
	if b, err := ReadFile(file, 5); err != nil || string(b) != "12345" {
		t.Error(b, err)
	}
	if _, err := ReadFile(file, 4); err == nil || !strings.Contains(err.Error(), "larger than the 4 bytes") {
		t.Error(err)
	}
	if err := os.Truncate(file, 5<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(file, 4<<20); err == nil || !strings.Contains(err.Error(), "larger than the 4 MiB") {
		t.Error(err)
	}
}

func TestIsFileName(t *testing.T) {
	for _, s := range []string{"a", "model.safetensors", "..a", "...", "räumlich weit", "step-00000004"} {
		if !IsFileName(s) {
			t.Errorf("%q is not the name of a file", s)
		}
	}
	for _, s := range []string{"", ".", "..", "/", "/a", "a/b", "../a", `a\b`, `..\a`, "a\x00b"} {
		if IsFileName(s) {
			t.Errorf("%q is the name of a file", s)
		}
	}
}

func TestObject(t *testing.T) {
	f, err := Object([]byte(` {"b": [1, {"x": 2, "x": 3}], "a": null} `))
	if err != nil || len(f) != 2 || f[0].Name != "b" || string(f[0].Value) != `[1, {"x": 2, "x": 3}]` || string(f[1].Value) != "null" {
		t.Error(f, err)
	}
	for _, s := range []string{"", " ", "{", "[]", "7", "null", `{"a":1,"a":2}`, `{"a":1}{}`, "{\"\xff\":1}", strings.Repeat(`{"a":`, 20000)} {
		if f, err := Object([]byte(s)); err == nil {
			t.Errorf("%.40q is %v", s, f)
		}
	}
}

// TestUnmarshal: what is wrong with a file of JSON is said in the words of JSON.
func TestUnmarshal(t *testing.T) {
	type part struct {
		ID int32 `json:"id"`
	}
	for text, want := range map[string]string{
		`{"top_k": 50.0}`:         "top_k is 50.0, and takes a whole number of up to 64 bits",
		`{"temperature": 1e999}`:  "temperature is 1e999, and takes a number that is not too large",
		`{"temperature": "warm"}`: "temperature is a text, and takes a number that is not too large",
		`{"name": 5}`:             "name is a number, and takes a text",
		`{"parts": [5]}`:          "parts is a number, and takes an object",
		`{"parts": [{"id": {}}]}`: "parts.id is an object, and takes a whole number of up to 32 bits",
		`{"do_sample": []}`:       "do_sample is a list, and takes true or false",
		`[]`:                      "it is a list, and takes an object",
		`{"a": `:                  "it is not JSON: unexpected end of JSON input after 6 bytes",
		"\ufeff{}":                "it begins with a byte order mark",
		"{\"name\": \"\xff\"}":    "it is not UTF-8",
	} {
		var into struct {
			TopK        *int     `json:"top_k"`
			Temperature *float64 `json:"temperature"`
			Name        string   `json:"name"`
			Sample      bool     `json:"do_sample"`
			Parts       []part   `json:"parts"`
		}
		if err := Unmarshal([]byte(text), &into); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	var other any
	if err := Unmarshal([]byte(`[1]`), &other); err != nil {
		t.Error(err)
	}
}
