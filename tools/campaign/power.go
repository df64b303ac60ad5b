//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// powerFailure kills a run and then takes away what a disk may forget when the power goes: new names whose folder was
// not synced, and bytes that were written to a file since it was. What had been said to be saved must still be there.
func powerFailure(t *trial) error {
	s, err := t.choose(false)
	if err != nil {
		return err
	}
	d := newDisk(t.dir)
	log := filepath.Join(t.dir, "strace.txt")
	at := 1 + t.rng.IntN(s.lines)
	cut := t.rng.Uint64()
	p := t.startWith(t.applyArgs(), func(p *proc, e event) {
		if p.lines == at {
			children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.cmd.Process.Pid, p.cmd.Process.Pid))
			for _, c := range strings.Fields(string(children)) { // strace itself lives on to write its log
				if pid, err := strconv.Atoi(c); err == nil {
					syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			t.note("  killed after %d lines", at)
		}
	}, t.command(append([]string{t.lab.strace, "-f", "-y", "--seccomp-bpf", "-qq", "-s", "0", "-e", "signal=none",
		"-o", log,
		"-e", "trace=openat,mkdirat,mkdir,renameat,renameat2,rename,linkat,?link,fsync,fdatasync,write", t.lab.bin},
		t.applyArgs()...)...))
	p.wait()
	if err := errors.Join(p.sane(), t.outside()); err != nil {
		return err
	}
	if err := d.replay(log); err != nil {
		return fmt.Errorf("the campaign's own reading of strace: %w", err)
	}
	forgotten, err := d.fail(cut)
	if err != nil {
		return fmt.Errorf("the campaign's own power failure: %w", err)
	}
	t.note("forgotten: %s", strings.Join(forgotten, ", "))
	had := t.kept()
	for stage, step := range p.saved {
		if had[stage] < step {
			return fmt.Errorf("step %d of %s was saved; after a power failure %d steps are left",
				step, stage, had[stage])
		}
	}
	if err := t.settle(expectation{had: had}); err != nil {
		return fmt.Errorf("after a power failure: %w", err)
	}
	return nil
}

// disk knows what of a folder would be there after a power failure: fsync(2) makes a file's bytes durable, and that of
// a folder the names in it.
type disk struct {
	root   string
	names  map[string]bool  // durable ones
	known  map[string]bool  // all
	length map[string]int64 // of files written to
	synced map[string]int64 // how much of that is durable
}

func newDisk(root string) *disk {
	d := &disk{root, map[string]bool{}, map[string]bool{}, map[string]int64{}, map[string]int64{}}
	filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			d.names[path], d.known[path] = true, true
		}
		return nil
	})
	return d
}

// Calls as strace -y prints them, a number of the process before them.
var (
	opened    = regexp.MustCompile(`^openat\(.*(O_CREAT|O_TRUNC).*\) = \d+<(.*)>$`)
	made      = regexp.MustCompile(`^mkdirat\(AT_FDCWD<(.*)>, "(.*)", \d+\) = 0$`)
	moved2    = regexp.MustCompile(`^renameat2?\(AT_FDCWD<(.*)>, "(.*)", AT_FDCWD<.*>, "([^"]*)".*\) = 0$`)
	linked    = regexp.MustCompile(`^linkat\(AT_FDCWD<(.*)>, "(.*)", AT_FDCWD<.*>, "([^"]*)".*\) = 0$`)
	synced    = regexp.MustCompile(`^f(?:data)?sync\(\d+<(.*)>\) = 0$`)
	wrote     = regexp.MustCompile(`^write\(\d+<(/.*)>, .*\) = (\d+)$`)
	broken    = regexp.MustCompile(`^(\d+) +(.*) <unfinished \.\.\.>$`)
	goneOn    = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
	numbered  = regexp.MustCompile(`^(\d+) +(.*)$`)
	equalSign = regexp.MustCompile(` += `)
)

// replay follows the calls of a run.
func (d *disk) replay(log string) error {
	f, err := os.Open(log)
	if err != nil {
		return err
	}
	defer f.Close()
	half := map[string]string{}
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line := in.Text()
		if m := broken.FindStringSubmatch(line); m != nil {
			half[m[1]] = m[2]
			continue
		}
		if m := goneOn.FindStringSubmatch(line); m != nil {
			line = half[m[1]] + m[2]
		} else if m := numbered.FindStringSubmatch(line); m != nil {
			line = m[2]
		}
		d.call(equalSign.ReplaceAllString(line, " = "))
	}
	return in.Err()
}

func (d *disk) call(line string) {
	in := func(dir, name string) string {
		if filepath.IsAbs(name) {
			return filepath.Clean(name)
		}
		return filepath.Join(dir, name)
	}
	if m := opened.FindStringSubmatch(line); m != nil {
		path := m[2]
		if strings.Contains(line, "O_TRUNC") || !d.known[path] {
			d.length[path], d.synced[path] = 0, 0
		} else if st, err := os.Stat(path); err == nil && d.length[path] == 0 {
			d.length[path], d.synced[path] = st.Size(), st.Size()
		}
		d.known[path] = true
	} else if m := made.FindStringSubmatch(line); m != nil {
		d.known[in(m[1], m[2])] = true
	} else if m := moved2.FindStringSubmatch(line); m != nil {
		d.move(in(m[1], m[2]), in(m[1], m[3]))
	} else if m := linked.FindStringSubmatch(line); m != nil {
		from, to := in(m[1], m[2]), in(m[1], m[3])
		d.known[to] = true
		if n, ok := d.length[from]; ok {
			d.length[to], d.synced[to] = n, d.synced[from]
		}
	} else if m := synced.FindStringSubmatch(line); m != nil {
		path := m[1]
		d.synced[path] = d.length[path]
		for name := range d.known { // where it is a folder
			if filepath.Dir(name) == path {
				d.names[name] = true
			}
		}
	} else if m := wrote.FindStringSubmatch(line); m != nil {
		n, _ := strconv.ParseInt(m[2], 10, 64)
		d.length[m[1]] += n
	}
}

// move gives a file or folder another name. The name is durable if another file had it: after a power failure it is
// either of them.
func (d *disk) move(from, to string) {
	for name := range d.known {
		rest, ok := strings.CutPrefix(name, from)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		other := to + rest
		d.known[other] = true
		if rest != "" {
			d.names[other] = d.names[name]
		}
		if n, ok := d.length[name]; ok {
			d.length[other], d.synced[other] = n, d.synced[name]
		}
		delete(d.known, name)
		delete(d.names, name)
		delete(d.length, name)
		delete(d.synced, name)
	}
}

// fail takes away what is not durable.
func (d *disk) fail(cut uint64) (forgotten []string, err error) {
	var all []string
	for _, root := range []string{"w", "cache"} {
		filepath.WalkDir(filepath.Join(d.root, root), func(path string, e fs.DirEntry, err error) error {
			if err == nil {
				all = append(all, path)
			}
			return nil
		})
	}
	for _, path := range all {
		st, e := os.Lstat(path)
		if e != nil { // went with its folder
			continue
		}
		rel, _ := filepath.Rel(d.root, path)
		switch n, ok := d.length[path]; {
		case !d.names[path]:
			forgotten = append(forgotten, rel)
			err = errors.Join(err, os.RemoveAll(path))
		case ok && d.synced[path] < n && st.Mode().IsRegular():
			keep := d.synced[path] + int64(cut%uint64(n-d.synced[path]+1))
			if keep < st.Size() {
				forgotten = append(forgotten, fmt.Sprintf("%s after %d of %d bytes", rel, keep, st.Size()))
				err = errors.Join(err, os.Truncate(path, keep))
			}
		}
	}
	return forgotten, err
}
