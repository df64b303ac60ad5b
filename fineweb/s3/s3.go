// Package s3 finds files in buckets of S3 and of stores that speak its protocol. It heeds the variables that
// AWS's tools do: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, or a profile (AWS_PROFILE) of
// AWS_SHARED_CREDENTIALS_FILE, or the role of the machine; AWS_REGION, AWS_DEFAULT_REGION; AWS_ENDPOINT_URL_S3,
// AWS_ENDPOINT_URL. Without credentials requests are anonymous, as public buckets allow.
package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
	"github.com/minio/minio-go/v7/pkg/signer"

	"stepflow/fineweb/glob"
	"stepflow/fineweb/web"
)

// Is reports whether a path is an address in a bucket.
func Is(path string) bool { return strings.HasPrefix(path, "s3://") }

// parse reads s3://BUCKET/KEY.
func parse(address string) (bucket, key string, err error) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(address, "s3://"), "/")
	if !Is(address) || bucket == "" || key == "" {
		return "", "", fmt.Errorf("%s is not an address in a bucket: write s3://BUCKET/KEY", address)
	}
	return bucket, key, nil
}

func first(names ...string) string {
	for _, n := range names {
		if v := os.Getenv(n); v != "" {
			return v
		}
	}
	return ""
}

func region() string {
	if r := first("AWS_REGION", "AWS_DEFAULT_REGION"); r != "" {
		return r
	}
	return "us-east-1"
}

// at is the address of a key by path, which every store understands; no key is the bucket.
func at(bucket, key string) string {
	endpoint := first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
	if endpoint == "" {
		endpoint = "https://s3." + region() + ".amazonaws.com"
	}
	return strings.TrimRight(endpoint, "/") + "/" + bucket + "/" + s3utils.EncodePath(key)
}

// keys are looked for once a process, and renewed when they expire.
var keys = sync.OnceValue(chain)

func chain() *credentials.Credentials {
	return credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{},
		&credentials.FileAWSCredentials{}, &role{}})
}

// brief is how long the machine's own role may take to answer.
var brief = &credentials.CredContext{Client: &http.Client{Timeout: time.Second}}

// role is the machine's own, where it has one; a machine outside AWS must not wait for it long.
type role struct{ credentials.IAM }

func (r *role) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	if strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		return credentials.Value{}, nil
	}
	return r.IAM.RetrieveWithCredContext(brief)
}

// auth signs a request (AWS Signature Version 4).
func auth(q *http.Request) error {
	v, err := keys().GetWithContext(brief)
	if err != nil || v.AccessKeyID == "" {
		return nil // anonymous: the server says whether that will do
	}
	// Of nothing.
	q.Header.Set("X-Amz-Content-Sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	*q = *signer.SignV4(*q, v.AccessKeyID, v.SecretAccessKey, v.SessionToken, region())
	return nil
}

func explain(bucket string, err error) error {
	if errors.Is(err, web.ErrDenied) {
		return fmt.Errorf("%w. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to an identity that "+
			"may read the bucket %s", err, bucket)
	}
	if err != nil && strings.Contains(err.Error(), "egion") || err != nil && strings.Contains(err.Error(), "301 ") {
		return fmt.Errorf("%w. Set AWS_REGION to the region of the bucket %s, which is taken to be %s",
			err, bucket, region())
	}
	return err
}

// List gives the objects that a pattern matches, in order, without IDs: opening tells. One whose key the pattern is
// comes alone.
func List(ctx context.Context, c *web.Client, address string) ([]web.Entry, error) {
	bucket, pattern, err := parse(address)
	if err != nil {
		return nil, err
	}
	p, err := glob.Parse(pattern)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	if !glob.Has(pattern) {
		return []web.Entry{{Address: address}}, nil
	}
	prefix := pattern[:strings.IndexAny(pattern, `*?[\`)]
	var list []web.Entry
	seen := map[string]bool{}
	for next := ""; ; {
		query := url.Values{"list-type": {"2"}, "prefix": {prefix}}
		if next != "" {
			query.Set("continuation-token", next)
		}
		body, _, err := c.Get(ctx, at(bucket, "")+"?"+query.Encode(), auth)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", address, explain(bucket, err))
		}
		var page struct {
			Contents []struct {
				Key string
			}
			NextContinuationToken string
			IsTruncated           bool
		}
		if err := xml.Unmarshal(body, &page); err != nil {
			return nil, fmt.Errorf("%s: the store's list of objects is not readable: %w", address, err)
		}
		for _, o := range page.Contents {
			e := web.Entry{Address: "s3://" + bucket + "/" + o.Key}
			if o.Key == pattern {
				return []web.Entry{e}, nil
			}
			v := p.Match(o.Key)
			// Consoles mark folders with an empty object.
			if strings.HasSuffix(o.Key, "/") || v == glob.No || v == glob.Hidden && p.Loose() {
				continue
			}
			if v == glob.Hidden {
				e.Aside = glob.Aside
			}
			list = append(list, e)
		}
		next = page.NextContinuationToken
		if !page.IsTruncated && (next == "" || seen[next]) {
			break
		}
		if next == "" || seen[next] {
			return nil, fmt.Errorf("%s: the store's list of objects is cut off, and its continuation token %q leads "+
				"nowhere new", address, next)
		}
		seen[next] = true
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s matches no object%s", address, glob.Hint(address))
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Address < list[j].Address })
	return list, nil
}

// Open opens an object.
func Open(ctx context.Context, c *web.Client, address string) (*web.File, error) {
	bucket, key, err := parse(address)
	if err != nil {
		return nil, err
	}
	f, err := c.Open(ctx, at(bucket, key), auth)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, explain(bucket, err))
	}
	return f, nil
}
