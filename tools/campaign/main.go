//go:build linux

// Command campaign attacks stepflow for a given time and says what became of the work: it kills runs by every
// signal, fills their disk, fails their system calls, damages every kind of file they wrote, lets them race, serves
// them data from a server that comes and goes, and holds their page open. After each act it goes on as a user would and
// compares what is there with a run that nothing happened to.
//
// An act ends in one of three ways:
//
//	survived  the next apply, without -auto-approve, ends with the bits of the reference, and no step was trained
//	          again that a checkpoint on disk had kept
//	detected  apply stopped with an error or a question that names what is wrong, removed nothing, and ended with the
//	          bits of the reference after the remedy it asks for
//	lost      anything else: other bits, work gone without a question, a user's file touched, a panic, a process that
//	          does not end, files left behind
//
// Everything happens in a folder of its own, on loopback, and is removed in the end; what an act lost is kept.
// It runs on Linux: a full disk is a small tmpfs in a mount namespace of its own, failed system calls are
// injected by strace. Where the system lacks or forbids one of them, the acts that need it are named and left out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	if limits := os.Getenv(limitsVariable); limits != "" {
		execLimited(limits, os.Args[1:])
	}
	seed := flag.Uint64("seed", uint64(time.Now().Unix()), "seed of the acts")
	duration := flag.Duration("duration", time.Minute, "how long to go on; the acts that were begun are ended")
	binary := flag.String("stepflow", "bin/stepflow", "the binary to attack")
	only := flag.Int("only", -1, "repeat this act alone and keep its folder")
	kind := flag.String("kind", "", "only acts whose name contains this")
	workers := flag.Int("workers", max(1, runtime.NumCPU()), "acts at a time")
	keep := flag.String("keep", filepath.Join(os.TempDir(), "stepflow-campaign"), "folder for what was lost")
	verbose := flag.Bool("v", false, "print every act")
	flag.Parse()
	if os.Getenv(insideVariable) == "" {
		if code, ok := privateMounts(); ok {
			os.Exit(code)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	c := &campaign{seed: *seed, only: *only, filter: *kind, keep: *keep, verbose: *verbose,
		results: map[string]*result{}}
	code, err := c.run(ctx, *binary, *duration, *workers)
	if err != nil {
		fmt.Fprintln(os.Stderr, "campaign:", err)
	}
	os.Exit(code)
}

// act is one kind of attack. It returns an error, the loss, or nil.
type act struct {
	name  string
	needs need
	do    func(*trial) error
}

// need is what an act asks of the system.
type need int

const (
	nothing need = iota
	mounts       // of file systems, in a namespace of ours
	strace
)

// result counts how the acts of a kind ended.
type result struct{ tried, survived, detected, lost int }

type campaign struct {
	seed    uint64
	only    int
	filter  string
	keep    string
	verbose bool

	mu      sync.Mutex
	next    int
	results map[string]*result
	losses  int
}

// run makes the reference and acts until the time is over; the exit code is 1 after a loss.
func (c *campaign) run(ctx context.Context, binary string, duration time.Duration, workers int) (int, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	lab, err := newLab(ctx, binary)
	if err != nil {
		return 1, fmt.Errorf("a run that nothing happens to must succeed first: %w", err)
	}
	defer lab.close()
	var acts []act
	var missing []string
	for _, a := range allActs() {
		if lab.lacks[a.needs] != "" {
			missing = append(missing, a.name+": "+lab.lacks[a.needs])
			continue
		}
		acts = append(acts, a)
	}
	for _, m := range missing {
		fmt.Println("left out:", m)
	}
	fmt.Printf("seed %d; a run takes %s; %d acts at a time for %s\n",
		c.seed, lab.takes.Round(time.Millisecond), workers, duration)
	start := time.Now()
	if c.only >= 0 {
		c.next, workers = c.only, 1
	}
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for ctx.Err() == nil && (c.only < 0 && time.Since(start) < duration || c.only >= 0 && c.next == c.only) {
				c.mu.Lock()
				n := c.next
				c.next++
				c.mu.Unlock()
				c.act(ctx, stop, lab, acts, n)
			}
		})
	}
	wait.Wait()
	c.table(acts, time.Since(start))
	switch {
	case c.losses > 0:
		return 1, nil
	case ctx.Err() != nil:
		return 130, fmt.Errorf("stopped before its time: %w", context.Cause(ctx))
	}
	return 0, nil
}

// act runs act number n, or calls stop where it cannot be prepared. What it does is drawn from the seed and the number
// alone.
func (c *campaign) act(ctx context.Context, stop context.CancelCauseFunc, lab *lab, acts []act, n int) {
	rng := rand.New(rand.NewPCG(c.seed, uint64(n)))
	a := acts[rng.IntN(len(acts))]
	if !strings.Contains(a.name, c.filter) {
		return
	}
	t, err := lab.trial(ctx, n, rng)
	if err != nil { // the campaign's own folder is gone, or its disk full: nothing can be said of the acts that follow
		stop(fmt.Errorf("preparing act %d: %w", n, err))
		return
	}
	defer t.close()
	err = a.do(t)
	if ctx.Err() != nil { // its processes were stopped with us
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.results[a.name]
	if r == nil {
		r = &result{}
		c.results[a.name] = r
	}
	r.tried++
	switch {
	case err != nil:
		r.lost++
		c.losses++
		fmt.Printf("LOST  %s: %s\n      repeat with -seed %d -only %d\n", a.name, brief(err), c.seed, n)
	case t.detected:
		r.detected++
	default:
		r.survived++
	}
	if err != nil || c.only >= 0 {
		where := filepath.Join(c.keep, fmt.Sprintf("%d-%d", c.seed, n))
		os.RemoveAll(where)
		if err != nil {
			t.note("LOST: %v", err)
		}
		if e := errors.Join(os.MkdirAll(c.keep, 0o755), copyTree(t.dir, where), os.WriteFile(filepath.Join(where, "what-happened.txt"), []byte(t.story.String()), 0o644)); e != nil {
			fmt.Printf("      its folder could not be kept: %v\n", e)
		} else {
			fmt.Printf("      its folder is %s; what-happened.txt lists the commands\n", where)
		}
	}
	if c.verbose {
		fmt.Printf("%d %s: lost %v, detected %v\n", n, a.name, err != nil, t.detected)
	}
}

func (c *campaign) table(acts []act, took time.Duration) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "act\ttried\tsurvived\tdetected\tlost\t")
	var sum result
	row := func(name string, r result) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t\n", name, r.tried, r.survived, r.detected, r.lost)
	}
	for _, a := range acts {
		if r := c.results[a.name]; r != nil {
			row(a.name, *r)
			sum = result{sum.tried + r.tried, sum.survived + r.survived, sum.detected + r.detected, sum.lost + r.lost}
		}
	}
	row("all", sum)
	w.Flush()
	fmt.Printf("seed %d, %s\n", c.seed, took.Round(time.Second))
}

const (
	insideVariable = "STEPFLOW_CAMPAIGN_INSIDE" // set in the process that has its own mounts: yes or no
	limitsVariable = "STEPFLOW_CAMPAIGN_LIMITS" // limits under which the arguments are to be run
)

// privateMounts runs this program again in a mount namespace of its own, so that what is mounted goes with the
// process however it ends. ok is false where the system does not allow it.
func privateMounts() (code int, ok bool) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVariable+"=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	runtime.LockOSThread() // the death signal is of the thread that starts the child
	if err := cmd.Start(); err != nil {
		return 0, false
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	if err := cmd.Wait(); err != nil {
		return max(1, cmd.ProcessState.ExitCode()), true
	}
	return 0, true
}

// execLimited becomes another program under limits such as "nofile=64".
func execLimited(limits string, args []string) {
	kinds := map[string]int{"nofile": syscall.RLIMIT_NOFILE, "fsize": syscall.RLIMIT_FSIZE}
	for _, l := range strings.Split(limits, ",") {
		var n uint64
		name, value, _ := strings.Cut(l, "=")
		if _, err := fmt.Sscan(value, &n); err != nil {
			panic(err)
		}
		if err := syscall.Setrlimit(kinds[name], &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			panic(err)
		}
	}
	os.Unsetenv(limitsVariable)
	panic(syscall.Exec(args[0], args, os.Environ()))
}
