package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"stepflow/dsl"
	"stepflow/foreign"
	"stepflow/runtime/durable"
)

func fmtCommand() command {
	var check bool
	return command{name: "fmt", args: "[-check] [DIR | FILE.hcl]", most: 1,
		short: "Rewrites *.hcl files in the canonical style.",
		synopsis: "Rewrites *.hcl files in the canonical style and lists those that changed. With -check it changes " +
			"nothing and exits with 3 if some would. A file that cannot be read as HCL stays as it is; the exit code " +
			"is then 2.",
		example: "stepflow fmt -check pipelines/quickstart",
		flags: func(_ *app, f *flag.FlagSet) {
			f.BoolVar(&check, "check", false, "only list files that are not formatted")
		},
		run: func(a *app, args []string) int {
			files, err := formatted(dirArg(args))
			if err != nil {
				a.fail(err)
				return exitUnreadable
			}
			code := exitOK
			for _, f := range files {
				switch c := a.format(f, check); {
				case c == exitUnreadable:
					code = c
				case c == exitUnformatted && check && code == exitOK:
					code = c
				}
			}
			return code
		}}
}

// formatted lists the files that fmt is asked to format.
func formatted(path string) ([]string, error) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case st.IsDir():
		return dsl.Sources(path)
	case !strings.HasSuffix(path, ".hcl"):
		return nil, fmt.Errorf("%s was left as it is: fmt formats *.hcl files alone", foreign.Shown(path))
	}
	return []string{path}, nil
}

// format rewrites one file, or says with check that it would; it returns exitUnformatted if the file is not in
// canonical form.
func (a *app) format(path string, check bool) int {
	src, out, files, diags := dsl.FormatFile(path)
	if diags.HasErrors() {
		a.diagnostics(diags, files)
		return exitUnreadable
	}
	if bytes.Equal(src, out) {
		return exitOK
	}
	if !check {
		f := durable.UserFile{Path: path, Source: true, Refusal: "changed while it was formatted",
			Ours: func(r io.Reader) bool {
				now, err := io.ReadAll(r)
				return err == nil && bytes.Equal(now, src)
			}}
		if _, err := f.Write(out); err != nil {
			a.fail(err)
			return exitUnreadable
		}
	}
	fmt.Fprintln(a.stdout, foreign.Shown(path))
	return exitUnformatted
}
