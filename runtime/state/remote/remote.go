// Package remote holds states in buckets of S3 and on servers that speak Terraform's HTTP protocol.
package remote

import (
	"encoding/json"
	"fmt"
	"strings"

	"stepflow/fineweb/s3"
	"stepflow/fineweb/web"
	"stepflow/runtime/state"
)

// ErrUnreachable says that a backend did not answer.
var ErrUnreachable = web.ErrUnreachable

// Open returns the backend of an address; nil for state.Local. It asks nothing of it yet.
func Open(address string, getenv func(string) string) (state.Backend, error) {
	switch {
	case address == state.Local:
		return nil, nil
	case s3.Is(address):
		return openS3(address)
	case strings.HasPrefix(address, "https://"), strings.HasPrefix(address, "http://"):
		return openHTTP(address, getenv)
	}
	return nil, fmt.Errorf("%q is no place for a state: write s3://BUCKET/KEY, https://HOST/PATH, or %s for the "+
		"pipeline's folder alone", web.Show(address), state.Local)
}

// mostState bounds a state that is read, in bytes.
const mostState = 256 << 20

// lockInfo reads what the holder of a lock wrote; without an ID if that is not legible.
func lockInfo(text []byte) *state.LockInfo {
	l := &state.LockInfo{}
	if json.Unmarshal(text, l) != nil {
		return &state.LockInfo{Who: "somebody"}
	}
	return l
}
