package remote

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"stepflow/fineweb/web"
	"stepflow/foreign"
	"stepflow/runtime/state"
)

// Variables of the environment that say how an HTTP backend is asked; they are those of Terraform's http backend, under
// our name.
const (
	userVariable         = "STEPFLOW_HTTP_USERNAME"
	passwordVariable     = "STEPFLOW_HTTP_PASSWORD"
	lockAddressVariable  = "STEPFLOW_HTTP_LOCK_ADDRESS"
	unlockAddrVariable   = "STEPFLOW_HTTP_UNLOCK_ADDRESS"
	lockMethodVariable   = "STEPFLOW_HTTP_LOCK_METHOD"
	unlockMethodVariable = "STEPFLOW_HTTP_UNLOCK_METHOD"
	updateMethodVariable = "STEPFLOW_HTTP_UPDATE_METHOD"
)

// server holds a state behind an address by Terraform's protocol: GET and POST of the state, LOCK and UNLOCK with the
// lock's JSON. The protocol has no conditional writes, so a write is preceded by a look at what is there, and bears the
// lock's ID, which the server checks.
type server struct {
	address      string
	lock, unlock string // addresses

	lockMethod, unlockMethod, updateMethod string

	user, password string

	client http.Client
	mu     sync.Mutex
	id     string // of the lock that is held
	info   []byte // its JSON
}

func openHTTP(address string, getenv func(string) string) (state.Backend, error) {
	s := &server{address: address, lock: cmp.Or(getenv(lockAddressVariable), address),
		unlock: cmp.Or(getenv(unlockAddrVariable), getenv(lockAddressVariable), address),

		lockMethod:   cmp.Or(getenv(lockMethodVariable), "LOCK"),
		unlockMethod: cmp.Or(getenv(unlockMethodVariable), "UNLOCK"),
		updateMethod: cmp.Or(getenv(updateMethodVariable), http.MethodPost),

		user: getenv(userVariable), password: getenv(passwordVariable)}
	for _, a := range []string{address, s.lock, s.unlock} {
		u, err := url.Parse(a)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			return nil, fmt.Errorf("%s is not the address of a state: write https://HOST/PATH", web.Show(a))
		case u.User != nil || u.RawQuery != "" || u.Fragment != "":
			return nil, fmt.Errorf("%s: the address of a state has no user, password or query, since it is shown and "+
				"kept: set %s and %s", web.Show(a), userVariable, passwordVariable)
		}
	}
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s, nil
}

func (s *server) String() string { return s.address }

// tries and pause are how often a server is asked that does not answer, or not yet.
const tries = 5

var pause = 500 * time.Millisecond

// ask sends a request until there is an answer, and returns its status and its body. An answer that means
// "later" does not count.
func (s *server) ask(ctx context.Context, method, address string, body []byte) (status int, answer []byte, err error) {
	wait := pause
	for try := 1; ; try++ {
		status, answer, err = s.once(ctx, method, address, body)
		later := err != nil || status >= 500 || status == http.StatusTooManyRequests
		switch {
		case ctx.Err() != nil:
			return 0, nil, fmt.Errorf("%s: %w", web.Show(address), ctx.Err())
		case !later:
			return status, answer, nil
		case try == tries && err != nil:
			return 0, nil, fmt.Errorf("%w: %w", web.ErrUnreachable, err)
		case try == tries:
			return 0, nil, fmt.Errorf("%w: %w", web.ErrUnreachable, s.refused(method, status, answer))
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait *= 2
	}
}

func (s *server) once(ctx context.Context, method, address string, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		sum := md5.Sum(body)
		q.Header.Set("Content-Type", "application/json")
		q.Header.Set("Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
	}
	if s.user != "" {
		q.SetBasicAuth(s.user, s.password)
	}
	r, err := s.client.Do(q)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) { // whose text shows the whole address
			err = at.Err
		}
		return 0, nil, fmt.Errorf("%s: %w", web.Show(address), err)
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(r.Body, mostState+1))
	if err == nil && len(answer) > mostState {
		err = fmt.Errorf("the answer has more than %d bytes", mostState)
	}
	if want := r.Header.Get("Content-MD5"); err == nil && want != "" && r.StatusCode == http.StatusOK {
		if sum := md5.Sum(answer); base64.StdEncoding.EncodeToString(sum[:]) != want {
			err = fmt.Errorf("the answer does not have the checksum that the server gives")
		}
	}
	return r.StatusCode, answer, err
}

// refused says what an answer that was not expected means.
func (s *server) refused(method string, status int, answer []byte) error {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: the server refuses (%d): set %s and %s to an account that may read and write there",
			s.address, status, userVariable, passwordVariable)
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return fmt.Errorf("%s: the server does not know %s (%d): set the method or the address that it has for that "+
			"(%s, %s, %s, …), or -lock=false where nobody else runs", s.address, method, status, lockAddressVariable,
			lockMethodVariable, updateMethodVariable)
	}
	if status >= 300 && status < 400 {
		return fmt.Errorf("%s: the server sends on to another address (%d), and credentials do not go there: name "+
			"that one",
			s.address, status)
	}
	text := http.StatusText(status)
	if len(answer) > 0 {
		text += ": " + foreign.ShownStart(string(answer), 200)
	}
	return fmt.Errorf("%s: the server answers %s with %d %s", s.address, method, status, text)
}

// Get returns the state, and as its version its hash.
func (s *server) Get(ctx context.Context) ([]byte, string, error) {
	status, b, err := s.ask(ctx, http.MethodGet, s.address, nil)
	switch {
	case err != nil:
		return nil, "", err
	case status == http.StatusNotFound || status == http.StatusNoContent || status == http.StatusOK && len(b) == 0:
		return nil, "", nil
	case status != http.StatusOK:
		return nil, "", s.refused(http.MethodGet, status, b)
	}
	return b, version(b), nil
}

func version(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Put writes the state, after a look whether it is still the one of this version.
func (s *server) Put(ctx context.Context, b []byte, was string) (string, error) {
	_, is, err := s.Get(ctx)
	if err != nil {
		return "", err
	}
	if is != was {
		return "", fmt.Errorf("%s: %w", s, state.ErrReplaced)
	}
	address := s.address
	s.mu.Lock()
	if s.id != "" {
		address += "?" + url.Values{"ID": {s.id}}.Encode()
	}
	s.mu.Unlock()
	status, answer, err := s.ask(ctx, s.updateMethod, address, b)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusConflict || status == http.StatusLocked:
		return "", fmt.Errorf("%s: the lock is lost: %w", s, state.ErrReplaced)
	case status != http.StatusOK && status != http.StatusCreated && status != http.StatusNoContent:
		return "", s.refused(s.updateMethod, status, answer)
	}
	return version(b), nil
}

// Lock takes the lock.
func (s *server) Lock(ctx context.Context, l *state.LockInfo) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	status, answer, err := s.ask(ctx, s.lockMethod, s.lock, text)
	switch {
	case err != nil:
		return err
	case status == http.StatusLocked || status == http.StatusConflict:
		return &state.HeldError{Backend: s.address, Lock: *lockInfo(answer)}
	case status != http.StatusOK && status != http.StatusCreated && status != http.StatusNoContent:
		return s.refused(s.lockMethod, status, answer)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.info = l.ID, text
	return nil
}

// Held returns nothing: the protocol cannot be asked who has the lock.
func (s *server) Held(context.Context) (*state.LockInfo, error) { return nil, nil }

// Unlock gives the lock back.
func (s *server) Unlock(ctx context.Context, id string) error {
	s.mu.Lock()
	text := s.info
	if s.id != id {
		text, _ = json.Marshal(state.LockInfo{ID: id})
	}
	s.mu.Unlock()
	status, answer, err := s.ask(ctx, s.unlockMethod, s.unlock, text)
	switch {
	case err != nil:
		return err
	case status == http.StatusConflict || status == http.StatusLocked:
		return &state.HeldError{Backend: s.address, Lock: *lockInfo(answer)}
	case status != http.StatusOK && status != http.StatusNoContent && status != http.StatusNotFound:
		return s.refused(s.unlockMethod, status, answer)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.info = "", nil
	return nil
}
