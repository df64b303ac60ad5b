package mlflow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"stepflow/runtime/state"
)

// Pipeline is a pipeline that runs, as far as its state's folder does not say it.
type Pipeline struct {
	Name      string // of its folder
	Dir       string // of its state
	Version   string // of stepflow
	Variables map[string]string
	Blocks    map[string]Block    // as planned, by address
	Redact    func(string) string // takes secrets out of a text
}

// Block is a block as it was planned.
type Block struct {
	Attrs  map[string]string
	Inputs []string // addresses of the blocks that it refers to
}

// Outcome is how a run ended, in MLflow's words.
type Outcome string

const (
	Finished Outcome = "FINISHED"
	Failed   Outcome = "FAILED"
	Killed   Outcome = "KILLED"
)

const running = "RUNNING"

// Tracker compares, again and again while a run goes on, the state's folder with the server, and sends what is missing.
// A nil one does nothing.
type Tracker struct {
	server   *Server
	pipeline Pipeline
	warn     func(error)
	user     string

	cancel context.CancelFunc // nil until it starts
	ending chan struct{}      // closed when the run has ended
	done   chan struct{}      // closed when nothing more is sent

	mu      sync.Mutex
	moved   time.Time // when the server last took something
	outcome Outcome
	seams   map[string][]metric // by the address of a stage

	// of the goroutine that sends
	began      time.Time
	file       os.FileInfo // of the state that was read
	state      *state.State
	experiment string
	blocks     map[string]Block // as planned
	met        bool             // the server was asked what it has
	parent     *run             // nil until then
	runs       map[string]*run  // of stages
	others     []*run           // parents of other runs of the pipeline
	summary    Summary
}

// Summary says what became of a run's numbers.
type Summary struct {
	Server string
	Page   string // of the run; "" if the server never answered
	RunID  string
	Stages int   // stages of which something was sent
	Steps  int   // that were sent
	Left   int   // steps that are not there; if the server never answered, at most
	Err    error // why not all is there; nil if it is
}

// every is how often the folder and the server are compared.
var every = 5 * time.Second

// Track returns what shows a pipeline's run on a server. warn is told, from another goroutine, once if that does not
// work for now.
func (s *Server) Track(p Pipeline, warn func(error)) *Tracker {
	return &Tracker{server: s, pipeline: p, warn: warn, user: userName(os.Getenv), ending: make(chan struct{}),
		done: make(chan struct{}), seams: map[string][]metric{}, runs: map[string]*run{},
		summary: Summary{Server: s.String()}}
}

// userName is the name of who runs this, as MLflow's clients take it.
func userName(getenv func(string) string) string {
	for _, name := range []string{"LOGNAME", "USER", "USERNAME"} {
		if s := getenv(name); s != "" {
			return s
		}
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// Start begins to send.
func (t *Tracker) Start() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel, t.began = cancel, time.Now()
	go t.loop(ctx)
}

// Seam notes what growth or a merge did to a stage's loss.
func (t *Tracker) Seam(stage, change string, before, after float64) {
	if t == nil {
		return
	}
	now := integer(time.Now().UnixMilli())
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seams[stage] = append(t.seams[stage], metric{Key: change + "/loss_before", Value: number(before), At: now},
		metric{Key: change + "/loss_after", Value: number(after), At: now})
}

// How long a run that has ended waits.
var (
	patience    = 15 * time.Second // for an answer
	persistence = 5 * time.Second  // while each request fails
	impatience  = 3 * time.Second  // at all, if the user ended it
	soon        = time.Second      // until it asks again
)

// End sends what is left of a run that has ended, with its blocks as they ran, and says what became of it. When ctx ends
// meanwhile, the rest is left to the next run.
func (t *Tracker) End(ctx context.Context, outcome Outcome, blocks map[string]Block) (Summary, bool) {
	if t == nil || t.cancel == nil {
		return Summary{}, false
	}
	defer t.cancel()
	interrupted := ctx.Done()
	if ctx.Err() != nil {
		defer time.AfterFunc(impatience, t.cancel).Stop()
		interrupted = nil
	}
	t.mu.Lock()
	t.outcome, t.moved, t.pipeline.Blocks = outcome, time.Now(), blocks
	t.mu.Unlock()
	close(t.ending)
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		select {
		case <-t.done:
			tick.Stop()
			return t.summary, true
		case <-interrupted:
			t.cancel()
			interrupted = nil
		case <-tick.C:
			if !t.tookSince(time.Now().Add(-patience)) {
				t.cancel()
			}
		}
	}
}

// took notes that the server took something.
func (t *Tracker) took() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.moved = time.Now()
}

// tookSince reports whether the server took something since a time.
func (t *Tracker) tookSince(at time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.moved.After(at)
}

// over reports whether the run has ended.
func (t *Tracker) over() bool {
	select {
	case <-t.ending:
		return true
	default:
		return false
	}
}

// loop compares and sends until the run has ended and all is there, or ctx ends.
func (t *Tracker) loop(ctx context.Context) {
	defer close(t.done)
	pause, failures, warned := every, 0, false
	for {
		start, over := time.Now(), t.over() // before the pass, so that the last one sees all
		err := t.pass(ctx, over)
		var refused *refusal
		final := errors.As(err, &refused) // no use to ask again in this run
		if err == nil {
			failures = 0
		} else if failures++; (failures == 2 || final) && !warned && !over && ctx.Err() == nil {
			warned = true
			t.warn(fmt.Errorf("MLflow at %s: %w. The run goes on, and what is missing there is sent later", t.server, err))
		}
		switch {
		case err == nil && over:
			t.sum()
			return
		case final:
			select {
			case <-t.ending:
			case <-ctx.Done():
			}
			t.summary.Err = err
			t.sum()
			return
		case over, err == nil && !t.met: // nothing is recorded yet
			pause = soon
		case err == nil || t.tookSince(start):
			pause = every
		default:
			pause = min(2*pause, time.Minute)
		}
		if over && !t.tookSince(time.Now().Add(-persistence)) {
			t.summary.Err = why(err)
			t.sum()
			return
		}
		ending := t.ending
		if over {
			ending = nil
		}
		select {
		case <-time.After(pause):
		case <-ending:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			t.summary.Err = why(err)
			t.sum()
			return
		}
	}
}

// why is the error that sending ended with.
func why(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return errors.New("it does not answer")
	}
	return err
}

// sum completes the summary.
func (t *Tracker) sum() {
	for _, r := range append(slices.Collect(maps.Values(t.runs)), t.parent) {
		if r == nil {
			continue
		}
		if r.sent > 0 {
			t.summary.Stages++
			t.summary.Steps += r.sent
		}
		if r.refused != nil && t.summary.Err == nil {
			t.summary.Err = r.refused
		}
	}
	if t.summary.Err != nil && t.state != nil {
		t.summary.Left = t.left()
	}
	if t.parent != nil {
		t.summary.Page, t.summary.RunID = t.server.pageOf(t.experiment, t.parent.id), t.parent.id
	}
}

// read reads the state, if it changed.
func (t *Tracker) read() error {
	st, err := os.Stat(filepath.Join(t.pipeline.Dir, state.FileName))
	if err == nil && t.file != nil && os.SameFile(st, t.file) && st.ModTime().Equal(t.file.ModTime()) {
		return nil
	}
	d, err := state.Read(t.pipeline.Dir)
	if err != nil {
		return err
	}
	t.file, t.state = st, d.State
	return nil
}
