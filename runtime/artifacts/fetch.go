package artifacts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"stepflow/dsl"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
	"stepflow/runtime/results"
)

// fetching is the folder, inside the state's, in which the files of a result lie until all of them are there. A process
// that is killed leaves them for the next one, which goes on from there.
const fetching = "fetching"

// patience is how long a server may give nothing.
const patience = 2 * time.Minute

// diskFree is durable.Free; tests fill the disk.
var diskFree = durable.Free

// Fetch puts a result or a checkpoint into a block's folder, which is relative to the state's: all of it, checked byte
// by byte, or nothing. It asks first whether the disk has room.
func (s *Store) Fetch(ctx context.Context, a *results.Away, stateDir, block string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.read(ctx, a.Name)
	if err != nil {
		return err
	}
	parts := filepath.Join(stateDir, fetching)
	if err := durable.MkdirAll(parts, 0o777); err != nil {
		return err
	}
	need := int64(0)
	for _, d := range e.all() {
		need += d.Size
		if st, err := os.Lstat(filepath.Join(parts, d.SHA256)); err == nil {
			need -= st.Size()
		}
	}
	if free, ok := diskFree(parts); ok && free < need {
		return fmt.Errorf("fetching %s from %s needs %s, and %s has %s left. Make room, or put the state on another "+
			"disk with -state-dir",
			filepath.Join(block, a.Leaf), a.Where, dsl.FormatBytes(need), stateDir, dsl.FormatBytes(free))
	}
	for _, d := range e.all() {
		if err := s.object(ctx, d, filepath.Join(parts, d.SHA256)); err != nil {
			return fmt.Errorf("fetching %s from %s: %w", filepath.Join(block, a.Leaf), a.Where, err)
		}
	}
	if err := place(e, parts, filepath.Join(stateDir, block)); err != nil {
		return err
	}
	return os.RemoveAll(parts)
}

// place makes a folder of the files that were fetched. A file beside it stays as it is if it is no shorter.
func place(e *entry, parts, block string) error {
	tmp := filepath.Join(parts, e.leaf())
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := durable.MkdirAll(tmp, 0o777); err != nil {
		return err
	}
	if err := durable.MkdirAll(block, 0o777); err != nil {
		return err
	}
	for name, d := range e.Files {
		if err := copyTo(filepath.Join(parts, d.SHA256), filepath.Join(tmp, name)); err != nil {
			return err
		}
	}
	for name, d := range e.Beside {
		if err := longer(filepath.Join(parts, d.SHA256), filepath.Join(block, name)); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(tmp); err != nil {
		return err
	}
	to := filepath.Join(block, e.leaf())
	if err := os.RemoveAll(to); err != nil { // damaged, or it would not have been fetched
		return err
	}
	return durable.Rename(tmp, to)
}

// longer puts a file in place of a shorter one, which it goes on from.
func longer(from, to string) error {
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	if old, err := os.Lstat(to); err == nil && old.Size() >= st.Size() {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return durable.Write(to, func(w io.Writer) error { _, err := io.Copy(w, in); return err })
}

// copyTo gives a file a second name, or where the file system cannot, a copy.
func copyTo(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return durable.WriteTo(to, func(w io.Writer) error { _, err := io.Copy(w, in); return err })
}

// object fetches a file, from where an earlier try got to. What comes is checked once more from the start if it is not
// what it should be.
func (s *Store) object(ctx context.Context, d checkpoint.Digest, path string) (err error) {
	name := s.objectName(d)
	last, pause := time.Now(), 200*time.Millisecond
	for wrong := 0; ; {
		got, e := s.append(ctx, name, d, path)
		switch err = e; {
		case err == nil:
			return nil
		case ctx.Err() != nil, errors.Is(err, fs.ErrNotExist):
			return err
		case errors.Is(err, checkpoint.ErrDamaged):
			if wrong++; wrong == 2 {
				return fmt.Errorf("%w. Remove that object: then it is sent again by a machine that has the file, and "+
					"a plan goes by what else is there", err)
			}
		}
		if got > 0 {
			last, pause = time.Now(), 200*time.Millisecond
		}
		if time.Since(last) > patience {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, 10*time.Second)
	}
}

// append fetches the rest of a file and checks all of it. It returns how many bytes came.
func (s *Store) append(ctx context.Context, name string, d checkpoint.Digest, path string) (got int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return 0, err
	}
	defer func() {
		if errors.Is(err, checkpoint.ErrDamaged) {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	defer f.Close()
	h := sha256.New()
	have, err := io.Copy(h, f)
	if err == nil && have < d.Size {
		got, err = s.copy(ctx, name, have, d.Size-have, io.MultiWriter(f, h))
	}
	if err != nil {
		return got, err
	}
	if have+got != d.Size || sumOf(h) != d.SHA256 {
		return got, fmt.Errorf("%w: %s does not hash to its name", checkpoint.ErrDamaged, s.place.files.show(name))
	}
	return got, f.Sync()
}

func sumOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// copy copies bytes of an object, and gives up when none come for long.
func (s *Store) copy(ctx context.Context, name string, from, n int64, w io.Writer) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(patience, cancel)
	defer stalled.Stop()
	body, err := s.place.files.get(ctx, name, from)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	got, err := io.Copy(w, io.LimitReader(reader(func(b []byte) (int, error) {
		n, err := body.Read(b)
		stalled.Reset(patience)
		return n, err
	}), n))
	if err == nil && got < n {
		err = io.ErrUnexpectedEOF
	}
	return got, err
}
