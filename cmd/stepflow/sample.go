package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/runtime/durable"
)

// sampleHeldOut is the share of the documents that the quickstart holds out: the questions are about them, the pairs about the others.
const sampleHeldOut = 0.08

func sampleCommand() command {
	out, perGroup := "data", 32
	return command{name: "sample", args: "go-docs [-o DIR]", most: 1,
		short: "Writes sample data.",
		synopsis: "Writes sample data. go-docs: the documentation comments of the Go standard library, one document " +
			"a package, as parquet with FineWeb-Edu's columns. Beside it, go-docs-pairs.jsonl holds questions and answers " +
			"to tune a model on, and go-docs-questions.jsonl holds questions with four choices, of the packages that " +
			"validation_fraction = 0.08 holds out.",
		example: "stepflow sample go-docs -o pipelines/quickstart/data",
		flags: func(_ *app, f *flag.FlagSet) {
			f.StringVar(&out, "o", "data", "folder to write to")
			f.IntVar(&perGroup, "rows", 32, "rows in a row group")
		},
		run: func(a *app, args []string) int {
			if len(args) != 1 || args[0] != "go-docs" || perGroup < 1 {
				return a.misuse("stepflow sample: the only sample is go-docs: stepflow sample go-docs -o DIR")
			}
			if err := writeGoDocs(a, out, perGroup); err != nil {
				return a.fail(err)
			}
			return exitOK
		}}
}

// writeGoDocs writes the documentation of the Go standard library, and what is made of it.
func writeGoDocs(a *app, out string, perGroup int) error {
	sampleFile := func(name string, ours func(io.Reader) bool) durable.UserFile {
		return durable.UserFile{Path: filepath.Join(out, name), Ours: ours,
			Refusal: "exists and is not a sample of stepflow; choose another folder, or remove it"}
	}
	docs := sampleFile("go-docs.parquet", fineweb.Encoded)
	pairs := sampleFile("go-docs-pairs.jsonl", fineweb.OfGoDocs)
	questions := sampleFile("go-docs-questions.jsonl", fineweb.OfGoDocs)
	for _, f := range []durable.UserFile{docs, pairs, questions} {
		if _, err := os.Stat(f.Path); err == nil {
			if err := f.Check(); err != nil {
				return err
			}
		}
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("the sample is made of the Go standard library's documentation, and go env GOROOT failed: %w", err)
	}
	sample, err := fineweb.GoDocs(strings.TrimSpace(string(root)), sampleHeldOut)
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(out, 0o777); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := fineweb.EncodeParquet(&b, sample.Rows, perGroup); err != nil {
		return err
	}
	if _, err := docs.Write(b.Bytes()); err != nil {
		return err
	}
	n := 0
	for _, r := range sample.Rows {
		n += len(r.Text)
	}
	fmt.Fprintf(a.stdout, "%s: %d documents, %s of text\n", docs.Path, len(sample.Rows), dsl.FormatBytes(int64(n)))
	if err := writeLines(pairs, sample.Pairs); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s: %d questions with answers, to tune a model on\n", pairs.Path, len(sample.Pairs))
	if err := writeLines(questions, sample.Questions); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s: %d questions with choices, of packages that are held out\n", questions.Path, len(sample.Questions))
	return nil
}

// writeLines writes values as JSON lines.
func writeLines[T any](f durable.UserFile, list []T) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for _, x := range list {
		if err := e.Encode(x); err != nil {
			return err
		}
	}
	_, err := f.Write(b.Bytes())
	return err
}
