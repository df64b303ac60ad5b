package report

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// Server serves the page of a run while it goes on: / is the page, /events its data as server-sent events, each time
// they changed. It only reads what the run writes to disk, and its clients are few and may not dawdle, so nothing they
// do can hold the run up or take its descriptors.
type Server struct {
	URL    string // what to open; elsewhere than on loopback it has the token in it
	server *http.Server
	token  string // that every request must bring; "" on loopback
	cookie string // that brings it
	turns  chan struct{}
	done   chan struct{}
	once   sync.Once

	mu   sync.Mutex // of what follows
	make func() (*Page, error)
	data []byte // the last page as JSON, and when it was read
	at   time.Time
}

// pushEvery is how often the page is looked at.
const pushEvery = time.Second

// Bounds of what clients may take.
const (
	connections = 24 // others wait to be accepted
	watchers    = 16 // of /events; others are told so
	patience    = 5 * time.Second
	headerBytes = 16 << 10
)

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
	at := l.Addr().(*net.TCPAddr)
	s := &Server{URL: "http://" + net.JoinHostPort(host, strconv.Itoa(at.Port)), make: read,
		turns: make(chan struct{}, watchers), done: make(chan struct{})}
	if !at.IP.IsLoopback() {
		s.token, s.cookie = rand.Text(), fmt.Sprintf("stepflow-%d", at.Port)
		s.URL += "/?token=" + s.token
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /events", s.events)
	s.server = &http.Server{Handler: s.guard(mux), ReadTimeout: patience, WriteTimeout: 2 * patience,
		IdleTimeout: patience, MaxHeaderBytes: headerBytes, ErrorLog: log.New(io.Discard, "", 0)}
	go s.server.Serve(netutil.LimitListener(l, connections))
	return s, nil
}

// guard lets in who may look: on loopback whoever speaks to this machine by one of its own names, since a page
// elsewhere could have another name lead here; at other addresses whoever has the token.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; " +
				"img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store"} {
			w.Header().Set(name, value)
		}
		switch {
		case s.token == "" && !loopback(r.Host):
			http.Error(w, "this page is for this machine alone: open it as "+s.URL, http.StatusForbidden)
			return
		case s.token != "" && !s.knows(r):
			http.Error(w, "this page is opened with its token: use the address that apply printed",
				http.StatusForbidden)
			return
		}
		if s.token != "" {
			http.SetCookie(w, &http.Cookie{Name: s.cookie, Value: s.token, Path: "/", HttpOnly: true,
				SameSite: http.SameSiteStrictMode})
		}
		next.ServeHTTP(w, r)
	})
}

// knows reports whether a request brings the token, in its query or in the cookie. The time it takes reveals nothing.
func (s *Server) knows(r *http.Request) bool {
	given := []string{r.URL.Query().Get("token")}
	if c, err := r.Cookie(s.cookie); err == nil {
		given = append(given, c.Value)
	}
	for _, g := range given {
		if subtle.ConstantTimeCompare([]byte(g), []byte(s.token)) == 1 {
			return true
		}
	}
	return false
}

// loopback reports whether a Host header names this machine's loopback, however it is written.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761, section 6.3
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	// IPv4 as inet_aton reads it: fewer parts, the last of which fills the rest; in octal and hexadecimal too.
	parts := strings.Split(host, ".")
	var ip uint64
	for i, p := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (4 - i)
		}
		n, err := strconv.ParseUint(p, 0, max(bits, 1))
		if err != nil || bits <= 0 {
			return false
		}
		ip = ip<<bits | n
	}
	return ip>>24 == 127
}

// read makes the page. The caller has the lock.
func (s *Server) read() (*Page, error) {
	p, err := s.make()
	if err != nil {
		return nil, err
	}
	p.Live = true
	return p, nil
}

// latest is the page as JSON, read once for all that look at about the same time; fresh asks for it as it is now.
func (s *Server) latest(fresh bool) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !fresh && time.Since(s.at) < pushEvery/2 {
		return s.data, nil
	}
	p, err := s.read()
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(p)
	if err == nil {
		s.data, s.at = b, time.Now()
	}
	return b, err
}

func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	p, err := s.read()
	s.mu.Unlock()
	var b []byte
	if err == nil {
		b, err = p.HTML()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	out, _ := compressed(w, r)
	out.Write(b)
	if z, ok := out.(io.Closer); ok {
		z.Close()
	}
}

// compressed writes an answer compressed, for clients that take that: a run's data shrink to a third, and every second
// they may be sent again. flush sends what was written.
func compressed(w http.ResponseWriter, r *http.Request) (out io.Writer, flush func() error) {
	c := http.NewResponseController(w)
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		return w, c.Flush
	}
	w.Header().Set("Content-Encoding", "gzip")
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
	return z, func() error { return errors.Join(z.Flush(), c.Flush()) }
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	default:
		w.Header().Set("Connection", "close")
		w.Header().Set("Retry-After", "10")
		http.Error(w, fmt.Sprintf("%d pages watch this run already: close one of them", watchers),
			http.StatusServiceUnavailable)
		return
	}
	c := http.NewResponseController(w)
	if c.SetReadDeadline(time.Time{}) != nil { // nothing more is to come
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out, flush := compressed(w, r)
	var last []byte
	for ended := false; ; {
		b, err := s.latest(ended)
		if c.SetWriteDeadline(time.Now().Add(patience)) != nil {
			return
		}
		switch {
		case err != nil: // half-written files are whole a moment later
			fmt.Fprintf(out, ": %s\n\n", strings.ReplaceAll(err.Error(), "\n", " "))
		case !bytes.Equal(b, last):
			last = b
			fmt.Fprintf(out, "data: %s\n\n", b)
		}
		if ended {
			fmt.Fprint(out, "event: end\ndata: {}\n\n")
		}
		if flush() != nil || ended {
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
	return errors.Join(s.server.Shutdown(ctx), s.server.Close())
}
