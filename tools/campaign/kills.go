//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// blow ends or disturbs a run at a moment. graceful says that the run saves the step it is at before it ends,
// lives that it goes on to its end.
type blow struct {
	name     string
	strike   func(*trial, *proc)
	graceful bool
	lives    bool
}

func send(list ...syscall.Signal) func(*trial, *proc) {
	return func(t *trial, p *proc) {
		for i, s := range list {
			if i > 0 {
				time.Sleep(time.Duration(t.rng.IntN(20)) * time.Millisecond)
			}
			p.interrupt(s)
		}
	}
}

var blows = []blow{
	{name: "SIGKILL", strike: send(syscall.SIGKILL)},
	{name: "SIGTERM", strike: send(syscall.SIGTERM), graceful: true},
	{name: "SIGINT", strike: send(syscall.SIGINT), graceful: true},
	{name: "SIGINT twice", strike: send(syscall.SIGINT, syscall.SIGINT)},
	{name: "SIGTERM then SIGKILL", strike: send(syscall.SIGTERM, syscall.SIGKILL)},
	{name: "SIGHUP", strike: send(syscall.SIGHUP), graceful: true},
	{name: "SIGQUIT", strike: send(syscall.SIGQUIT)},
	{name: "SIGSTOP, SIGCONT", lives: true, strike: func(t *trial, p *proc) {
		p.interrupt(syscall.SIGSTOP)
		time.Sleep(time.Duration(50+t.rng.IntN(250)) * time.Millisecond)
		p.interrupt(syscall.SIGCONT)
	}},
	{name: "closed pipe", lives: true, strike: func(t *trial, p *proc) {
		p.mu.Lock()
		defer p.mu.Unlock()
		t.note("  its output is closed after %d lines", p.lines)
		p.deaf = true
	}},
}

func kills() (list []act) {
	for _, b := range blows {
		list = append(list, act{name: "kill: " + b.name, do: func(t *trial) error { return t.kill(b) }})
	}
	return append(list, act{name: "kill: other commands", do: killOthers})
}

// kill strikes up to three runs one after another, then goes on.
func (t *trial) kill(b blow) error {
	s, err := t.choose(true)
	if err != nil {
		return err
	}
	if s.whole { // the export is to be made again
		if err := os.RemoveAll(filepath.Join(t.w, "out", "model")); err != nil {
			return err
		}
	}
	had := t.kept()
	for range 1 + t.rng.IntN(3) {
		p := t.struck(b, max(1, s.lines))
		if p.hung {
			return fmt.Errorf("apply does not end after %s", b.name)
		}
		if p.signal == 0 && b.name != "SIGQUIT" {
			if err := p.sane(); err != nil {
				return err
			}
		}
		was := had
		had = t.kept()
		if err := t.saved(b, p, was, had); err != nil {
			return err
		}
		if err := t.outside(); err != nil {
			return err
		}
	}
	return t.settle(expectation{had: had})
}

// struck runs apply and strikes at a moment drawn at random: after a line of its output and a little time, after
// a little time from its start, or when a certain kind of file appears.
func (t *trial) struck(b blow, lines int) *proc {
	at, pause := -1, time.Duration(t.rng.IntN(5000))*time.Microsecond
	pattern := ""
	switch t.rng.IntN(5) {
	case 0:
		pause = time.Duration(t.rng.IntN(200)) * time.Millisecond
	case 1:
		pattern = []string{
			".stepflow/blocks/*/*.tmp", ".stepflow/*.tmp", "out/.*", "out/model/*", ".stepflow/blocks/*/step-00000060",
			".stepflow/blocks/*/result*"}[t.rng.IntN(6)]
		pause /= 2
	default:
		at = 1 + t.rng.IntN(lines)
	}
	struck := make(chan struct{})
	hit := false
	p := t.start(t.applyArgs(), func(p *proc, e event) {
		if p.lines != at || hit {
			return
		}
		hit = true
		if b.name == "closed pipe" {
			b.strike(t, p)
			return
		}
		go func() { // what it writes meanwhile is to be read
			defer close(struck)
			time.Sleep(pause)
			b.strike(t, p)
		}()
	})
	if at < 0 {
		t.waitFor(p, pattern)
		time.Sleep(pause)
		b.strike(t, p)
	}
	p.wait()
	if hit && b.name != "closed pipe" {
		<-struck
	}
	return p
}

// waitFor polls until a file that matches the pattern appears that was not there before, or the process ends.
func (t *trial) waitFor(p *proc, pattern string) {
	if pattern == "" {
		return
	}
	t.note("  waiting for %s", pattern)
	there := func() int {
		m, _ := filepath.Glob(filepath.Join(t.w, pattern))
		return len(m)
	}
	for was := there(); there() <= was; {
		select {
		case <-p.ended:
			return
		case <-time.After(200 * time.Microsecond):
		}
	}
}

// saved compares what a run had reached when it ended with what is on disk.
func (t *trial) saved(b blow, p *proc, was, had map[string]int) error {
	for _, stage := range stages {
		reached := max(p.last[stage], was[stage])
		allowed := checkpointEvery
		switch {
		case b.lives && p.code == 0:
			reached, allowed = stageSteps, 0
		case b.graceful && p.signal == 0:
			allowed = 0
		}
		if had[stage] < was[stage] {
			return fmt.Errorf("%s had %d steps on disk before the run, %d after %s",
				stage, was[stage], had[stage], b.name)
		}
		if had[stage] < reached-allowed {
			return fmt.Errorf("%s: after %s (exit code %d) %d steps are on disk of %d that were trained: %s",
				stage, b.name, p.code, had[stage], reached, first(p.said()))
		}
	}
	if b.lives && p.code != 0 {
		return fmt.Errorf("%s ended the run with %d (signal %v): %s", b.name, p.code, p.signal, first(p.said()))
	}
	if b.graceful && p.code != 130 && p.code != 0 && p.lines > 0 {
		return fmt.Errorf("%s ended the run with %d (signal %v), not 130: %s",
			b.name, p.code, p.signal, first(p.said()))
	}
	return nil
}

// killOthers kills commands that only look, or work beside the state.
func killOthers(t *trial) error {
	if err := t.begin(t.lab.starts[len(t.lab.starts)-1]); err != nil {
		return err
	}
	had := t.kept()
	commands := [][]string{
		{"apply", "-verify", "-threads", "1", "w"},
		{"report", "-o", "report.html", "w"},
		{"plan", "-out", "plan.json", "w"},
		{"state", "check", "-dir", "w"},
		{"profile", "-dir", "w", "-o", "trace.json", "stage.seed"},
		{"watch", "-once", "w"},
		{"fmt", "w"},
	}
	args := commands[t.rng.IntN(len(commands))]
	s := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}[t.rng.IntN(4)]
	p := t.start(args, nil)
	longest := 60 * time.Millisecond
	if args[0] == "apply" || args[0] == "profile" {
		longest = t.lab.takes
	}
	time.Sleep(time.Duration(t.rng.Int64N(int64(longest))))
	p.interrupt(s)
	p.wait()
	if p.hung {
		return fmt.Errorf("stepflow %s does not end after %v", strings.Join(args, " "), s)
	}
	if left, _ := os.ReadDir(t.temp()); len(left) > 0 {
		if s != syscall.SIGKILL && p.signal == 0 {
			return fmt.Errorf("stepflow %s left %s in the temporary folder after %v",
				strings.Join(args, " "), left[0].Name(), s)
		}
		for _, e := range left { // nobody can clean up after SIGKILL
			os.RemoveAll(filepath.Join(t.temp(), e.Name()))
		}
	}
	return t.settle(expectation{had: had})
}
