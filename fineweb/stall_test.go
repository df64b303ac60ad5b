package fineweb

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// What holds a read for ever does not hold its caller once the context ends, and is no damaged document to pass over.
func TestReadingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	forever := make(chan bool)
	begun := make(chan bool)
	go func() { <-begun; cancel() }()
	_, err := Await(ctx, func() (int, error) { begun <- true; <-forever; return 1, nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(forever)

	dir := t.TempDir()
	path := filepath.Join(dir, "d.jsonl")
	if err := os.WriteFile(path, []byte("{\"id\":\"1\",\"text\":\"a text\"}\n{\"id\":\"2\",\"text\":\"another\"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	s := Source{Format: "jsonl", Patterns: []string{path}, SkipErrors: true}
	c, err := Open(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	if err := c.Texts(Train, func(string) bool { return true }); !errors.Is(err, context.Canceled) || c.Skipped > 0 {
		t.Errorf("%v, and %d documents are passed over", err, c.Skipped)
	}
	if _, err := Open(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("opening: %v", err)
	}
}

// A server that refuses is not asked again once the context ends, whether files are listed, opened or read.
func TestAskingEndsWithItsContext(t *testing.T) {
	var ctx context.Context
	var cancel func()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		w.Header().Set("Retry-After", "200")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	t.Setenv("HF_ENDPOINT", server.URL)
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	for _, pattern := range []string{server.URL + "/d.jsonl", "hf://datasets/a/b/*.jsonl", "s3://bucket/*.jsonl"} {
		ctx, cancel = context.WithCancel(t.Context())
		if _, err := Open(ctx, Source{Format: "jsonl", Patterns: []string{pattern}}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", pattern, err)
		}
		cancel()
	}
}
