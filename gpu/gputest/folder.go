package gputest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"stepflow/gpu"
)

// Folder joins processes of one machine by files in a folder, which takes no engine: for few and small messages.
func Folder(dir string, rank, size int) (gpu.Communicator, error) {
	f := &folder{dir: dir, rank: rank, size: size, failed: make(chan struct{})}
	if err := f.put(fmt.Sprint("pid ", rank), fmt.Append(nil, os.Getpid())); err != nil {
		return nil, err
	}
	var pids []int
	for r := range size {
		b, err := f.get(fmt.Sprint("pid ", r))
		if err != nil {
			return nil, err
		}
		var pid int
		fmt.Sscan(string(b), &pid)
		pids = append(pids, pid)
	}
	go f.watch(pids)
	return f, nil
}

type folder struct {
	dir        string
	rank, size int
	number     int // of operations
	failed     chan struct{}

	mu  sync.Mutex
	err error
}

func (f *folder) Rank() int               { return f.rank }
func (f *folder) Size() int               { return f.size }
func (f *folder) Name() string            { return "files in " + f.dir }
func (f *folder) Failed() <-chan struct{} { return f.failed }
func (f *folder) Close() error            { f.Abort(errors.New("closed")); return nil }

// put writes a file that is seen whole or not at all.
func (f *folder) put(name string, b []byte) error {
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path+".part", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

// get waits for a file.
func (f *folder) get(name string) ([]byte, error) {
	for {
		b, err := os.ReadFile(filepath.Join(f.dir, name))
		if !errors.Is(err, os.ErrNotExist) {
			return b, err
		}
		select {
		case <-f.failed:
			f.mu.Lock()
			defer f.mu.Unlock()
			return nil, f.err
		case <-time.After(time.Millisecond):
		}
	}
}

// watch notices processes that are gone.
func (f *folder) watch(pids []int) {
	for {
		select {
		case <-f.failed:
			return
		case <-time.After(20 * time.Millisecond):
		}
		for r, pid := range pids {
			if _, err := os.Stat(filepath.Join(f.dir, fmt.Sprint("aborted ", r))); err == nil || syscall.Kill(pid, 0) != nil {
				f.Abort(fmt.Errorf("rank %d ended", r))
			}
		}
	}
}

func (f *folder) Exchange(send, recv [][]byte) error {
	f.number++
	name := func(from, to int) string { return fmt.Sprintf("%d from %d to %d", f.number, from, to) }
	for r := range send {
		if err := f.put(name(f.rank, r), send[r]); err != nil {
			return err
		}
	}
	for r := range recv {
		b, err := f.get(name(r, f.rank))
		if err != nil {
			return err
		}
		if copy(recv[r], b) != len(b) || len(b) != len(recv[r]) {
			return fmt.Errorf("rank %d sends %d bytes and not %d", r, len(b), len(recv[r]))
		}
	}
	return nil
}

func (f *folder) Broadcast(root int, b []byte) error {
	send, recv := make([][]byte, f.size), make([][]byte, f.size)
	if recv[root] = b; f.rank == root {
		for r := range send {
			send[r] = b
		}
	}
	return f.Exchange(send, recv)
}

func (f *folder) Abort(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return
	}
	f.err = err
	f.put(fmt.Sprint("aborted ", f.rank), nil)
	close(f.failed)
}
