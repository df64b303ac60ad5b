package artifacts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"stepflow/runtime/checkpoint"
	"stepflow/runtime/metrics"
	"stepflow/runtime/results"
)

// Uploads sends results and checkpoints one after the other, while whoever adds them goes on.
type Uploads struct {
	store *Store
	root  string      // the state's folder
	warn  func(error) // may be nil

	mu      sync.Mutex
	waiting []Job
	failing error // of the last try
	failed  []error
	sent    Sent
	idle    chan struct{}    // closed when sending ends; nil while nothing is sent
	closing chan struct{}    // closed when nothing more is added
	moved   time.Time        // when something was last sent
	reached map[string]int64 // how far each file was read by any attempt to send it
}

// Job is a result or a checkpoint to be sent.
type Job struct {
	Address string // of its block
	Block   string // the block's folder, relative to the state's
	Leaf    string // the folder in it
	Done    bool   // a result; else a checkpoint, which a later one of the block supersedes
	Keep    int    // how many of the block's checkpoints stay in the place, a result among them
}

func (j *Job) String() string { return j.Address + " (" + j.Leaf + ")" }

// Sent counts what was sent.
type Sent struct {
	Folders int
	Bytes   int64 // of files that were not there
}

// Upload begins to send what is added. warn is told, from another goroutine, that something cannot be sent for now.
func (s *Store) Upload(stateDir string, warn func(error)) *Uploads {
	return &Uploads{store: s, root: stateDir, warn: warn, closing: make(chan struct{}), reached: map[string]int64{}}
}

// Add has something sent. Checkpoints of its block that still wait are not sent any more.
func (u *Uploads) Add(j Job) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.waiting = append(slices.DeleteFunc(u.waiting, func(x Job) bool {
		return x.Block == j.Block && (!x.Done || x.Leaf == j.Leaf)
	}), j)
	if u.idle == nil {
		u.idle, u.moved = make(chan struct{}), time.Now()
		go u.run()
	}
}

// run sends what waits, until nothing does.
func (u *Uploads) run() {
	pause := time.Second
	for {
		u.mu.Lock()
		if len(u.waiting) == 0 || u.late() {
			close(u.idle)
			u.idle = nil
			u.mu.Unlock()
			return
		}
		j := u.waiting[0]
		u.mu.Unlock()
		err := u.send(&j)
		u.mu.Lock()
		if u.settle(j, err) {
			pause = time.Second
			u.mu.Unlock()
			continue
		}
		u.mu.Unlock()
		select {
		case <-time.After(pause):
		case <-u.closing:
			time.Sleep(min(pause, time.Second))
		}
		pause = min(2*pause, time.Minute)
	}
}

// late reports whether nothing is added any more, and nothing has come through for long.
func (u *Uploads) late() bool {
	select {
	case <-u.closing:
		return u.failing != nil && time.Since(u.moved) > giveUp
	default:
		return false
	}
}

// giveUp is how long a run that has ended tries to send what is left, without anything getting through.
var giveUp = time.Minute

// settle notes what came of a job, and reports whether it is off the list: sent, gone, or damaged.
func (u *Uploads) settle(j Job, err error) bool {
	drop := func() {
		u.waiting = slices.DeleteFunc(u.waiting, func(x Job) bool { return x == j })
		u.moved = time.Now()
	}
	switch {
	case err == nil:
		u.failing = nil
		drop()
		return true
	case errors.Is(err, errSuperseded):
		drop()
		return true
	case results.IsDamage(err):
		u.failed = append(u.failed, fmt.Errorf("%s is not sent: %w", &j, err))
		drop()
		return true
	}
	if u.failing == nil && u.warn != nil {
		u.warn(fmt.Errorf("%s cannot be sent to %s for now: %w. The run goes on, and it is tried again",
			&j, u.store.place, err))
	}
	u.failing = err
	return false
}

// Left says what has not been sent; "" if all has.
func (u *Uploads) Left() string {
	if u == nil {
		return ""
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	var list []string
	for _, j := range u.waiting {
		list = append(list, j.String())
	}
	return strings.Join(list, ", ")
}

// UnsentError says what is not in the place that should be.
type UnsentError struct {
	Place string
	Left  string
	Err   error
}

func (e *UnsentError) Error() string {
	if e.Left == "" {
		return e.Err.Error()
	}
	return fmt.Sprintf("not sent to %s: %s: %v. It is whole in the state's folder, and the next apply sends it",
		e.Place, e.Left, e.Err)
}

func (e *UnsentError) Unwrap() error { return e.Err }

// Wait waits until all is sent, or has failed for long, and returns what was sent. tell, if it is not nil, is told now
// and then what is left.
func (u *Uploads) Wait(tell func(left string)) (Sent, error) {
	if u == nil {
		return Sent{}, nil
	}
	u.mu.Lock()
	u.moved = time.Now()
	idle := u.idle
	close(u.closing)
	u.mu.Unlock()
	for idle != nil {
		select {
		case <-idle:
			idle = nil
		case <-time.After(time.Second):
			if left := u.Left(); tell != nil && left != "" {
				tell(left)
			}
		}
	}
	left := u.Left()
	u.mu.Lock()
	defer u.mu.Unlock()
	if left != "" {
		u.failed = append(u.failed, &UnsentError{u.store.place.String(), left, u.failing})
	}
	return u.sent, errors.Join(u.failed...)
}

// errSuperseded says that a checkpoint was removed before it was sent, since there is a later one.
var errSuperseded = errors.New("there is a later checkpoint")

// send sends one result or checkpoint: its files, as far as they are not there, and then its entry.
func (u *Uploads) send(j *Job) error {
	s, ctx := u.store, context.Background()
	s.mu.Lock()
	err := s.list(ctx)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	e, open, err := s.pack(u.root, j)
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	s.mu.Lock()
	_, there := s.sizes[e.name]
	there = there && s.whole(e)
	s.mu.Unlock()
	if there {
		return u.retain(j, e)
	}
	for name, d := range e.all() {
		if err := u.object(ctx, d, open[name]); err != nil {
			return err
		}
	}
	b, err := e.bytes()
	if err == nil {
		err = s.write(ctx, e.name, int64(len(b)), bytes.NewReader(b))
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.entries[e.name] = e
	s.mu.Unlock()
	u.mu.Lock()
	u.sent.Folders++
	u.mu.Unlock()
	return u.retain(j, e)
}

// pack opens the files of a result or a checkpoint, so that they can be read to their end also if it is removed
// meanwhile, and makes its entry.
func (s *Store) pack(root string, j *Job) (e *entry, open map[string]*os.File, err error) {
	dir := filepath.Join(root, j.Block, j.Leaf)
	open = map[string]*os.File{}
	e = &entry{Beside: map[string]checkpoint.Digest{}}
	if e.Content, e.Files, err = checkpoint.Contents(dir); err != nil {
		return nil, open, gone(dir, err)
	}
	if err := checkpoint.ReadNote(dir, &e.Note); err != nil {
		return nil, open, gone(dir, err)
	}
	for name := range e.Files {
		if open[name], err = os.Open(filepath.Join(dir, name)); err != nil {
			delete(open, name)
			return nil, open, gone(dir, err)
		}
	}
	f, err := os.Open(filepath.Join(root, j.Block, metrics.FileName))
	if err == nil {
		open[metrics.FileName] = f
		e.Beside[metrics.FileName], err = digest(f)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	e.name = s.entryName(&e.Note, j.Leaf)
	return e, open, err
}

// gone is errSuperseded if a folder is not there any more.
func gone(dir string, err error) error {
	if _, e := os.Lstat(dir); errors.Is(e, fs.ErrNotExist) {
		return errSuperseded
	}
	return err
}

// digest hashes a file up to where it ends now.
func digest(f *os.File) (checkpoint.Digest, error) {
	st, err := f.Stat()
	if err != nil {
		return checkpoint.Digest{}, err
	}
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f, 0, st.Size()))
	return checkpoint.Digest{Size: n, SHA256: sumOf(h)}, err
}

// object sends a file that is not there yet.
func (u *Uploads) object(ctx context.Context, d checkpoint.Digest, f *os.File) error {
	s := u.store
	name := s.objectName(d)
	s.mu.Lock()
	size, ok := s.sizes[name]
	s.mu.Unlock()
	if ok && size == d.Size {
		return nil
	}
	r := &checked{r: io.NewSectionReader(f, 0, d.Size), h: sha256.New(), want: d, path: f.Name(),
		read: func(n int64) { u.advance(name, n) }}
	if err := s.write(ctx, name, d.Size, r); err != nil {
		if r.err != nil {
			return r.err // not what the place made of it
		}
		return err
	}
	u.mu.Lock()
	u.sent.Bytes += d.Size
	u.mu.Unlock()
	return nil
}

// advance notes that a file was read so far. It is progress if no attempt got there before: a place that refuses what
// it was sent has read it too.
func (u *Uploads) advance(name string, n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n > u.reached[name] {
		u.reached[name], u.moved = n, time.Now()
	}
}

// write writes a file of the place, and notes that it is there.
func (s *Store) write(ctx context.Context, name string, size int64, r io.Reader) error {
	if err := s.place.files.put(ctx, name, size, r); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sizes != nil {
		s.sizes[name] = size
	}
	return nil
}

// checked reads a file, and fails at its end if it is not what its manifest says, so that nothing wrong is sent under
// the name of a hash.
type checked struct {
	r    io.Reader
	h    hash.Hash
	n    int64
	want checkpoint.Digest
	path string
	read func(n int64) // is told how far
	err  error
}

func (c *checked) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.h.Write(b[:n])
	c.n += int64(n)
	c.read(c.n)
	if (c.n == c.want.Size || err == io.EOF) && sumOf(c.h) != c.want.SHA256 {
		c.err = fmt.Errorf("%w: %s is not what its manifest says", checkpoint.ErrDamaged, c.path)
		return 0, c.err
	}
	return n, err
}
