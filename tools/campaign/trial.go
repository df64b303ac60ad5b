//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long a command may take before it hangs.
const patience = 60 * time.Second

// trial is one act: a folder of its own, the random source, and what happened.
type trial struct {
	lab      *lab
	ctx      context.Context
	rng      *rand.Rand
	dir      string // everything of the act; mounts and users' files included
	w        string // the pipeline
	vars     []string
	ref      *reference
	detected bool
	renamed  bool // addresses differ from the reference's
	metrics  bool // metrics.jsonl was damaged: it is not compared
	mounted  string

	mu    sync.Mutex
	story strings.Builder
}

// trial makes an empty folder for act n.
func (l *lab) trial(ctx context.Context, n int, rng *rand.Rand) (*trial, error) {
	dir := filepath.Join(l.root, fmt.Sprintf("act%d", n))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	return &trial{lab: l, ctx: ctx, rng: rng, dir: dir, w: filepath.Join(dir, "w"), ref: l.ref}, nil
}

func (t *trial) close() {
	if t.mounted != "" {
		syscall.Unmount(t.mounted, syscall.MNT_DETACH)
	}
	os.RemoveAll(t.dir)
}

// note adds to the story of the act.
func (t *trial) note(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(&t.story, format+"\n", args...)
}

// begin copies a folder to start from.
func (t *trial) begin(s start) error {
	t.note("begin: %s", s.name)
	if err := copyTree(s.dir, t.dir); err != nil {
		return err
	}
	return os.MkdirAll(t.temp(), 0o755)
}

// choose begins from a random folder: any of them, or one that did not end.
func (t *trial) choose(whole bool) (start, error) {
	list := t.lab.starts
	if !whole {
		list = list[:len(list)-1]
	}
	s := list[t.rng.IntN(len(list))]
	return s, t.begin(s)
}

func (t *trial) temp() string  { return filepath.Join(t.dir, "tmp") }
func (t *trial) state() string { return filepath.Join(t.w, ".stepflow") }

// event is a line of apply -json.
type event struct {
	Type    string `json:"type"`
	Address string `json:"address"`
	Message string `json:"message"`
	Metrics struct {
		Step int `json:"step"`
	} `json:"metrics"`
}

// proc is a running command.
type proc struct {
	t     *trial
	cmd   *exec.Cmd
	args  []string
	ended chan struct{}

	mu     sync.Mutex
	first  map[string]int // by stage, the first step trained
	last   map[string]int // and the last
	saved  map[string]int // and the last one that was said to be saved
	lines  int
	out    bytes.Buffer
	errOut bytes.Buffer
	code   int // -1 for a signal
	signal syscall.Signal
	hung   bool
	deaf   bool // its output is read no more: the pipe is closed
}

func (t *trial) applyArgs(more ...string) []string {
	return append([]string{"apply", "-json", "-threads", "1"}, append(append(more, t.vars...), "w")...)
}

// apply runs the pipeline as a user would: nobody answers questions.
func (t *trial) apply(more ...string) *proc {
	p := t.start(t.applyArgs(more...), nil)
	p.wait()
	return p
}

// run runs another command to its end.
func (t *trial) run(args ...string) *proc {
	p := t.start(args, nil)
	p.wait()
	return p
}

// start starts stepflow; on is called for each line of JSON.
func (t *trial) start(args []string, on func(*proc, event)) *proc {
	return t.startWith(args, on, t.command(append([]string{t.lab.bin}, args...)...))
}

// command is a command in the act's folder, with caches and temporary files there.
func (t *trial) command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = t.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.dir, "TMPDIR=" + t.temp(), "NO_COLOR=1",
		"STEPFLOW_CACHE_DIR=" + filepath.Join(t.dir, "cache"), "STEPFLOW_CACHE_SIZE=0 B"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// limited runs stepflow under limits such as "nofile=64".
func (t *trial) limited(limits string, args []string, on func(*proc, event)) *proc {
	cmd := t.command(append([]string{t.lab.self, t.lab.bin}, args...)...)
	cmd.Env = append(cmd.Env, limitsVariable+"="+limits)
	t.note("under %s:", limits)
	return t.startWith(args, on, cmd)
}

// injected runs stepflow under strace, which lets system calls fail.
func (t *trial) injected(args []string, inject ...string) *proc {
	list := []string{t.lab.strace, "-f", "--seccomp-bpf", "-qq", "-o", filepath.Join(t.dir, "strace.txt")}
	list = append(append(list, inject...), t.lab.bin)
	t.note("injecting %s:", strings.Join(inject, " "))
	p := t.startWith(args, nil, t.command(append(list, args...)...))
	p.wait()
	return p
}

func (t *trial) startWith(args []string, on func(*proc, event), cmd *exec.Cmd) *proc {
	p := &proc{t: t, cmd: cmd, args: args, ended: make(chan struct{}), first: map[string]int{}, last: map[string]int{},
		saved: map[string]int{}}
	t.note("$ stepflow %s", strings.Join(args, " "))
	cmd.Stderr = &locked{p: p, b: &p.errOut}
	r, w, err := os.Pipe()
	if err != nil {
		panic(err) // out of descriptors: the campaign itself is at fault
	}
	cmd.Stdout = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		p.code = -1
		p.errOut.WriteString(err.Error())
		close(p.ended)
		return p
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer r.Close()
		p.read(r, on)
	}()
	go func() {
		timer := time.AfterFunc(patience, func() {
			p.mu.Lock()
			p.hung = true
			p.mu.Unlock()
			syscall.Kill(-cmd.Process.Pid, syscall.SIGQUIT) // shows where it stands
			time.AfterFunc(2*time.Second, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		})
		stop := context.AfterFunc(t.ctx, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		<-read
		cmd.Wait()
		timer.Stop()
		stop()
		p.mu.Lock()
		p.code = cmd.ProcessState.ExitCode()
		if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			p.signal = s.Signal()
		}
		t.note("  → %s", cmd.ProcessState)
		if s := strings.TrimSpace(p.errOut.String()); s != "" {
			t.note("%s", indent(s))
		}
		p.mu.Unlock()
		close(p.ended)
	}()
	return p
}

// read takes the output apart, to its end or until nobody wants it.
func (p *proc) read(r io.Reader, on func(*proc, event)) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		json.Unmarshal(in.Bytes(), &e)
		p.mu.Lock()
		p.lines++
		if p.out.Len() < 1<<20 {
			p.out.Write(append(in.Bytes(), '\n'))
		}
		s := e.Metrics.Step
		if s > 0 {
			if p.first[e.Address] == 0 {
				p.first[e.Address] = s
			}
			p.last[e.Address] = s
		}
		if e.Type == "checkpoint" {
			fmt.Sscanf(filepath.Base(e.Message), "step-%d", &s)
			p.saved[e.Address] = s
		} else if e.Type == "apply_complete" && strings.HasPrefix(e.Address, "stage.") {
			p.saved[e.Address] = stageSteps
		}
		p.mu.Unlock()
		if on != nil {
			on(p, e)
		}
		p.mu.Lock()
		deaf := p.deaf
		p.mu.Unlock()
		if deaf {
			return
		}
	}
}

func (p *proc) wait() { <-p.ended }

func (p *proc) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.errOut.String()
}

// said is what a command wrote about what went wrong: on the standard error, or as JSON.
func (p *proc) said() string {
	var b strings.Builder
	b.WriteString(p.stderr())
	for line := range strings.Lines(p.stdout()) {
		if strings.Contains(line, `"diagnostic"`) || strings.Contains(line, `"error"`) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func (p *proc) stdout() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// interrupt sends a signal to the command.
func (p *proc) interrupt(s syscall.Signal) {
	select {
	case <-p.ended:
	default:
		p.mu.Lock()
		p.t.note("  %v after %d lines", s, p.lines)
		p.mu.Unlock()
		p.cmd.Process.Signal(s)
	}
}

// sane is an error where the command hung or crashed.
func (p *proc) sane() error {
	out := p.stderr() + p.stdout()
	switch {
	case p.hung:
		return fmt.Errorf("stepflow %s does not end", strings.Join(p.args, " "))
	case strings.Contains(out, "panic:"), strings.Contains(out, "fatal error:"), strings.Contains(out, "goroutine 1 ["):
		return fmt.Errorf("stepflow %s crashed: %.300s", strings.Join(p.args, " "), p.stderr())
	}
	return nil
}

type locked struct {
	p *proc
	b *bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if l.b.Len() < 1<<20 {
		l.b.Write(b)
	}
	return len(b), nil
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }
