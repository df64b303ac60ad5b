package lsp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/handler"
)

// Options says how a server works.
type Options struct {
	Env     []string // KEY=value; variables of pipelines may get their values there
	Version string   // of the program, for the editor
}

// session is a connection to an editor.
type session struct {
	options Options
	rpc     *jrpc2.Server
	ended   chan struct{} // closed when the editor says exit

	mu       sync.Mutex // held while a message is dealt with
	ready    bool       // the editor has introduced itself
	down     bool       // the editor has asked to shut down
	encoding string
	snippets bool // the editor can fill in places of a completion
	watches  bool // the editor can tell of changes on disk
	roots    []string
	open     map[string]*file        // texts of the editor, by path
	disk     map[string]onDisk       // other files that were read, by path
	folders  map[string]*folder      // folders of open files, by path
	told     map[string][]Diagnostic // what the editor knows to be wrong, by path
}

// newSession returns a session without a connection.
func newSession(o Options) *session {
	return &session{options: o, ended: make(chan struct{}), encoding: inUTF16, open: map[string]*file{},
		disk: map[string]onDisk{}, folders: map[string]*folder{}, told: map[string][]Diagnostic{}}
}

// Serve answers an editor until it says exit, the input ends, or ctx does. clean is false if the editor says exit
// without having asked to shut down.
func Serve(ctx context.Context, in io.Reader, out io.Writer, o Options) (clean bool, err error) {
	s := newSession(o)
	s.rpc = jrpc2.NewServer(s.methods(), &jrpc2.ServerOptions{AllowPush: true, DisableBuiltin: true, Concurrency: 1})
	s.rpc.Start(newWire(in, out))
	stopped := make(chan error, 1)
	go func() { stopped <- s.rpc.Wait() }()
	select {
	case err = <-stopped:
	case <-ctx.Done():
	case <-s.ended: // the input may stay open
	}
	s.stopTimers()
	select {
	case <-s.ended:
		return s.isDown(), err
	default:
		return true, err
	}
}

// methods is the table of the messages that the server understands.
func (s *session) methods() handler.Map {
	return handler.Map{
		"initialize":      request(s, s.initialize),
		"initialized":     notice(s, s.initialized),
		"shutdown":        request(s, s.shutdown),
		"exit":            s.exit,
		"$/cancelRequest": cancel,

		"textDocument/didOpen":                notice(s, s.didOpen),
		"textDocument/didChange":              notice(s, s.didChange),
		"textDocument/didClose":               notice(s, s.didClose),
		"textDocument/didSave":                notice(s, s.didSave),
		"workspace/didChangeWatchedFiles":     notice(s, s.didChangeFiles),
		"workspace/didChangeWorkspaceFolders": notice(s, s.didChangeFolders),

		"textDocument/hover":             request(s, s.hover),
		"textDocument/completion":        request(s, s.completion),
		"textDocument/signatureHelp":     request(s, s.signatureHelp),
		"textDocument/definition":        request(s, s.definition),
		"textDocument/references":        request(s, s.references),
		"textDocument/documentHighlight": request(s, s.highlight),
		"textDocument/documentSymbol":    request(s, s.documentSymbols),
		"workspace/symbol":               request(s, s.workspaceSymbols),
		"textDocument/foldingRange":      request(s, s.folding),
		"textDocument/formatting":        request(s, s.formatting),
		"textDocument/prepareRename":     request(s, s.prepareRename),
		"textDocument/rename":            request(s, s.rename),
		"textDocument/codeAction":        request(s, s.codeActions),
	}
}

// Codes of errors that the protocol adds to those of JSON-RPC.
const (
	notInitialized   jrpc2.Code = -32002
	requestFailed    jrpc2.Code = -32803
	requestCancelled jrpc2.Code = -32800
)

// request returns the handler of a message that has an answer.
func request[P, R any](s *session, answer func(P) (R, error)) jrpc2.Handler {
	return func(ctx context.Context, r *jrpc2.Request) (any, error) {
		var p P
		if err := decode(r, &p); err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		switch first := r.Method() == "initialize"; {
		case ctx.Err() != nil:
			return nil, jrpc2.Errorf(requestCancelled, "the request was cancelled")
		case !s.ready && !first:
			return nil, jrpc2.Errorf(notInitialized, "the first request is initialize")
		case s.down, s.ready && first:
			return nil, jrpc2.Errorf(jrpc2.InvalidRequest, "%s cannot be asked now", r.Method())
		}
		return answer(p)
	}
}

// notice returns the handler of a message without an answer.
func notice[P any](s *session, take func(P)) jrpc2.Handler {
	return func(_ context.Context, r *jrpc2.Request) (any, error) {
		var p P
		if err := decode(r, &p); err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ready && !s.down {
			take(p)
		}
		return nil, nil
	}
}

// decode reads the parameters of a message, which may have none.
func decode(r *jrpc2.Request, p any) error {
	if !r.HasParams() {
		return nil
	}
	if err := json.Unmarshal([]byte(r.ParamString()), p); err != nil {
		return jrpc2.Errorf(jrpc2.InvalidParams, "%s: %v", r.Method(), err)
	}
	return nil
}

// cancel ends a request that needs no answer any more.
func cancel(ctx context.Context, r *jrpc2.Request) (any, error) {
	var p cancelParams
	if err := decode(r, &p); err != nil {
		return nil, err
	}
	jrpc2.ServerFromContext(ctx).CancelRequest(string(p.ID))
	return nil, nil
}

func (s *session) initialize(p initializeParams) (any, error) {
	s.ready = true
	if slices.Contains(p.Capabilities.General.PositionEncodings, inUTF8) {
		s.encoding = inUTF8
	}
	s.snippets = p.Capabilities.TextDocument.Completion.CompletionItem.SnippetSupport
	s.watches = p.Capabilities.Workspace.DidChangeWatchedFiles.DynamicRegistration
	for _, f := range p.WorkspaceFolders {
		s.roots = append(s.roots, pathOf(f.URI))
	}
	if len(s.roots) == 0 && p.RootURI != "" {
		s.roots = []string{pathOf(p.RootURI)}
	}
	return map[string]any{
		"serverInfo": map[string]string{"name": "stepflow", "version": s.options.Version},
		"capabilities": map[string]any{
			"positionEncoding":           s.encoding,
			"textDocumentSync":           map[string]any{"openClose": true, "change": 2, "save": true},
			"hoverProvider":              true,
			"completionProvider":         map[string]any{"triggerCharacters": []string{".", "\"", "{"}},
			"signatureHelpProvider":      map[string]any{"triggerCharacters": []string{"(", ","}},
			"definitionProvider":         true,
			"referencesProvider":         true,
			"documentHighlightProvider":  true,
			"documentSymbolProvider":     true,
			"workspaceSymbolProvider":    true,
			"foldingRangeProvider":       true,
			"documentFormattingProvider": true,
			"renameProvider":             map[string]any{"prepareProvider": true},
			"codeActionProvider":         map[string]any{"codeActionKinds": []string{quickFix}},
			"workspace": map[string]any{
				"workspaceFolders": map[string]any{"supported": true, "changeNotifications": true}},
		},
	}, nil
}

// initialized asks the editor to tell of files that change on disk.
func (s *session) initialized(struct{}) {
	if !s.watches {
		return
	}
	watched := []map[string]string{{"globPattern": "**/*.hcl"}, {"globPattern": "**/*.vars.json"}}
	go func() { // the answer comes after this message is dealt with
		_, _ = s.rpc.Callback(context.Background(), "client/registerCapability", map[string]any{
			"registrations": []any{map[string]any{"id": "files", "method": "workspace/didChangeWatchedFiles",
				"registerOptions": map[string]any{"watchers": watched}}}}) // without it, changes on disk are seen later
	}()
}

func (s *session) shutdown(struct{}) (any, error) {
	s.down = true
	return nil, nil
}

// isDown reports whether the editor has asked to shut down.
func (s *session) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// exit ends the server.
func (s *session) exit(context.Context, *jrpc2.Request) (any, error) {
	select {
	case <-s.ended:
	default:
		close(s.ended)
	}
	return nil, nil
}

// refuse is the error of a request that cannot be met, with the reason.
func refuse(format string, args ...any) error {
	return jrpc2.Errorf(requestFailed, "%s", fmt.Sprintf(format, args...))
}
