package lsp

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creachadair/jrpc2"
)

// code returns the code of the error that a request meets.
func code(err error) jrpc2.Code {
	if err == nil {
		return 0
	}
	return jrpc2.ErrorCode(err)
}

// TestLifecycle: what is asked in the wrong order is refused, and the server ends when it is told to.
func TestLifecycle(t *testing.T) {
	e := newEditor(t, map[string]string{"main.hcl": example}, "")
	if err := e.ask("initialize", map[string]any{}, nil); code(err) != jrpc2.InvalidRequest {
		t.Errorf("initialized twice: %v", err)
	}
	if err := e.ask("textDocument/nothing", map[string]any{}, nil); code(err) != jrpc2.MethodNotFound {
		t.Errorf("an unknown request: %v", err)
	}
	if err := e.ask("textDocument/hover", []int{1}, nil); code(err) != jrpc2.InvalidParams {
		t.Errorf("wrong parameters: %v", err)
	}
	if err := e.ask("textDocument/hover", e.at("other.hcl", "", ""), nil); code(err) != requestFailed ||
		!strings.Contains(err.Error(), "other.hcl is not open") {
		t.Errorf("a file that is not open: %v", err)
	}
	e.notify("$/setTrace", map[string]any{"value": "off"})
	e.notify("$/cancelRequest", map[string]any{"id": 77})
	e.notify("textDocument/didChange", map[string]any{"textDocument": map[string]any{"uri": e.uri("other.hcl")}})
	e.call("shutdown", nil, nil)
	if err := e.ask("textDocument/hover", e.at("main.hcl", "", ""), nil); code(err) != jrpc2.InvalidRequest {
		t.Errorf("asked after shutdown: %v", err)
	}
	e.notify("exit", nil)
	if clean := <-e.done; !clean {
		t.Error("the server did not end clean")
	}
	e.done <- true // for the clean-up
}

// TestFirstIsInitialize: nothing is answered before the editor has introduced itself.
func TestFirstIsInitialize(t *testing.T) {
	got := converse(t, `{"jsonrpc":"2.0","id":1,"method":"textDocument/hover","params":{}}`)
	if !strings.Contains(got, `"code":-32002`) {
		t.Errorf("%s", got)
	}
}

// TestBadMessages: what is no message, or none that is allowed, is answered or passed over, and what comes after it is
// answered.
func TestBadMessages(t *testing.T) {
	for _, bad := range []string{
		frame("{"), frame(""), frame("[]"), frame("null"), frame(`{"jsonrpc":"2.0","id":{},"method":1}`), "rubbish\r\n",
		"Content-Length: -1\r\nContent-Type: a\r\n", "Content-Length: 99999999999999999999\r\n",
		strings.Repeat("x", 100000) + "\r\n", frame(strings.Repeat("[", 100000)),
		"Content-Length: 70000000\r\n\r\n" + strings.Repeat(" ", 70000000),
	} {
		if got := converse(t, bad, `{"jsonrpc":"2.0","id":7,"method":"initialize","params":{}}`); !strings.Contains(got,
			`"serverInfo"`) {
			t.Errorf("after %.40q: %s", bad, got)
		}
	}
}

// frame returns a message with its header.
func frame(message string) string {
	return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(message), message)
}

// converse sends messages, the last of which is a request, and returns what the server has written when it is answered.
func converse(t *testing.T, messages ...string) string {
	t.Helper()
	in, toServer := io.Pipe()
	fromServer, out := io.Pipe()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	go func() {
		_, _ = Serve(ctx, in, out, Options{})
		out.Close()
	}()
	go func() {
		for _, m := range messages[:len(messages)-1] {
			_, _ = io.WriteString(toServer, m)
		}
		_, _ = io.WriteString(toServer, frame(messages[len(messages)-1]))
	}()
	var all strings.Builder
	for wire := newWire(fromServer, io.Discard); ; {
		m, err := wire.Recv()
		all.Write(m)
		if err != nil || strings.Contains(string(m), `"id":7`) || strings.Contains(string(m), `"id":1,`) {
			toServer.Close()
			return all.String()
		}
	}
}

// TestUTF8: an editor that counts bytes is answered in bytes.
func TestUTF8(t *testing.T) {
	text := "output \"x\" {\n  value = \"𝄞ß\" == stage.seed\n}\n"
	e := newEditor(t, map[string]string{"main.hcl": text}, `{"general": {"positionEncodings": ["utf-16", "utf-8"]}}`)
	if got := e.diagnostics("main.hcl"); len(got) != 1 || got[0].Range.Start != (Position{1, 22}) {
		t.Errorf("%v", got)
	}
}

// TestChangesOnDisk: files that nobody has open are read again when the editor says that they changed.
func TestChangesOnDisk(t *testing.T) {
	e := newEditor(t, map[string]string{"main.hcl": example, "disk/b.hcl": "output \"x\" {\n  value = stage.sed\n}\n"}, "")
	if got := e.diagnostics("b.hcl"); len(got) != 1 {
		t.Errorf("%v", got)
	}
	path := filepath.Join(e.dir, "b.hcl")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	e.notify("workspace/didChangeWatchedFiles", map[string]any{"changes": []any{map[string]any{"uri": e.uri("b.hcl"),
		"type": 3}}})
	if got := e.diagnostics("b.hcl"); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestNewFile: a file that was never saved is part of its folder, and a text without a folder is answered too.
func TestNewFile(t *testing.T) {
	e := newEditor(t, map[string]string{"main.hcl": example}, "")
	e.open("new.hcl", "output \"x\" {\n  value = stage.sed\n}\n")
	if got := e.diagnostics("new.hcl"); len(got) != 1 || !strings.Contains(got[0].Message, "stage.seed") {
		t.Errorf("%v", got)
	}
	text := "stage \"a\" {\n  from = stage.\n}\n"
	e.notify("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": "untitled:Untitled-1",
		"languageId": "stepflow", "version": 1, "text": text}})
	p := e.at("main.hcl", text, "= stage.")
	p["textDocument"] = map[string]any{"uri": "untitled:Untitled-1"}
	var got completionList
	e.call("textDocument/completion", p, &got)
	if list := labels(got.Items); len(list) != 1 || list[0] != "a" {
		t.Errorf("%q", list)
	}
}
