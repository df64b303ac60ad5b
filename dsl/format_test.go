package dsl

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestFormatFile(t *testing.T) {
	for src, want := range map[string]string{
		"a=1\r\nbb   =  2\r\n":                                         "a  = 1\r\nbb = 2\r\n",
		"x = <<EOT\n  a\n   b ${ y }\nEOT\ny=1\n":                      "x = <<EOT\n  a\n   b ${y}\nEOT\ny = 1\n",
		"b {\n x = <<-EOT\r\n\ta =  1\r\n   b\r\n  EOT\r\n y=1\r\n}\n": "b {\n  x = <<-EOT\r\n\ta =  1\r\n   b\r\n  EOT\r\n  y = 1\r\n}\n",
		"a=1":                                 "a = 1",
		"":                                    "",
		"# c\n\n\n/* d\n   e */\nb \"l\"{}\n": "# c\n\n\n/* d\n   e */\nb \"l\" {}\n",
		"a = -  1\nb=true?1:2\n":              "a = -1\nb = true ? 1 : 2\n",
	} {
		path := filepath.Join(t.TempDir(), "a.hcl")
		if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
		was, out, _, diags := FormatFile(path)
		if diags.HasErrors() || string(was) != src || string(out) != want {
			t.Errorf("%q becomes %q: %v", src, out, diags)
		}
	}
	for _, src := range []string{"a = [1,\n2\nx = 3\n", "stage \"a\" {\n", "x = <<EOT\n a\n", "\x00", "a = \xff\n", "a = 1 b = 2\n", "{\"a\": 1}"} {
		path := filepath.Join(t.TempDir(), "a.hcl")
		if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, _, diags := FormatFile(path); !diags.HasErrors() {
			t.Errorf("%q was formatted", src)
		} else if s := diags[0].Subject; s == nil || s.Filename != path || s.Start.Line < 1 {
			t.Errorf("%q: the error has no place: %v", src, diags)
		}
	}
}

// FuzzFormat: what is formatted means the same and is formatted.
func FuzzFormat(f *testing.F) {
	f.Add([]byte("a=1\r\nb \"c\" {\n x = <<-EOT\n  ${ y }\n EOT\n}\n"))
	f.Add([]byte("l = [for x in y: x if x>1]\n# end"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, src []byte) {
		path := filepath.Join(dir, "a.hcl")
		if err := os.WriteFile(path, src, 0o644); err != nil {
			t.Fatal(err)
		}
		_, out, _, diags := FormatFile(path)
		if diags.HasErrors() {
			return
		}
		if err := os.WriteFile(path, out, 0o644); err != nil {
			t.Fatal(err)
		}
		_, again, _, diags := FormatFile(path)
		if diags.HasErrors() {
			t.Fatalf("%q became %q, which is not formatted: %v", src, out, diags)
		}
		if !bytes.Equal(out, again) {
			t.Errorf("%q became %q, then %q", src, out, again)
		}
	})
}
