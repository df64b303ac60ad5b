package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"stepflow/runtime/apply"
)

// TestFullDisk: an error of a full disk is followed by what to do, and that by the blocks that did not run.
func TestFullDisk(t *testing.T) {
	for _, c := range []struct {
		err  error
		full bool
	}{{syscall.ENOSPC, true}, {syscall.EDQUOT, true}, {syscall.EIO, false}} {
		err := fmt.Errorf("stage.one: %w", &fs.PathError{Op: "write", Path: "model.safetensors", Err: c.err})
		for _, json := range []bool{false, true} {
			var out bytes.Buffer
			a := &app{ctx: t.Context(), stdout: &out, stderr: &out, json: json}
			a.fail(&apply.LeftOutError{Err: err, Blocks: []string{"stage.two"}})
			text := out.String()
			failed := strings.Index(text, "model.safetensors")
			remedy, rest := strings.Index(text, "stepflow state gc"), strings.Index(text, "Not run: stage.two")
			if failed < 0 || rest < failed || (remedy > failed && remedy < rest) != c.full || (remedy >= 0) != c.full {
				t.Errorf("%v, as JSON %t: %s", c.err, json, text)
			}
		}
	}
}
