//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func faults() []act {
	return []act{
		{name: "fault: full disk", needs: mounts, do: fullDisk},
		{name: "fault: largest file", do: smallFiles},
		{name: "fault: few descriptors", do: fewDescriptors},
		{name: "fault: sync and rename", needs: strace, do: failedCalls},
		{name: "fault: power failure", needs: strace, do: powerFailure},
		{name: "fault: unreadable file", needs: strace, do: unreadable},
	}
}

// fullDisk runs in a small file system that fills up, which then grows.
func fullDisk(t *trial) error {
	list := t.lab.starts[:len(t.lab.starts)-1]
	s := list[t.rng.IntN(len(list))]
	need, err := size(s.dir)
	if err != nil {
		return err
	}
	whole, err := size(t.lab.starts[len(t.lab.starts)-1].dir)
	if err != nil {
		return err
	}
	// Between what is there already and a little more than what the end takes, checkpoints on the way included.
	room := need + 16<<10 + t.rng.Int64N(max(1, whole*3/2-need))
	if err := os.Mkdir(t.w, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", t.w, "tmpfs", 0, fmt.Sprintf("size=%d", room)); err != nil {
		return fmt.Errorf("the campaign's own mount: %w", err)
	}
	t.mounted = t.w
	if err := t.begin(s); err != nil {
		return fmt.Errorf("the campaign's own copy: %w", err)
	}
	had := t.kept()
	t.note("a file system of %d bytes", room)
	p := t.apply()
	if err := errors.Join(p.sane(), t.outside()); err != nil {
		return err
	}
	if p.code != 0 {
		if !strings.Contains(p.said(), "no space left") {
			return fmt.Errorf("apply ends with %d on a full disk and does not say that it is full: %s",
				p.code, first(p.said()))
		}
		if err := t.look(false); err != nil {
			return err
		}
	}
	after := t.kept()
	if err := t.fell(had, after, p); err != nil {
		return err
	}
	if err := syscall.Mount("", t.w, "", syscall.MS_REMOUNT, "size=64m"); err != nil {
		return fmt.Errorf("the campaign's own mount: %w", err)
	}
	return t.settle(expectation{had: after})
}

// fell is an error where a failed run left less on disk than there was, or much less than it had trained.
func (t *trial) fell(had, after map[string]int, p *proc) error {
	for _, stage := range stages {
		if after[stage] < had[stage] || after[stage] < p.last[stage]-2*checkpointEvery {
			return fmt.Errorf("%s: %d steps are on disk; %d were before, %d were reached: %s",
				stage, after[stage], had[stage], p.last[stage], first(p.said()))
		}
	}
	return nil
}

func size(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n += 4096 // the page of a folder's entry, and what rounding up takes
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n += (info.Size() + 4095) / 4096 * 4096
		}
		return nil
	})
	return n, err
}

// smallFiles runs under a limit on the size of a file.
func smallFiles(t *trial) error {
	if _, err := t.choose(false); err != nil {
		return err
	}
	had := t.kept()
	p := t.limited(fmt.Sprintf("fsize=%d", 1000+t.rng.IntN(300_000)), t.applyArgs(), nil)
	p.wait()
	if err := errors.Join(p.sane(), t.outside()); err != nil {
		return err
	}
	after := t.kept()
	if err := t.fell(had, after, p); err != nil {
		return err
	}
	return t.settle(expectation{had: after})
}

// fewDescriptors runs with too few file descriptors.
func fewDescriptors(t *trial) error {
	if _, err := t.choose(true); err != nil {
		return err
	}
	had := t.kept()
	p := t.limited(fmt.Sprintf("nofile=%d", 4+t.rng.IntN(12)), t.applyArgs(), nil)
	p.wait()
	if p.hung {
		return p.sane()
	}
	// The Go runtime itself needs a few to start at all, and says so by a crash.
	if crash := p.sane(); crash != nil && p.lines > 0 {
		return crash
	}
	after := t.kept()
	if err := errors.Join(t.outside(), t.fell(had, after, p)); err != nil {
		return err
	}
	return t.settle(expectation{had: after})
}

// failedCalls lets one kind of system call fail now and then.
func failedCalls(t *trial) error {
	if _, err := t.choose(true); err != nil {
		return err
	}
	had := t.kept()
	calls := []string{"fsync", "renameat,renameat2,?rename", "mkdirat,?mkdir", "unlinkat,?unlink,?rmdir",
		"fsync,renameat,renameat2,mkdirat,unlinkat", "getdents64", "flock"}[t.rng.IntN(7)]
	code := []string{"EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "ESTALE"}[t.rng.IntN(6)]
	when := fmt.Sprint(1 + t.rng.IntN(30))
	if t.rng.IntN(3) == 0 {
		when += "+" // and from then on
	}
	p := t.injected(t.applyArgs(), "-e", "trace="+calls, "-e",
		fmt.Sprintf("inject=%s:error=%s:when=%s", calls, code, when))
	if err := errors.Join(p.sane(), t.outside()); err != nil {
		return fmt.Errorf("%s of %s: %w", code, calls, err)
	}
	after := t.kept()
	if err := t.fell(had, after, p); err != nil {
		return fmt.Errorf("%s of %s: %w", code, calls, err)
	}
	if err := t.settle(expectation{had: after}); err != nil {
		return fmt.Errorf("%s of %s: %w", code, calls, err)
	}
	return nil
}

// unreadable lets the opening or reading of one file fail for the time of one run, then goes on.
func unreadable(t *trial) error {
	s, err := t.choose(true)
	if err != nil {
		return err
	}
	had := t.kept()
	list, err := t.files(func(string) bool { return true })
	if err != nil {
		return err
	}
	data, err := filepath.Glob(filepath.Join(t.w, "data", "*"))
	if err != nil {
		return err
	}
	list = append(list, append(data, filepath.Join(t.w, "main.hcl"))...)
	path := list[t.rng.IntN(len(list))]
	rel, _ := filepath.Rel(t.dir, path)
	calls := []string{"openat", "read,pread64", "newfstatat,fstat,statx"}[t.rng.IntN(3)]
	code := []string{"EIO", "EACCES", "EMFILE", "ENOMEM", "ESTALE"}[t.rng.IntN(5)]
	args := t.applyArgs()
	if t.rng.IntN(2) == 0 {
		args = t.applyArgs("-auto-approve")
	}
	before := t.bytes()
	p := t.injected(args, "-P", path, "-e", "trace="+calls, "-e", fmt.Sprintf("inject=%s:error=%s", calls, code))
	t.note("%s of %s, %s", code, calls, rel)
	fault := func(err error) error {
		if err != nil {
			err = fmt.Errorf("%s of %s, %s: %w", code, calls, rel, err)
		}
		return err
	}
	if err := errors.Join(p.sane(), t.outside()); err != nil {
		return fault(err)
	}
	after := t.kept()
	if err := t.fell(had, after, p); err != nil {
		return fault(err)
	}
	for stage, step := range had {
		if from, ok := p.first[stage]; ok && from-1 < step {
			return fault(fmt.Errorf("%s had %d steps on disk and was trained from step %d because a file could not "+
				"be read", stage, step, from))
		}
	}
	if p.code != 0 && s.whole {
		t.note("files before: %d, after: %d", before, t.bytes())
	}
	return fault(t.settle(expectation{had: after}))
}

// bytes counts the files of the state and the export.
func (t *trial) bytes() int {
	list, _ := t.files(func(string) bool { return true })
	return len(list)
}
