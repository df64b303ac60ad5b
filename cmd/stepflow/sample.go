package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/runtime/durable"
)

func sampleCommand() command {
	out, perGroup := "data", 32
	return command{name: "sample", args: "go-docs [-o DIR]", most: 1,
		short: "Writes sample data.",
		synopsis: "Writes sample data. go-docs: the documentation comments of the Go standard library, one document " +
			"a package, as parquet with FineWeb-Edu's columns.",
		example: "stepflow sample go-docs -o pipelines/quickstart/data",
		flags: func(_ *app, f *flag.FlagSet) {
			f.StringVar(&out, "o", "data", "folder to write to")
			f.IntVar(&perGroup, "rows", 32, "rows in a row group")
		},
		run: func(a *app, args []string) int {
			if len(args) != 1 || args[0] != "go-docs" || perGroup < 1 {
				return a.misuse("stepflow sample: the only sample is go-docs: stepflow sample go-docs -o DIR")
			}
			path := filepath.Join(out, "go-docs.parquet")
			file := durable.UserFile{Path: path, Ours: fineweb.Encoded,
				Refusal: "exists and is not a sample of stepflow; choose another folder, or remove it"}
			if _, err := os.Stat(path); err == nil {
				if err := file.Check(); err != nil {
					return a.fail(err)
				}
			}
			root, err := exec.Command("go", "env", "GOROOT").Output()
			if err != nil {
				return a.fail(fmt.Errorf("the sample is made of the Go standard library's documentation, and go env "+
					"GOROOT failed: %w", err))
			}
			rows, err := fineweb.GoDocs(strings.TrimSpace(string(root)))
			if err != nil {
				return a.fail(err)
			}
			if err := durable.MkdirAll(out, 0o777); err != nil {
				return a.fail(err)
			}
			var b bytes.Buffer
			if err := fineweb.EncodeParquet(&b, rows, perGroup); err != nil {
				return a.fail(err)
			}
			if _, err := file.Write(b.Bytes()); err != nil {
				return a.fail(err)
			}
			n := 0
			for _, r := range rows {
				n += len(r.Text)
			}
			fmt.Fprintf(a.stdout, "%s: %d documents, %s of text\n", path, len(rows), dsl.FormatBytes(int64(n)))
			return exitOK
		}}
}
