package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"stepflow/dsl"
	"stepflow/foreign"
	"stepflow/runtime/durable"
)

func fmtCommand() command {
	var c formatter
	return command{name: "fmt", args: "[flags] [DIR | FILE.hcl | -]", most: 1,
		short: "Rewrites *.hcl files in the canonical style.",
		synopsis: "Rewrites *.hcl files in the canonical style and lists those that changed. With -check it changes " +
			"nothing and exits with 3 if some would. A file that cannot be read as HCL stays as it is; the exit code " +
			"is then 2. With - it formats the standard input and prints it.",
		example: "stepflow fmt -check -diff -recursive pipelines",
		flags: func(a *app, f *flag.FlagSet) {
			c.app = a
			f.BoolVar(&c.check, "check", false, "only list files that are not formatted")
			f.BoolVar(&c.diff, "diff", false, "show what changes in each file")
			f.BoolVar(&c.recursive, "recursive", false, "format the files of all folders below too, but hidden ones")
		},
		run: func(_ *app, args []string) int {
			if dirArg(args) == "-" {
				return c.stream()
			}
			return c.files(dirArg(args))
		}}
}

// formatter is one call of fmt.
type formatter struct {
	app                    *app
	check, diff, recursive bool
}

// files formats the files that a path names.
func (c *formatter) files(path string) int {
	files, err := c.sources(path)
	if err != nil {
		c.app.fail(err)
		return exitUnreadable
	}
	code := exitOK
	for _, f := range files {
		switch got := c.file(f); {
		case got == exitUnreadable:
			code = got
		case got == exitUnformatted && c.check && code == exitOK:
			code = got
		}
	}
	return code
}

// sources lists the files that fmt is asked to format.
func (c *formatter) sources(path string) (files []string, err error) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case st.IsDir() && !c.recursive:
		return dsl.Sources(path)
	case !st.IsDir() && !strings.HasSuffix(path, ".hcl"):
		return nil, fmt.Errorf("%s was left as it is: fmt formats *.hcl files alone", foreign.Shown(path))
	case !st.IsDir():
		return []string{path}, nil
	}
	err = filepath.WalkDir(path, func(at string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if at != path && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		list, err := dsl.Sources(at)
		files = append(files, list...)
		return err
	})
	return files, err
}

// file rewrites one file, or says with check that it would; it returns exitUnformatted if the file is not in
// canonical form.
func (c *formatter) file(path string) int {
	src, out, files, diags := dsl.FormatFile(path)
	if diags.HasErrors() {
		c.app.diagnostics(diags, files)
		return exitUnreadable
	}
	if bytes.Equal(src, out) {
		return exitOK
	}
	if !c.check {
		f := durable.UserFile{Path: path, Source: true, Refusal: "changed while it was formatted",
			Ours: func(r io.Reader) bool {
				now, err := io.ReadAll(r)
				return err == nil && bytes.Equal(now, src)
			}}
		if _, err := f.Write(out); err != nil {
			c.app.fail(err)
			return exitUnreadable
		}
	}
	fmt.Fprintln(c.app.stdout, foreign.Shown(path))
	c.show(path, src, out)
	return exitUnformatted
}

// show prints the difference between a text and its canonical style, if that is asked for.
func (c *formatter) show(name string, src, out []byte) {
	if c.diff {
		text := diff.Diff("old/"+name, src, "new/"+name, out)
		_, text, _ = bytes.Cut(text, []byte("\n")) // the line of a command that made it
		c.app.stdout.Write(text)
	}
}

// stream formats the standard input: it prints the text, with check nothing, and with diff what changes.
func (c *formatter) stream() int {
	const name = "<stdin>"
	src, err := io.ReadAll(io.LimitReader(c.app.stdin, dsl.MaxSource+1))
	if err == nil && len(src) > dsl.MaxSource {
		err = fmt.Errorf("the standard input is larger than the %s that a file of a pipeline may have",
			dsl.FormatBytes(dsl.MaxSource))
	}
	if err != nil {
		c.app.fail(err)
		return exitUnreadable
	}
	out, files, diags := dsl.Format(src, name)
	if diags.HasErrors() {
		c.app.diagnostics(diags, files)
		return exitUnreadable
	}
	c.show(name, src, out)
	if !c.check && !c.diff {
		c.app.raw(string(out))
	}
	if c.check && !bytes.Equal(src, out) {
		return exitUnformatted
	}
	return exitOK
}
