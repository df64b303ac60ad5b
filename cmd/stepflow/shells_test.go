//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shellsDir makes a folder with a pipeline whose names are hard to quote, and its state.
func shellsDir(t *testing.T) string {
	dir := t.TempDir()
	p := filepath.Join(dir, "my pipe")
	pipeline := `
optimizer "adamw" "o" {
  for_each      = { "a b" = 1e-3, "it's" = 2e-3, "q\"q" = 3e-3, "b\\s" = 4e-3 }
  learning_rate = each.value
}
variable "lr" { default = 1 }
`
	for name, text := range map[string]string{"main.hcl": pipeline, "some values.vars.hcl": "lr = 2"} {
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestShells completes words in the shells themselves, with spaces in names and quotes in keys.
func TestShells(t *testing.T) {
	cases := []struct{ typed, want string }{
		{`stepflow val`, `validate`},
		{`stepflow plan -det`, `-detailed-exitcode`},
		{`stepflow plan my\ pipe -target 'optimizer.adamw.o["a`, `optimizer.adamw.o["a b"]`},
		{`stepflow plan 'my pipe' -target optimizer.adamw.o\[\"a`, `optimizer.adamw.o["a b"]`},
		{`stepflow plan my\ pipe -target=optimizer.adamw.o\[\"i`, `-target=optimizer.adamw.o["it's"]`},
		{`stepflow -chdir=my\ pipe plan -replace 'optimizer.adamw.o["q`, `optimizer.adamw.o["q\"q"]`},
		{`stepflow -chdir=my\ pipe plan -replace 'optimizer.adamw.o["b`, `optimizer.adamw.o["b\\s"]`},
		{`stepflow plan my\ pipe -var l`, `lr=`},
		{`stepflow plan -var-file my\ pipe/s`, `my pipe/some values.vars.hcl`},
		{`stepflow plan -var-file='my pipe/s`, `-var-file=my pipe/some values.vars.hcl`},
		{`stepflow -chdir=m`, `-chdir=my pipe/`},
	}
	for _, sh := range []struct {
		args  []string
		setup string
	}{
		{[]string{"bash", "--norc", "--noprofile", "-i"}, `PS1='READ''Y$ '; source <(stepflow completion bash)`},
		{[]string{"zsh", "-f", "-i"},
			`PS1='READ''Y$ '; autoload -Uz compinit && compinit -u -D; source <(stepflow completion zsh)`},
		{[]string{"fish", "-N", "-i"},
			`function fish_prompt; echo 'READ''Y$ '; end; function fish_greeting; end; stepflow completion fish | source`},
	} {
		t.Run(sh.args[0], func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(sh.args[0]); err != nil {
				t.Skip(err)
			}
			x := onTerminal(t, shellsDir(t), 200, sh.args[0], sh.args[1:]...)
			x.sends(sh.setup + "\r")
			x.waits(`READY\$`)
			for _, c := range cases {
				// the line is completed, and then becomes the arguments of printf
				x.sends(c.typed + "\t\x01printf '<%s>\\n' \x05 END\r")
				var words []string
				for _, m := range regexp.MustCompile(`(?m)^<(.*)>$`).FindAllStringSubmatch(x.waits(`(?m)^<END>$`), -1) {
					words = append(words, m[1])
				}
				i := slices.Index(words, "END") - 1
				if i < 0 || strings.TrimSuffix(words[i], "/") != strings.TrimSuffix(c.want, "/") {
					t.Errorf("%s: %q, want %s", c.typed, words, c.want)
				}
			}
		})
	}
}
