package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"stepflow/dsl/addr"
)

// ErrDamaged says that the state file is not what a stepflow wrote.
var ErrDamaged = errors.New("the state is damaged")

// ErrNewer says that a newer program wrote the state.
var ErrNewer = errors.New("the state is of a newer version")

// The checksum is the first field of the file, of bytes in which zeros stand in its place: no bit of the file can
// change unnoticed.
const checksumField = "{\n  \"checksum\": \""

var zeros = strings.Repeat("0", 2*sha256.Size)

// format writes a state as it stands in the file.
func format(s State) ([]byte, error) {
	s.Checksum = zeros
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	b = append(b, '\n')
	copy(b[len(checksumField):], checksum(b))
	return b, nil
}

// checksum is that of a file which starts with checksumField.
func checksum(b []byte) string {
	h := sha256.New()
	h.Write(b[:len(checksumField)])
	h.Write([]byte(zeros))
	h.Write(b[len(checksumField)+len(zeros):])
	return hex.EncodeToString(h.Sum(nil))
}

// intact reports whether a file starts with its checksum.
func intact(b []byte) bool {
	n := len(checksumField)
	return bytes.HasPrefix(b, []byte(checksumField)) && len(b) > n+len(zeros) && string(b[n:n+len(zeros)]) == checksum(b)
}

// Parse reads the bytes of a state, and checks them.
func Parse(b []byte) (*State, error) {
	var head struct {
		Version  int    `json:"version"`
		Checksum string `json:"checksum"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		var other *json.UnmarshalTypeError
		if errors.As(err, &other) {
			return nil, fmt.Errorf("%w: it holds something else than a state", ErrDamaged)
		}
		return nil, fmt.Errorf("%w: it is not JSON (%w)", ErrDamaged, err)
	}
	if head.Version > Version && (head.Checksum == "" || intact(b)) { // else its version is what was damaged
		return nil, fmt.Errorf("%w: %d, this stepflow knows up to %d; use the newer stepflow", ErrNewer, head.Version,
			Version)
	}
	if (head.Version != 1 || head.Checksum != "") && !intact(b) { // version 1 had no checksum
		return nil, fmt.Errorf("%w: its checksum does not match its contents: it was damaged, or edited by hand", ErrDamaged)
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if s.Blocks == nil {
		s.Blocks = map[string]*Block{}
	}
	if s.Outputs == nil {
		s.Outputs = map[string]Output{}
	}
	s.Version = Version
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return &s, nil
}

// Check tests the invariants of a state.
func (s *State) Check() error {
	for name, b := range s.Blocks {
		if _, err := addr.Parse(name); err != nil {
			return err
		}
		if b == nil || b.Status != Running && b.Status != Done && b.Status != Failed {
			return fmt.Errorf("block %s has no valid status", name)
		}
		if b.Status == Done && b.Content == "" {
			return fmt.Errorf("block %s is done but has no content id", name)
		}
		if b.Dir != "" && !filepath.IsLocal(b.Dir) {
			return fmt.Errorf("block %s lies outside the state's folder: %s", name, b.Dir)
		}
	}
	return nil
}
