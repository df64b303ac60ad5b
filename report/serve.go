package report

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Server serves the page of a run while it goes on: / is the page, /events its data as server-sent events, each time
// they changed. It only reads what the run writes to disk, so nothing it does can hold the run up.
type Server struct {
	URL    string
	server *http.Server
	local  bool
	mu     sync.Mutex // of make
	make   func() (*Page, error)
	done   chan struct{}
	once   sync.Once
}

// pushEvery is how often the page is looked at anew.
const pushEvery = time.Second

// Serve listens on an address such as ":8080": on loopback unless a host is named.
func Serve(address string, read func() (*Page, error)) (*Server, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("-ui takes an address such as :8080 or 0.0.0.0:8080: %w", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("serving the page: %w; -ui takes another port, :0 a free one", err)
	}
	s := &Server{URL: "http://" + l.Addr().String(), make: read, done: make(chan struct{}), local: l.Addr().(*net.TCPAddr).IP.IsLoopback()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /events", s.events)
	s.server = &http.Server{Handler: s.guard(mux), ReadHeaderTimeout: 5 * time.Second}
	go s.server.Serve(l)
	return s, nil
}

// guard refuses names that are not this machine's where only it may look: a page elsewhere could have its name lead here.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Host
		if h, _, err := net.SplitHostPort(name); err == nil {
			name = h
		}
		if ip := net.ParseIP(strings.Trim(name, "[]")); s.local && name != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "this page is for this machine alone", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func (s *Server) read() (*Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.make()
	if err != nil {
		return nil, err
	}
	p.Live = true
	return p, nil
}

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	p, err := s.read()
	var b []byte
	if err == nil {
		b, err = p.HTML()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b)
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	var last []byte
	for ended := false; ; {
		p, err := s.read()
		var b []byte
		if err == nil {
			b, err = json.Marshal(p)
		}
		switch {
		case err != nil: // half-written files are whole a moment later
			fmt.Fprintf(w, ": %s\n\n", strings.ReplaceAll(err.Error(), "\n", " "))
		case !bytes.Equal(b, last):
			last = b
			fmt.Fprintf(w, "data: %s\n\n", b)
		}
		if ended {
			fmt.Fprint(w, "event: end\ndata: {}\n\n")
		}
		if c.Flush() != nil || ended {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.done: // once more: what the run wrote last
			ended = true
		case <-time.After(pushEvery):
		}
	}
}

// Close sends the last data and ends.
func (s *Server) Close() error {
	s.once.Do(func() { close(s.done) })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return s.server.Shutdown(ctx)
}
