//go:build linux

package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

//go:embed pipeline.hcl
var pipeline []byte

// Every stage of the pipeline saves this often, and is this long.
const (
	checkpointEvery = 4
	stageSteps      = 60
)

// stages are the addresses of the pipeline's stages, in order.
var stages = []string{"stage.seed", "stage.final"}

// lab holds what all acts share: the binary, the reference, and folders to begin from.
type lab struct {
	ctx    context.Context
	bin    string
	self   string
	root   string
	strace string
	lacks  map[need]string
	takes  time.Duration // of a whole run
	starts []start
	ref    *reference
	remote *reference // of the same documents from a server; nil where that failed
	server *server
}

// start is a folder to begin an act from: a pipeline that has not run, one that was killed, or one that ended.
type start struct {
	name  string
	dir   string
	lines int // of output that apply has left to write
	whole bool
}

// newLab runs the pipeline once undisturbed, and makes folders that were killed on the way.
func newLab(ctx context.Context, bin string) (*lab, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp("", "stepflow-campaign-")
	if err != nil {
		return nil, err
	}
	l := &lab{ctx: ctx, bin: bin, self: self, root: root, lacks: map[need]string{}}
	if err := l.prepare(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) close() {
	if l.server != nil {
		l.server.close()
	}
	os.RemoveAll(l.root)
}

func (l *lab) prepare() error {
	l.look()
	fresh := filepath.Join(l.root, "fresh")
	if err := makePipeline(fresh); err != nil {
		return err
	}
	l.starts = []start{{name: "fresh", dir: fresh}}
	rng := rand.New(rand.NewPCG(1, 1))
	// One run to its end: the reference.
	t, err := l.trial(l.ctx, -1, rng)
	if err != nil {
		return err
	}
	if err := t.begin(l.starts[0]); err != nil {
		return err
	}
	begun := time.Now()
	p := t.apply()
	l.takes = time.Since(begun)
	if p.code != 0 {
		return fmt.Errorf("apply ended with %d: %s", p.code, p.said())
	}
	l.starts[0].lines = p.lines
	if l.ref, err = t.readReference(); err != nil {
		return err
	}
	done := filepath.Join(l.root, "done")
	if err := os.Rename(t.dir, done); err != nil {
		return err
	}
	// Two that were killed, one in each stage.
	for i, stage := range stages {
		t, err := l.trial(l.ctx, -2-i, rng)
		if err != nil {
			return err
		}
		if err := t.begin(l.starts[0]); err != nil {
			return err
		}
		p := t.start(t.applyArgs(), func(p *proc, e event) {
			if e.Address == stage && e.Metrics.Step == 30 {
				p.cmd.Process.Kill()
			}
		})
		p.wait()
		name := "killed in " + stage
		dir := filepath.Join(l.root, fmt.Sprintf("killed%d", i))
		if err := os.Rename(t.dir, dir); err != nil {
			return err
		}
		l.starts = append(l.starts, start{name: name, dir: dir, lines: max(10, l.starts[0].lines-p.lines)})
	}
	l.starts = append(l.starts, start{name: "done", dir: done, lines: 4, whole: true})
	l.server, err = newServer(filepath.Join(fresh, "w", "data"))
	if err != nil {
		return err
	}
	return l.serveOnce(rng)
}

// serveOnce runs the pipeline on documents from a calm server.
func (l *lab) serveOnce(rng *rand.Rand) error {
	t, err := l.trial(l.ctx, -9, rng)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.begin(l.starts[0]); err != nil {
		return err
	}
	t.remote()
	if p := t.apply(); p.code != 0 {
		return fmt.Errorf("apply with data from a server ended with %d: %s", p.code, p.said())
	}
	l.remote, err = t.readReference()
	return err
}

// look finds out what the system has and allows.
func (l *lab) look() {
	dir := filepath.Join(l.root, "mount")
	err := os.Mkdir(dir, 0o755)
	if os.Getenv(insideVariable) != "yes" {
		err = errors.New("no mount namespace")
	}
	if err == nil {
		err = syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	}
	if err == nil {
		if err = syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err == nil {
			err = syscall.Unmount(dir, 0)
		}
	}
	if err != nil {
		l.lacks[mounts] = "mounting a tmpfs: " + err.Error()
	}
	if l.strace, err = exec.LookPath("strace"); err == nil {
		err = exec.Command(l.strace, "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e",
			"inject=fsync:error=EIO:when=1", "true").Run()
	}
	if err != nil {
		l.lacks[strace] = "strace: " + err.Error()
	}
}

// makePipeline writes the pipeline, its documents, and files of the user around it.
func makePipeline(dir string) error {
	rng := rand.New(rand.NewPCG(3, 5))
	words := make([]string, 400)
	for i := range words {
		for range 1 + rng.IntN(4) {
			words[i] += string("bcdfgklmnprst"[rng.IntN(13)]) + string("aeiou"[rng.IntN(5)])
		}
	}
	files := map[string][]byte{
		"w/main.hcl":               pipeline,
		"w/notes.txt":              []byte("a user's file beside the pipeline\n"),
		"w/out/other.txt":          []byte("a user's file beside the export\n"),
		"outside/victim.txt":       []byte("a user's file elsewhere\n"),
		"outside/model/weights.gz": []byte("a user's folder elsewhere\n"),
	}
	for i := range 4 {
		var b strings.Builder
		for d := range 30 {
			at := rng.IntN(len(words))
			var text []string
			for range 20 + rng.IntN(100) {
				at = (at*7 + rng.IntN(5)) % len(words)
				text = append(text, words[at])
			}
			line, err := json.Marshal(map[string]string{"id": fmt.Sprintf("%d-%d", i, d),
				"text": strings.Join(text, " ") + "."})
			if err != nil {
				return err
			}
			b.Write(append(line, '\n'))
		}
		files[fmt.Sprintf("w/data/%d.jsonl", i)] = []byte(b.String())
	}
	for name, b := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o644)); err != nil {
			return err
		}
	}
	return nil
}

// copyTree copies files with their modes and times, folders and links.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case info.Mode()&os.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case !info.Mode().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, b, info.Mode().Perm()); err != nil {
			return err
		}
		return os.Chtimes(target, info.ModTime(), info.ModTime())
	})
}
