//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

func networks() []act {
	return []act{
		{name: "network: a server that comes and goes", do: flapping},
		{name: "network: a server that changes its files", do: changing},
		{name: "network: SIGTERM while the server is gone", do: stopWithoutData},
		{name: "network: clients of -ui", do: clients},
	}
}

// server gives out the documents on loopback, below a path for each act, as that act wants it.
type server struct {
	url   string
	http  *http.Server
	files map[string][]byte

	mu    sync.Mutex
	moods map[string]mood
}

// mood answers a request instead of the server, or not: then it returns false.
type mood func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool

// padding makes the documents large, so that a run asks for them again and again.
const padding = 100 << 10

func newServer(dir string) (*server, error) {
	s := &server{files: map[string][]byte{}, moods: map[string]mood{}}
	list, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	pad := []byte(`,"pad":"` + strings.Repeat("x", padding) + `"}`)
	for _, path := range list {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		s.files[filepath.Base(path)] = bytes.ReplaceAll(b, []byte("}\n"), append(pad, '\n'))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.url = "http://" + l.Addr().String()
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve)}
	go s.http.Serve(l)
	return s, nil
}

func (s *server) close() { s.http.Close() }

func (s *server) set(who string, m mood) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moods[who] = m
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	who, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	s.mu.Lock()
	m := s.moods[who]
	s.mu.Unlock()
	body, ok := s.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"one"`)
	if m != nil && m(w, r, name, body) {
		return
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
}

// remote makes the act read its documents from the server. The path is one for all acts that do not set a mood.
func (t *trial) remote() {
	t.ref = t.lab.remote
	var list []string
	for _, i := range []int{0, 1, 2, 3} {
		list = append(list, fmt.Sprintf("%q", fmt.Sprintf("%s/%s/%d.jsonl", t.lab.server.url, t.who(), i)))
	}
	t.vars = []string{"-var", "source=[" + strings.Join(list, ", ") + "]"}
}

func (t *trial) who() string { return filepath.Base(t.dir) }

// hangUp ends a connection without an answer.
func hangUp(w http.ResponseWriter) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		c.Close()
	}
}

// flapping answers a share of the requests badly, and sometimes none for a while.
func flapping(t *trial) error {
	if err := t.begin(t.lab.starts[0]); err != nil {
		return err
	}
	t.remote()
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(t.rng.Uint64(), 1))
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	share := 5 + t.rng.IntN(30) // in a hundred
	t.note("the server fails %d of 100 requests", share)
	t.lab.server.set(t.who(), func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
		if draw(100) >= share {
			return false
		}
		switch draw(6) {
		case 0:
			http.Error(w, "later", http.StatusServiceUnavailable)
		case 1:
			w.Header().Set("Retry-After", "0")
			http.Error(w, "too many", http.StatusTooManyRequests)
		case 2:
			hangUp(w)
		case 3: // fewer bytes than announced
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(body)-1, len(body)))
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(body[:len(body)/3])
		case 4:
			time.Sleep(time.Duration(draw(400)) * time.Millisecond)
			return false
		case 5: // the wrong range
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 7-%d/%d", len(body)-1, len(body)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(body[7:])
		}
		return true
	})
	p := t.apply()
	if err := p.sane(); err != nil {
		return err
	}
	if p.code != 0 {
		if !strings.Contains(p.said(), "jsonl") {
			return fmt.Errorf("the error does not name the file: %s", first(p.said()))
		}
		t.detected = true
	}
	t.lab.server.set(t.who(), nil)
	return t.settle(expectation{had: t.kept()})
}

// changing serves other bytes under another entity tag from some request on.
func changing(t *trial) error {
	if err := t.begin(t.lab.starts[0]); err != nil {
		return err
	}
	t.remote()
	left := t.rng.IntN(40)
	t.note("the files change after %d requests", left)
	var mu sync.Mutex
	t.lab.server.set(t.who(), func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		if left--; left >= 0 {
			return false
		}
		w.Header().Set("ETag", `"two"`)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(bytes.ReplaceAll(body, []byte("a"), []byte("e"))))
		return true
	})
	p := t.apply()
	if err := p.sane(); err != nil {
		return err
	}
	if p.code != 0 {
		t.detected = true
		if s := p.said(); !strings.Contains(s, "change") {
			return fmt.Errorf("the error does not say that a file changed: %s", first(s))
		}
		// Nothing was wanted of the server any more, or the files were other ones from the start: ask again.
	} else if left < 0 {
		t.lab.server.set(t.who(), nil)
		return t.settleAfterChange()
	}
	t.lab.server.set(t.who(), nil)
	return t.settle(expectation{had: t.kept()})
}

// settleAfterChange goes on where a run may have been made whole of the other files: apply asks before it throws that
// away.
func (t *trial) settleAfterChange() error {
	p := t.apply()
	if err := p.sane(); err != nil {
		return err
	}
	if p.code != 0 {
		t.detected = true
		if p = t.apply("-auto-approve"); p.code != 0 {
			return fmt.Errorf("apply -auto-approve ends with %d: %s", p.code, first(p.said()))
		}
	} else if p.first[stages[0]] > 0 {
		return errors.New("the files changed back: finished stages were trained again without a question")
	}
	return t.same()
}

// stopWithoutData takes the server away in the middle of a run, and asks the run to end.
func stopWithoutData(t *trial) error {
	if err := t.begin(t.lab.starts[0]); err != nil {
		return err
	}
	t.remote()
	at := 1 + t.rng.IntN(stageSteps)
	stall := t.rng.IntN(2) == 0
	gone := make(chan struct{})
	struck := make(chan struct{})
	var once sync.Once
	var asked time.Time
	p := t.start(t.applyArgs(), func(p *proc, e event) {
		if e.Metrics.Step != at {
			return
		}
		once.Do(func() {
			t.lab.server.set(t.who(), func(w http.ResponseWriter, r *http.Request, name string, body []byte) bool {
				if stall {
					select {
					case <-gone:
					case <-r.Context().Done():
					}
				}
				hangUp(w)
				return true
			})
			go func() {
				defer close(struck)
				time.Sleep(time.Duration(t.rng.IntN(1500)) * time.Millisecond)
				asked = time.Now()
				p.interrupt([]syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}[t.rng.IntN(3)])
			}()
		})
	})
	p.wait()
	close(gone)
	once.Do(func() { close(struck) })
	<-struck
	t.lab.server.set(t.who(), nil)
	if err := errors.Join(p.sane(), t.outside()); err != nil {
		return err
	}
	if took := time.Since(asked); !asked.IsZero() && took > 20*time.Second {
		return fmt.Errorf("the run needed %s to end after it was asked to", took.Round(time.Second))
	}
	had := t.kept()
	if err := t.saved(blow{name: "the signal", graceful: true}, p, map[string]int{}, had); err != nil {
		return err
	}
	return t.settle(expectation{had: had})
}

var address = regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`)

// clients opens many bad connections to the page of a run that has few descriptors.
func clients(t *trial) error {
	if _, err := t.choose(false); err != nil {
		return err
	}
	p := t.limited("nofile=64", t.applyArgs("-ui", "127.0.0.1:0"), nil)
	var host string
	for range 2000 {
		if m := address.FindStringSubmatch(p.stderr()); m != nil {
			host = m[1]
			break
		}
		select {
		case <-p.ended:
		case <-time.After(time.Millisecond):
		}
	}
	var wait sync.WaitGroup
	if host != "" {
		for i := range 40 + t.rng.IntN(100) {
			kind, seed := t.rng.IntN(6), t.rng.Uint64()
			wait.Go(func() { client(host, kind, rand.New(rand.NewPCG(seed, uint64(i))), p.ended) })
		}
	}
	p.wait()
	wait.Wait()
	if err := p.sane(); err != nil {
		return err
	}
	if p.code != 0 {
		return fmt.Errorf("clients of the page ended the run with %d: %s", p.code, first(p.said()))
	}
	return t.settle(expectation{had: t.kept()})
}

// client opens one connection and behaves badly until the run ends.
func client(host string, kind int, rng *rand.Rand, ended chan struct{}) {
	c, err := net.DialTimeout("tcp", host, time.Second)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	switch kind {
	case 0: // says nothing
	case 1: // an event stream that nobody reads
		fmt.Fprintf(c, "GET /events HTTP/1.1\r\nHost: %s\r\n\r\n", host)
	case 2: // a header that does not end
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n", host)
		for {
			select {
			case <-ended:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if _, err := fmt.Fprintf(c, "X-%d: %d\r\n", rng.Int(), rng.Int()); err != nil {
				return
			}
		}
	case 3: // noise
		b := make([]byte, 1+rng.IntN(4000))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		c.Write(b)
		io.CopyN(io.Discard, c, 1000)
		return
	case 4: // pages, one after another
		for range 20 {
			if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
				return
			}
		}
	case 5: // a page, and away
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n")
		return
	}
	<-ended
}
