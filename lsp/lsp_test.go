package lsp

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creachadair/jrpc2"
)

// editor is a client of a server in the same process.
type editor struct {
	t       testing.TB
	dir     string
	client  *jrpc2.Client
	wrong   chan publishDiagnosticsParams
	kept    []publishDiagnosticsParams // that were not asked for yet
	done    chan bool                  // whether the server ended clean
	version int
}

// newEditor starts a server for a folder with files, and opens those whose names do not start with disk/.
func newEditor(t testing.TB, files map[string]string, capabilities string) *editor {
	t.Helper()
	e := &editor{t: t, dir: t.TempDir(), wrong: make(chan publishDiagnosticsParams, 1000), done: make(chan bool, 1)}
	e.start(capabilities)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		disk, onDisk := strings.CutPrefix(name, "disk/")
		e.write(disk, files[name])
		if !onDisk {
			e.open(name, files[name])
		}
	}
	return e
}

// start connects the editor with a new server.
func (e *editor) start(capabilities string) {
	fromServer, toEditor := io.Pipe()
	fromEditor, toServer := io.Pipe()
	go func() {
		clean, err := Serve(context.Background(), fromEditor, toEditor, Options{Version: "test"})
		if err != nil {
			e.t.Error(err)
		}
		toEditor.Close()
		e.done <- clean
	}()
	e.client = jrpc2.NewClient(newWire(fromServer, toServer), &jrpc2.ClientOptions{
		OnNotify: func(r *jrpc2.Request) {
			var p publishDiagnosticsParams
			if err := r.UnmarshalParams(&p); err != nil || r.Method() != "textDocument/publishDiagnostics" {
				e.t.Errorf("%s: %v", r.Method(), err)
			}
			e.wrong <- p
		},
		OnCallback: func(context.Context, *jrpc2.Request) (any, error) { return nil, nil },
	})
	e.t.Cleanup(func() {
		toServer.Close()
		<-e.done
		e.client.Close()
	})
	if capabilities == "" {
		capabilities = "{}"
	}
	e.call("initialize", map[string]any{"rootUri": uriOf(e.dir), "capabilities": json.RawMessage(capabilities)}, nil)
	e.notify("initialized", map[string]any{})
}

func (e *editor) write(name, text string) {
	e.t.Helper()
	path := filepath.Join(e.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		e.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		e.t.Fatal(err)
	}
}

func (e *editor) uri(name string) string { return uriOf(filepath.Join(e.dir, name)) }

func (e *editor) open(name, text string) {
	e.notify("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": e.uri(name),
		"languageId": "stepflow", "version": 1, "text": text}})
}

// change replaces the text of a file.
func (e *editor) change(name, text string) {
	e.version++
	e.notify("textDocument/didChange", map[string]any{
		"textDocument":   map[string]any{"uri": e.uri(name), "version": e.version + 1},
		"contentChanges": []any{map[string]any{"text": text}}})
}

func (e *editor) notify(method string, params any) {
	e.t.Helper()
	if err := e.client.Notify(context.Background(), method, params); err != nil {
		e.t.Fatal(method, err)
	}
}

func (e *editor) call(method string, params, result any) {
	e.t.Helper()
	if err := e.ask(method, params, result); err != nil {
		e.t.Fatal(method, err)
	}
}

func (e *editor) ask(method string, params, result any) error {
	r, err := e.client.Call(context.Background(), method, params)
	if err != nil || result == nil {
		return err
	}
	return r.UnmarshalResult(result)
}

// at returns the parameters of a request about the place in a file that comes after a text.
func (e *editor) at(name, text, after string) map[string]any {
	e.t.Helper()
	i := strings.Index(text, after)
	if i < 0 {
		e.t.Fatalf("%s has no %q", name, after)
	}
	return map[string]any{"textDocument": map[string]any{"uri": e.uri(name)},
		"position": newText([]byte(text), inUTF16).position(i + len(after))}
}

// diagnostics waits until the server says what is wrong in a file. What it says of others is kept for later: the client
// hands on messages that arrive at once in any order.
func (e *editor) diagnostics(name string) []Diagnostic {
	e.t.Helper()
	if i := slices.IndexFunc(e.kept, func(p publishDiagnosticsParams) bool { return p.URI == e.uri(name) }); i >= 0 {
		p := e.kept[i]
		e.kept = slices.Delete(e.kept, i, i+1)
		return p.Diagnostics
	}
	for {
		select {
		case p := <-e.wrong:
			if p.URI == e.uri(name) {
				return p.Diagnostics
			}
			e.kept = append(e.kept, p)
		case <-time.After(10 * time.Second):
			e.t.Fatal("no diagnostics of " + name)
		}
	}
}

// apply returns a text with edits applied.
func apply(src string, edits []TextEdit) string {
	x := newText([]byte(src), inUTF16)
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b TextEdit) int { return x.offset(b.Range.Start) - x.offset(a.Range.Start) })
	for _, e := range edits {
		src = src[:x.offset(e.Range.Start)] + e.NewText + src[x.offset(e.Range.End):]
	}
	return src
}

// labels returns what completions are called, in their order.
func labels(list []CompletionItem) (names []string) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b CompletionItem) int { return strings.Compare(a.SortText, b.SortText) })
	for _, x := range list {
		names = append(names, x.Label)
	}
	return names
}
