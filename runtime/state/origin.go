package state

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"stepflow/runtime/durable"
)

// origin is what a folder remembers of the backend that its state is a copy from, so that no command takes the copy for
// the state.
type origin struct {
	Backend string `json:"backend"`
	Version string `json:"version"`        // of the backend's state that the copy last equalled; "" for none
	Sum     string `json:"sha256"`         // of the copy then; a file of another sum has not been sent
	Lock    string `json:"lock,omitempty"` // that a process took which has, or had, the folder's own lock
	// sums of what was sent since, of which no answer came: it may be there
	Tried []string `json:"tried,omitempty"`
}

// mostTried bounds what is remembered of a backend that does not answer for weeks.
const mostTried = 1000

// originName is its file in the folder.
const originName = "backend.json"

// Local is the backend's name for the folder itself.
const Local = "local"

// readOrigin returns what a folder remembers; the zero origin of a folder whose state is in no backend.
func readOrigin(path string) (o origin, err error) {
	file := filepath.Join(path, originName)
	b, err := readRegular(file)
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err != nil {
		return o, fmt.Errorf("reading where the state lies: %w", err)
	}
	if err = json.Unmarshal(b, &o); err == nil && o.Backend == "" {
		err = errors.New("it names no backend")
	}
	if err != nil {
		return o, fmt.Errorf("%s does not say where the state lies: %w. Remove it, and name the backend with -backend",
			file, err)
	}
	return o, nil
}

// is returns an error if a folder's state lies in another backend than this one.
func (o origin) is(path string, b Backend) error {
	if o.Backend == "" || o.Backend == b.String() {
		return nil
	}
	return fmt.Errorf("the state of %s lies in %s, not in %s: leave out -backend, or move the state with \"stepflow "+
		"state push -backend=%s\"", path, o.Backend, b, b)
}

// write remembers it.
func (o origin) write(path string) error {
	b, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(path, originName), append(b, '\n'))
}

// restore writes it again as it was, or removes the file if there was none.
func (o origin) restore(path string) error {
	if o.Backend == "" {
		return forgetOrigin(path)
	}
	return o.write(path)
}

// forgetOrigin makes a folder's state one that is in no backend.
func forgetOrigin(path string) error {
	if err := os.Remove(filepath.Join(path, originName)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Remembered returns the backend of a folder's state; Local if it has none.
func Remembered(path string) (string, error) {
	o, err := readOrigin(path)
	if o.Backend == "" {
		return Local, err
	}
	return o.Backend, err
}

// sum names the bytes of a state's file; "" for none.
func sum(b []byte) string {
	if b == nil {
		return ""
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// newID returns a random UUID.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
