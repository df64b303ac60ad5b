package web

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// TestRedirectsCarryNoSecret sends a request with a secret in every place on to other origins, directly and over a
// third, and looks for the secret in what arrives.
func TestRedirectsCarryNoSecret(t *testing.T) {
	data := content(100)
	var mu sync.Mutex
	var got []*http.Request
	record := func(q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, q)
	}
	other := serve(t, data, func(_ http.ResponseWriter, q *http.Request) bool { record(q); return false })
	back := ""
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		record(q)
		http.Redirect(w, q, back, http.StatusFound)
	}))
	defer between.Close()
	target, fails := "", false
	first := serve(t, data, func(w http.ResponseWriter, q *http.Request) bool {
		if q.URL.Path == "/again" {
			record(q)
			return false
		}
		if fails = !fails; fails { // the request is sent again
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		http.Redirect(w, q, target, http.StatusTemporaryRedirect)
		return true
	})
	secrets := func(q *http.Request) error {
		for _, h := range []string{"Authorization", "Cookie", "X-Amz-Security-Token", "X-Amz-Content-Sha256", "X-Amz-Date", "X-Goog-Key", "Proxy-Authorization", "Referer", "X-Whatever"} {
			q.Header.Set(h, "SECRET")
		}
		return nil
	}
	port := func(s *httptest.Server) string { u, _ := url.Parse(s.URL); return u.Port() }
	for name, to := range map[string]string{
		"another port":        other.URL + "/f",
		"another name":        "http://localhost:" + port(other) + "/f",
		"relative to no host": "//127.0.0.1:" + port(other) + "/f",
		"over a third":        between.URL + "/x",
		"there and back":      between.URL + "/back",
	} {
		target, got = to, nil
		if back = other.URL + "/f"; name == "there and back" {
			back = first.URL + "/again"
		}
		c := &Client{Backoff: time.Millisecond}
		f, err := c.Open(context.Background(), strings.Replace(first.URL, "://", "://user:SECRET@", 1)+"/f?X-Amz-Signature=SECRET", secrets)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b := make([]byte, len(data))
		if _, err := f.ReadAt(b, 0); err != nil || !bytes.Equal(b, data) {
			t.Errorf("%s: %v", name, err)
		}
		if len(got) == 0 {
			t.Errorf("%s: nothing arrived", name)
		}
		for _, q := range got {
			var head bytes.Buffer
			q.Header.Write(&head)
			if strings.Contains(head.String(), "SECRET") || strings.Contains(q.URL.String(), "SECRET") || q.Header.Get("Authorization") != "" || q.Header.Get("Referer") != "" {
				t.Errorf("%s: %s arrives with\n%s", name, q.URL, head.String())
			}
			if q.Header.Get("Range") == "" {
				t.Errorf("%s: the range was lost", name)
			}
		}
	}
}

func TestRedirectsAtOneOriginKeepCredentials(t *testing.T) {
	data := content(100)
	var asked []string
	s := serve(t, data, func(w http.ResponseWriter, q *http.Request) bool {
		asked = append(asked, q.URL.Path+" "+q.Header.Get("Authorization")+q.Header.Get("Referer"))
		if q.URL.Path == "/a" {
			http.Redirect(w, q, "/b", http.StatusFound)
			return true
		}
		return false
	})
	if _, err := (&Client{}).Open(context.Background(), s.URL+"/a", func(q *http.Request) error { q.Header.Set("Authorization", "x"); return nil }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(asked, ", "); got != "/a x, /b x" {
		t.Error(got)
	}
}

func TestRedirectsEnd(t *testing.T) {
	asked := 0
	s := serve(t, nil, func(w http.ResponseWriter, q *http.Request) bool {
		asked++
		http.Redirect(w, q, "/", http.StatusFound)
		return true
	})
	if _, err := (&Client{}).Open(context.Background(), s.URL, nil); err == nil || !strings.Contains(err.Error(), "redirects more than 10 times") || asked != mostRedirects+1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// TestRepeatedKeys: a server that repeats what it was asked does not bring keys into messages.
func TestRepeatedKeys(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "no %s for %s, %q", q.URL, q.Header, strings.Repeat("ä", 500))
	}))
	t.Cleanup(s.Close)
	address := strings.Replace(s.URL, "http://", "http://user:pass-word@", 1) + "/a.parquet?X-Amz-Signature=qu%2Fery-key"
	token := base64.StdEncoding.EncodeToString([]byte("user:pass-word"))
	for _, auth := range []Auth{nil, func(q *http.Request) error {
		q.Header.Set("Authorization", "Bearer bearer-key")
		q.Header.Set("X-Amz-Security-Token", "session-key")
		return nil
	}} {
		_, err := (&Client{}).Open(context.Background(), address, auth)
		if err == nil || !strings.Contains(err.Error(), "answers 403 Forbidden: no /a.parquet?X-Amz-Signature=… for") || len(err.Error()) > 600 || !utf8.ValidString(err.Error()) {
			t.Error(err)
		}
		for _, key := range []string{"pass-word", "ery-key", "bearer-key", "session-key", token} {
			if strings.Contains(fmt.Sprint(err), key) {
				t.Errorf("%s is in %v", key, err)
			}
		}
	}
}

func TestOrigin(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"https://a.example", "https://A.example:443/x?y", true},
		{"https://a.example", "https://a.example./", true},
		{"https://a.example", "http://a.example", false},
		{"https://a.example", "https://a.example:8443", false},
		{"https://a.example", "https://sub.a.example", false},
		{"https://a.example", "https://a.example.evil", false},
		{"https://a.example", "https://a.example@evil", false},
	} {
		a, err1 := url.Parse(c.a)
		b, err2 := url.Parse(c.b)
		if err1 != nil || err2 != nil || (origin(a) == origin(b)) != c.same {
			t.Errorf("%s and %s: the same origin should be %t", c.a, c.b, c.same)
		}
	}
}
