package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"stepflow/foreign"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestTestingPage runs the tests that docs/testing.md shows, on the pipeline of the script about small copies.
func TestTestingPage(t *testing.T) {
	script, err := txtar.ParseFile("testdata/script/test_shrunk.txtar")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range script.Files {
		if f.Name == "main.hcl" {
			err = os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o644)
		}
	}
	var small bytes.Buffer // the second file: all that the page shows after the first
	for i, block := range regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllSubmatch(page, -1) {
		if small.Write(block[1]); i == 0 && err == nil {
			err = os.WriteFile(filepath.Join(dir, "plan.stepflowtest.hcl"), block[1], 0o644)
			small.Reset()
		}
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "small.stepflowtest.hcl"), small.Bytes(), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := run(&interrupt{ctx: t.Context()}, []string{"test", dir}, nil, strings.NewReader(""), &out, &errs)
	if code != exitOK || !strings.Contains(out.String(), "Success! 4 passed, 0 failed.") {
		t.Errorf("exit code %d\n%s%s", code, &out, &errs)
	}
}

// TestShippedTests runs the tests of every shipped pipeline, each of which has some.
func TestShippedTests(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	files, err := filepath.Glob(filepath.Join(pipelines, "*", "main.hcl"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, f := range files {
		dir := filepath.Dir(f)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(&interrupt{ctx: t.Context()}, []string{"test", dir}, nil, strings.NewReader(""), &out, &errs)
			if code != exitOK {
				t.Errorf("exit code %d\n%s%s", code, &out, &errs)
			}
		})
	}
}
