package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"stepflow/fineweb/web"
)

// ErrChanged says that an object is not the one that a conditional write was to replace.
var ErrChanged = errors.New("the object in the bucket is another one now")

// Store writes and reads objects of one bucket.
type Store struct {
	Bucket, Key string // of the address; the key may be empty
	core        minio.Core
	region      string
}

// Dial returns the store of an address, s3://BUCKET/KEY. A query may say region, endpoint and use_path_style, as
// Terraform names them; else the variables of the environment count. It asks nothing of the store yet.
func Dial(address string) (*Store, error) {
	address, query, _ := strings.Cut(address, "?")
	s := &Store{region: region()}
	s.Bucket, s.Key, _ = strings.Cut(strings.TrimPrefix(address, "s3://"), "/")
	if !Is(address) || s.Bucket == "" {
		return nil, fmt.Errorf("%s is not an address in a bucket: write s3://BUCKET/KEY", web.Show(address))
	}
	o := minio.Options{Creds: keys(), BucketLookup: minio.BucketLookupPath, Transport: transport(), MaxRetries: 4}
	endpoint := first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("%s: what follows the ? is not readable", web.Show(address))
	}
	for name := range values {
		switch v := values.Get(name); name {
		case "region":
			s.region = v
		case "endpoint":
			endpoint = v
		case "use_path_style":
			path, err := strconv.ParseBool(v)
			if err != nil {
				return nil, fmt.Errorf("%s: use_path_style is true or false", web.Show(address))
			}
			if !path {
				o.BucketLookup = minio.BucketLookupDNS
			}
		default:
			return nil, fmt.Errorf("%s: a query takes region, endpoint and use_path_style, not %q. Credentials come "+
				"from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE", web.Show(address), name)
		}
	}
	if endpoint == "" {
		endpoint = "https://s3." + s.region + ".amazonaws.com"
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" ||
		u.User != nil {
		return nil, fmt.Errorf("the endpoint of %s is the address of a server, such as https://s3.example.org, not %s",
			web.Show(address), web.Show(endpoint))
	}
	o.Secure, o.Region = u.Scheme == "https", s.region
	client, err := minio.New(u.Host, &o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", web.Show(address), err)
	}
	s.core.Client = client
	return s, nil
}

// transport gives up on a server that does not answer.
func transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	t.ResponseHeaderTimeout = 30 * time.Second
	t.DisableCompression = true
	return t
}

// Show is the address of a key.
func (s *Store) Show(key string) string { return "s3://" + s.Bucket + "/" + key }

// Get opens an object from an offset on, and returns its ETag. fs.ErrNotExist says that there is none.
func (s *Store) Get(ctx context.Context, key string, from int64) (io.ReadCloser, string, error) {
	var o minio.GetObjectOptions
	if from > 0 {
		if err := o.SetRange(from, 0); err != nil {
			return nil, "", err
		}
	}
	body, info, _, err := s.core.GetObject(ctx, s.Bucket, key, o)
	return body, info.ETag, s.explain(key, err)
}

// Size returns the size of an object in bytes. fs.ErrNotExist says that there is none.
func (s *Store) Size(ctx context.Context, key string) (int64, error) {
	info, err := s.core.StatObject(ctx, s.Bucket, key, minio.StatObjectOptions{})
	return info.Size, s.explain(key, err)
}

// partSize is how many bytes of an object are in memory while it is written.
const partSize = 16 << 20

// Put writes an object of so many bytes, in parts if it is large. An error of r leaves no object.
func (s *Store) Put(ctx context.Context, key string, size int64, r io.Reader) error {
	_, err := s.core.Client.PutObject(ctx, s.Bucket, key, r, size,
		minio.PutObjectOptions{PartSize: partSize, NumThreads: 1})
	return s.explain(key, err)
}

// Replace writes an object in place of the one with an ETag, "" for none at all, and returns its own. ErrChanged says
// that another is there.
func (s *Store) Replace(ctx context.Context, key string, b []byte, etag string) (string, error) {
	o := minio.PutObjectOptions{DisableMultipart: true, ContentType: "application/json"}
	if etag == "" {
		o.SetMatchETagExcept("*")
	} else {
		o.SetMatchETag(etag)
	}
	info, err := s.core.Client.PutObject(ctx, s.Bucket, key, bytes.NewReader(b), int64(len(b)), o)
	if code := minio.ToErrorResponse(err); code.StatusCode == http.StatusPreconditionFailed ||
		code.StatusCode == http.StatusConflict || etag != "" && code.StatusCode == http.StatusNotFound &&
		code.Code == "NoSuchKey" {
		return "", fmt.Errorf("%s: %w", s.Show(key), ErrChanged)
	}
	return info.ETag, s.explain(key, err)
}

// Delete removes an object. It is not an error if there is none.
func (s *Store) Delete(ctx context.Context, key string) error {
	return s.explain(key, s.core.RemoveObject(ctx, s.Bucket, key, minio.RemoveObjectOptions{}))
}

// Each calls f with the key and the size of every object whose key has a prefix.
func (s *Store) Each(ctx context.Context, prefix string, f func(key string, size int64)) error {
	for o := range s.core.ListObjectsIter(ctx, s.Bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return s.explain(prefix, o.Err)
		}
		f(o.Key, o.Size)
	}
	return ctx.Err()
}

// explain says what an error of the store means for its user.
func (s *Store) explain(key string, err error) error {
	if err == nil {
		return nil
	}
	at := s.Show(key)
	switch code := minio.ToErrorResponse(err); {
	case code.Code == "NoSuchBucket":
		return fmt.Errorf("%s: there is no bucket %s: make it, or mend the address", at, s.Bucket)
	case code.StatusCode == http.StatusNotFound || code.Code == "NoSuchKey":
		return fmt.Errorf("%s: %w", at, fs.ErrNotExist)
	case code.StatusCode == http.StatusForbidden || code.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%s: the store refuses (%s). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "+
			"AWS_PROFILE, to an identity that may read and write there", at, code.Code)
	case code.StatusCode == http.StatusMovedPermanently || code.Code == "AuthorizationHeaderMalformed":
		return fmt.Errorf("%s: the bucket is in another region than %s: set AWS_REGION", at, s.region)
	case errors.As(err, new(net.Error)) && !errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w: %w", at, web.ErrUnreachable, err)
	}
	return fmt.Errorf("%s: %w", at, err)
}
