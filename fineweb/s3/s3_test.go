package s3

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"stepflow/fineweb/web"
)

// store serves objects of the bucket "data", two a page, to whoever signs with the key "id".
func store(t *testing.T, objects map[string]string) {
	t.Helper()
	var names []string
	for n := range objects {
		names = append(names, n)
	}
	slices.Sort(names)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		auth := q.Header.Get("Authorization")
		if !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential=id/") || !strings.Contains(auth, "/eu-north-1/s3/aws4_request") || q.Header.Get("X-Amz-Security-Token") != "session" {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "<Error><Code>AccessDenied</Code></Error>")
			return
		}
		key, ok := strings.CutPrefix(q.URL.Path, "/data/")
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if key == "" {
			v := q.URL.Query()
			from := 0
			fmt.Sscan(v.Get("continuation-token"), &from)
			var in []string
			for _, n := range names {
				if strings.HasPrefix(n, v.Get("prefix")) {
					in = append(in, n)
				}
			}
			to := min(from+2, len(in))
			fmt.Fprint(w, `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`)
			for _, n := range in[from:to] {
				fmt.Fprintf(w, "<Contents><Key>%s</Key></Contents>", n)
			}
			if to < len(in) {
				fmt.Fprintf(w, "<IsTruncated>true</IsTruncated><NextContinuationToken>%d</NextContinuationToken>", to)
			}
			fmt.Fprint(w, "</ListBucketResult>")
			return
		}
		text, ok := objects[key]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, len(text)))
		http.ServeContent(w, q, "", time.Time{}, strings.NewReader(text))
	}))
	t.Cleanup(s.Close)
	for name, v := range map[string]string{"AWS_ENDPOINT_URL": s.URL, "AWS_ENDPOINT_URL_S3": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-north-1", "AWS_ACCESS_KEY_ID": "id",
		"AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_SESSION_TOKEN": "session", "AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": t.TempDir() + "/none"} {
		t.Setenv(name, v)
	}
	was := keys
	t.Cleanup(func() { keys = was })
	keys = func() *credentials.Credentials { return chain() }
}

func TestListAndOpen(t *testing.T) {
	store(t, map[string]string{"a/0 1.parquet": "zero", "a/1+2.parquet": "one", "a/2.parquet": "two", "a/2.txt": "no", "a/b/3.parquet": "no", "b": "no"})
	c := &web.Client{}
	list, err := List(context.Background(), c, "s3://data/a/*.parquet")
	want := []web.Entry{{Address: "s3://data/a/0 1.parquet"}, {Address: "s3://data/a/1+2.parquet"}, {Address: "s3://data/a/2.parquet"}}
	if err != nil || !slices.Equal(list, want) {
		t.Fatalf("%v, %v", list, err)
	}
	for i, text := range []string{"zero", "one", "two"} {
		f, err := Open(context.Background(), c, list[i].Address)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size())); err != nil || string(b) != text {
			t.Errorf("%s is %q, %v", list[i].Address, b, err)
		}
	}
	if one, err := List(context.Background(), c, "s3://data/b"); err != nil || len(one) != 1 {
		t.Errorf("%v, %v", one, err)
	}
}

// Folders are spanned by **, hidden names are passed over, and a key that is there wins over the pattern that it is too.
func TestPatterns(t *testing.T) {
	store(t, map[string]string{"d/": "", "d/[1].parquet": "literal", "d/1.parquet": "matched", "d/_x.parquet": "hidden", "d/_SUCCESS": "", "d/e/f/2.parquet": "deep", "d/_temporary/3.parquet": "hidden", "d*/4.parquet": "star"})
	for address, want := range map[string][]string{
		"s3://data/d/[1].parquet":      {"d/[1].parquet"},
		`s3://data/d/\[1\].parquet`:    {"d/[1].parquet"},
		"s3://data/d/[12].parquet":     {"d/1.parquet"},
		"s3://data/d*/4.parquet":       {"d*/4.parquet"},
		"s3://data/d/*":                {"d/1.parquet", "d/[1].parquet"},
		"s3://data/d/*.parquet":        {"d/1.parquet", "d/[1].parquet", "-d/_x.parquet"},
		"s3://data/d/**":               {"d/1.parquet", "d/[1].parquet", "d/e/f/2.parquet"},
		"s3://data/**/[!1-3].parquet":  {"d*/4.parquet"},
		"s3://data/d/**/[0-9].parquet": {"d/1.parquet", "-d/_temporary/3.parquet", "d/e/f/2.parquet"},
	} {
		list, err := List(context.Background(), &web.Client{}, address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		var got []string
		for _, e := range list {
			name := strings.TrimPrefix(e.Address, "s3://data/")
			if e.Aside != "" {
				name = "-" + name
			}
			got = append(got, name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, not %q", address, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	store(t, map[string]string{"a": "x"})
	c := &web.Client{}
	for address, want := range map[string]string{"s3://data": "write s3://BUCKET/KEY", "s3:///a": "write s3://BUCKET/KEY", "s3://data/[": "matches no object", "s3://data/x**": "alone between slashes", "s3://data/z*": "matches no object", "s3://none/*": "404"} {
		if _, err := List(context.Background(), c, address); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v, not %q", address, err, want)
		}
	}
	if _, err := Open(context.Background(), c, "s3://data/none"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an object that is not there: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "other")
	_, err := Open(context.Background(), c, "s3://data/a")
	if err == nil || !strings.Contains(err.Error(), "AccessDenied") || !strings.Contains(err.Error(), "AWS_PROFILE") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a stranger: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "") // anonymous
	if _, err := Open(context.Background(), c, "s3://data/a"); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("nobody: %v", err)
	}
}

// TestRoundabout lists from a store whose continuation tokens repeat: an error where it says that the list is cut off, else the end.
func TestRoundabout(t *testing.T) {
	for list, want := range map[string]string{
		"<IsTruncated>true</IsTruncated><NextContinuationToken>1</NextContinuationToken>":  "leads nowhere new",
		"<IsTruncated>true</IsTruncated>":                                                  "leads nowhere new",
		"<IsTruncated>false</IsTruncated><NextContinuationToken>1</NextContinuationToken>": "",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			fmt.Fprint(w, "<ListBucketResult><Contents><Key>a</Key></Contents>"+list+"</ListBucketResult>")
		}))
		store(t, nil)
		t.Setenv("AWS_ENDPOINT_URL", s.URL)
		_, err := List(context.Background(), &web.Client{}, "s3://data/*")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, not %q", list, err, want)
		}
		s.Close()
	}
}
