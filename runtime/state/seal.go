package state

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Seal is what is kept of a sensitive value: a keyed hash, by which it is known whether the value has changed.
func (s *State) Seal(value string) string {
	if s.Salt == "" {
		s.Salt = rand.Text()
	}
	h := hmac.New(sha256.New, []byte(s.Salt))
	h.Write([]byte(value))
	return hex.EncodeToString(h.Sum(nil))
}

// sealed starts a seal among values that are not sealed.
const sealed = "sealed "

// SealAmong returns a seal that can be told from values that are not sealed.
func (s *State) SealAmong(value string) string { return sealed + s.Seal(value) }

// Comparable returns those of the values that are not seals: the seals of another state say nothing.
func Comparable(values map[string]string) map[string]string {
	out := map[string]string{}
	for name, v := range values {
		if !strings.HasPrefix(v, sealed) {
			out[name] = v
		}
	}
	return out
}

// Seals seals each of the values; nil for none.
func (s *State) Seals(values map[string]string) map[string]string {
	if len(values) == 0 {
		return nil
	}
	out := map[string]string{}
	for name, v := range values {
		out[name] = s.Seal(v)
	}
	return out
}
