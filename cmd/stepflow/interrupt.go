package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// interrupt is how the program is asked to end: Ctrl-C, SIGTERM, or SIGHUP of a terminal that is gone. The first ends
// the context. What must not be cut short takes hold, and ends by itself; a second signal ends it at once. All else
// has a moment to end by itself.
type interrupt struct {
	ctx context.Context

	mu      sync.Mutex
	stderr  io.Writer
	notice  string      // what to say at the first signal; "" where nothing holds
	instead func() bool // takes Ctrl-C, where it returns true
	cleanup []func()
	other   func(os.Signal) bool // takes every signal, where it returns true
	signals chan os.Signal
}

// moment is how long a command that nothing holds may take to end.
const moment = time.Second

// signals starts listening. cancel ends ctx, stderr takes what is said.
func signals(ctx context.Context, cancel func(), stderr io.Writer) *interrupt {
	// A write to a pipe that nobody reads any more is then an error like others, which output takes.
	signal.Ignore(syscall.SIGPIPE)
	listen := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		listen = append(listen, syscall.SIGHUP)
	}
	received := make(chan os.Signal, 2)
	in := &interrupt{ctx: ctx, stderr: stderr, signals: received}
	signal.Notify(received, listen...)
	next := func() os.Signal {
		for {
			if s := <-received; !in.forwarded(s) {
				return s
			}
		}
	}
	go func() {
		for next() == os.Interrupt && in.taken() {
		}
		cancel()
		if notice := in.held(); notice != "" {
			in.say("\n" + notice)
		} else {
			select {
			case <-received:
			case <-time.After(moment):
			}
			if in.held() == "" {
				in.end()
			}
		}
		next()
		in.end()
	}()
	return in
}

func (in *interrupt) held() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.notice
}

// take gives Ctrl-C to f, as long as f returns true; nil gives it back.
func (in *interrupt) take(f func() bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.instead = f
}

func (in *interrupt) taken() bool {
	in.mu.Lock()
	f := in.instead
	in.mu.Unlock()
	return f != nil && f()
}

func (in *interrupt) say(text string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	fmt.Fprintln(in.stderr, text)
}

// show has what is said go elsewhere.
func (in *interrupt) show(stderr io.Writer) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.stderr = stderr
}

// forward gives every signal to f, as long as f returns true; nil gives them back.
func (in *interrupt) forward(f func(os.Signal) bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.other = f
}

func (in *interrupt) forwarded(s os.Signal) bool {
	in.mu.Lock()
	f := in.other
	in.mu.Unlock()
	return f != nil && f(s)
}

// signal acts as if the process got a signal to end.
func (in *interrupt) signal() {
	select {
	case in.signals <- syscall.SIGTERM:
	default: // two are on their way
	}
}

// hold lets what runs from here on end by itself, whatever time it takes; notice is said at a signal.
func (in *interrupt) hold(notice string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.notice = notice
}

// atExit notes what to do where the process ends before what runs does.
func (in *interrupt) atExit(f func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.cleanup = append(in.cleanup, f)
}

func (in *interrupt) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, f := range in.cleanup {
		f()
	}
	os.Exit(exitInterrupted)
}
