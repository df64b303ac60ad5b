// Package remotetest is a server in memory that speaks Terraform's HTTP protocol for states, and holds its clients to
// it.
package remotetest

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
)

// Server holds one state, at any path.
type Server struct {
	User, Password string // that clients must give; "" for none
	// Before, if set, is called before a request is served; a status other than 0 is the answer.
	Before func(method string) (status int)

	mu     sync.Mutex
	state  []byte
	lock   []byte // JSON of its holder
	served *httptest.Server
}

// New starts a server without a state. Close ends it.
func New() *Server {
	s := &Server{}
	s.served = httptest.NewServer(s)
	return s
}

// URL is the address of the state.
func (s *Server) URL() string { return s.served.URL + "/state/tiny" }

// Close ends the server.
func (s *Server) Close() {
	s.served.CloseClientConnections()
	s.served.Close()
}

// State returns the state; nil if there is none.
func (s *Server) State() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.state)
}

// SetState makes b the state.
func (s *Server) SetState(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = b
}

// Holder returns the JSON of the lock; nil if nobody has it.
func (s *Server) Holder() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.lock)
}

func (s *Server) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	sum := md5.Sum(body)
	user, password, _ := q.BasicAuth()
	if s.Before != nil {
		if status := s.Before(q.Method); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case user != s.User || password != s.Password:
		w.WriteHeader(http.StatusUnauthorized)
	case err != nil || len(body) > 0 && q.Header.Get("Content-MD5") != base64.StdEncoding.EncodeToString(sum[:]):
		http.Error(w, "the body does not have its checksum", http.StatusBadRequest)
	case len(body) > 0 && !json.Valid(body):
		http.Error(w, "the body is not JSON", http.StatusBadRequest)
	case q.Method == http.MethodGet && s.state == nil:
		w.WriteHeader(http.StatusNotFound)
	case q.Method == http.MethodGet:
		w.Write(s.state)
	case q.Method == http.MethodPost && id(s.lock) != "" && q.URL.Query().Get("ID") != id(s.lock):
		w.WriteHeader(http.StatusLocked)
		w.Write(s.lock)
	case q.Method == http.MethodPost:
		s.state = body
	case q.Method == "LOCK" && id(body) == "":
		http.Error(w, "the lock has no ID", http.StatusBadRequest)
	case q.Method == "LOCK" && s.lock != nil:
		w.WriteHeader(http.StatusLocked)
		w.Write(s.lock)
	case q.Method == "LOCK":
		s.lock = body
	case q.Method == "UNLOCK" && s.lock != nil && id(body) != id(s.lock):
		w.WriteHeader(http.StatusConflict)
		w.Write(s.lock)
	case q.Method == "UNLOCK":
		s.lock = nil
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
		fmt.Fprintln(w, q.Method)
	}
}

// id is the ID in the JSON of a lock.
func id(lock []byte) string {
	var l struct{ ID string }
	json.Unmarshal(lock, &l)
	return l.ID
}
