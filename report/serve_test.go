package report

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, address string) *Server {
	t.Helper()
	reader := NewReader(sampleRun(t, 20))
	s, err := Serve(address, func() (*Page, error) {
		r, err := reader.Read()
		return NewPage("live", r), err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestLoopbackNames(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "localhost.": true, "run.localhost": true, "127.0.0.1": true, "127.0.0.2": true, "127.1": true, "127.0.1": true, "2130706433": true,
		"0x7f.1": true, "0177.0.0.1": true, "[::1]": true, "[::ffff:127.0.0.1]": true, "[::ffff:7f00:1]": true, "[0:0:0:0:0:0:0:1]": true, "[::1%25lo]": true,
		"": false, "example.org": false, "localhost.example.org": false, "127.0.0.1.example.org": false, "notlocalhost": false, "128.1": false, "127": false, "0.0.0.0": false, "10.0.0.1": false,
		"[::]": false, "[::ffff:10.0.0.1]": false, "127.0.0.1.1": false, "127.0.0.256": false, "127.": false, "127..1": false, ".": false, "1.2.3.4.5.6.7": false, "99999999999999999999": false,
	} {
		for _, h := range []string{host, host + ":8080"} {
			if got := loopback(h); got != want {
				t.Errorf("%q: %t", h, got)
			}
		}
	}
	for _, bare := range []string{"::1", "::ffff:127.0.0.1"} { // without brackets
		if !loopback(bare) {
			t.Error(bare)
		}
	}
}

func TestServedHeaders(t *testing.T) {
	r, err := http.Get(serve(t, ":0").URL)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	for name, want := range map[string]string{"Content-Security-Policy": "frame-ancestors 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
		if !strings.Contains(r.Header.Get(name), want) {
			t.Errorf("%s: %q", name, r.Header.Get(name))
		}
	}
}

// Elsewhere than on loopback a request brings the token, by the address that was printed or by the cookie it gave.
func TestToken(t *testing.T) {
	s, other := serve(t, "0.0.0.0:0"), serve(t, "0.0.0.0:0")
	u, err := url.Parse(s.URL)
	if err != nil || len(s.token) < 20 || u.Query().Get("token") != s.token || s.token == other.token {
		t.Fatalf("%s, then %s", s.URL, other.URL)
	}
	at := "http://127.0.0.1:" + u.Port()
	get := func(path, host string, cookie *http.Cookie) *http.Response {
		q, _ := http.NewRequest("GET", at+path, nil)
		q.Host = host
		if cookie != nil {
			q.AddCookie(cookie)
		}
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r
	}
	r := get("/?token="+s.token, "gpu7.example.org", nil)
	if r.StatusCode != http.StatusOK || len(r.Cookies()) != 1 || !r.Cookies()[0].HttpOnly || r.Cookies()[0].SameSite != http.SameSiteStrictMode {
		t.Fatalf("with the token: %d, %v", r.StatusCode, r.Cookies())
	}
	if c := r.Cookies()[0]; get("/", "gpu7.example.org", c).StatusCode != http.StatusOK {
		t.Error("the cookie is not taken")
	}
	for _, path := range []string{"/", "/events", "/?token=", "/?token=" + other.token, "/?token=" + s.token[1:], "/events?token=x"} {
		if r := get(path, "127.0.0.1", nil); r.StatusCode != http.StatusForbidden || len(r.Cookies()) > 0 {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	if r := get("/", "127.0.0.1", &http.Cookie{Name: s.cookie, Value: other.token}); r.StatusCode != http.StatusForbidden {
		t.Errorf("another's cookie: %d", r.StatusCode)
	}
}

// However many clients come and dawdle, the server holds a bounded number of connections, tells those who come too late,
// and serves again once they are gone.
func TestManyClients(t *testing.T) {
	s := serve(t, ":0")
	address := strings.TrimPrefix(s.URL, "http://")
	ask := func(text string) (net.Conn, string) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprint(c, text)
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		line, _ := bufio.NewReader(c).ReadString('\n')
		return c, line
	}
	const events = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
	var open []net.Conn
	for i := range watchers + 4 {
		c, line := ask(events)
		if want := map[bool]string{true: "200 OK", false: "503 Service Unavailable"}[i < watchers]; !strings.Contains(line, want) {
			t.Errorf("client %d is told %q", i, line)
		}
		open = append(open, c)
	}
	for range 100 { // that say nothing, and are given up
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if n := len(s.turns); n != watchers {
		t.Errorf("%d watchers", n)
	}
	for _, c := range open {
		c.Close()
	}
	for i := 0; ; i++ {
		if _, line := ask(events); strings.Contains(line, "200 OK") {
			break
		} else if i == 100 {
			t.Fatal("the places are never free again")
		}
		time.Sleep(100 * time.Millisecond)
	}
	if _, line := ask("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"); !strings.Contains(line, "431") {
		t.Errorf("a megabyte of header: %q", line)
	}
}

// A client that sends its request a byte at a time, or never ends it, is hung up on.
func TestSlowRequest(t *testing.T) {
	c, err := net.Dial("tcp", strings.TrimPrefix(serve(t, ":0").URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\n")
	c.SetReadDeadline(time.Now().Add(12 * patience))
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("it is kept: %v", err)
	}
}

// TestCompressed: the page is sent compressed to those who take it, and whole.
func TestCompressed(t *testing.T) {
	s := serve(t, ":0")
	get := func(encoding string) (sent int, text string) {
		q, _ := http.NewRequest("GET", s.URL, nil)
		q.Header.Set("Accept-Encoding", encoding) // so that the client leaves it as it comes
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Content-Encoding") != strings.TrimSuffix(encoding, "identity") {
			t.Fatalf("%q is answered with %q, %v", encoding, r.Header.Get("Content-Encoding"), err)
		}
		if encoding == "identity" {
			return len(b), string(b)
		}
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		whole, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		return len(b), string(whole)
	}
	small, a := get("gzip")
	large, b := get("identity")
	if a != b || small > large/2 {
		t.Errorf("%d bytes of %d, the same: %t", small, large, a == b)
	}
}
