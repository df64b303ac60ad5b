package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"stepflow/fineweb/s3"
	"stepflow/runtime/state"
)

// bucket holds a state in an object, and its lock in another beside it, as Terraform does with use_lockfile. Both are
// written on conditions that the store itself checks: a lock only where there is none, a state only in place of the one
// that was read.
type bucket struct {
	store   *s3.Store
	address string
}

// lockSuffix is what Terraform adds to the key of a state for that of its lock.
const lockSuffix = ".tflock"

func openS3(address string) (state.Backend, error) {
	store, err := s3.Dial(address)
	if err != nil {
		return nil, err
	}
	if store.Key == "" || strings.HasSuffix(store.Key, "/") {
		return nil, fmt.Errorf("%s names no object: write s3://BUCKET/KEY, such as s3://%s/pipelines/name.json",
			address, store.Bucket)
	}
	return &bucket{store, address}, nil
}

func (b *bucket) String() string { return b.address }

// Get returns the state, and as its version the ETag of the object.
func (b *bucket) Get(ctx context.Context) ([]byte, string, error) {
	text, etag, err := b.read(ctx, b.store.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	return text, etag, err
}

func (b *bucket) read(ctx context.Context, key string) ([]byte, string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	body, etag, err := b.store.Get(ctx, key, 0)
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, mostState+1))
	if err == nil && len(text) > mostState {
		err = fmt.Errorf("%s has more than %d bytes", b.store.Show(key), mostState)
	}
	return text, etag, err
}

// Put writes the state on the condition that the object has this ETag.
func (b *bucket) Put(ctx context.Context, text []byte, version string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	etag, err := b.store.Replace(ctx, b.store.Key, text, version)
	if errors.Is(err, s3.ErrChanged) {
		err = fmt.Errorf("%s: %w", b, state.ErrReplaced)
	}
	return etag, err
}

// Lock writes the lock's object where there is none, and makes sure that the store would have refused otherwise.
func (b *bucket) Lock(ctx context.Context, l *state.LockInfo) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	key := b.store.Key + lockSuffix
	_, err = b.store.Replace(ctx, key, text, "")
	if errors.Is(err, s3.ErrChanged) {
		return b.held(ctx)
	}
	if err != nil {
		return err
	}
	for _, etag := range []string{"", "00000000000000000000000000000000"} { // neither can be
		if _, err = b.store.Replace(ctx, key, text, etag); err == nil {
			return errors.Join(fmt.Errorf("the store of %s ignores the conditions of writes (If-None-Match, "+
				"If-Match), so two runs could take the lock at once. Use one that heeds them, or -lock=false where "+
				"nobody else runs", b),
				b.store.Delete(ctx, key))
		}
		if !errors.Is(err, s3.ErrChanged) {
			return errors.Join(err, b.store.Delete(ctx, key))
		}
	}
	return nil
}

// held returns who has the lock, as an error.
func (b *bucket) held(ctx context.Context) error {
	l, err := b.Held(ctx)
	switch {
	case err != nil:
		return err
	case l == nil:
		return &state.HeldError{Backend: b.String()} // until just now
	}
	return &state.HeldError{Backend: b.String(), Lock: *l}
}

// Held returns who has the lock.
func (b *bucket) Held(ctx context.Context) (*state.LockInfo, error) {
	text, _, err := b.read(ctx, b.store.Key+lockSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return lockInfo(text), nil
}

// Unlock removes the lock's object if it is the lock of this ID.
func (b *bucket) Unlock(ctx context.Context, id string) error {
	l, err := b.Held(ctx)
	switch {
	case err != nil:
		return err
	case l == nil:
		return nil
	case l.ID != id:
		return &state.HeldError{Backend: b.String(), Lock: *l}
	}
	return b.store.Delete(ctx, b.store.Key+lockSuffix)
}
