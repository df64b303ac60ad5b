package remote

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"stepflow/fineweb/s3/s3test"
	"stepflow/runtime/state"
	"stepflow/runtime/state/remote/remotetest"
)

// backend is a place for a state that a test can look into and disturb.
type backend struct {
	name    string
	open    func() state.Backend
	get     func() []byte
	set     func([]byte)
	lock    func() []byte
	disturb func(status func(method string) int)
}

// backends starts one of each kind.
func backends(t *testing.T) []backend {
	t.Helper()
	store := s3test.New("bucket")
	t.Cleanup(store.Close)
	for name, v := range map[string]string{"AWS_ENDPOINT_URL": store.URL(), "AWS_ENDPOINT_URL_S3": "", "AWS_ACCESS_KEY_ID": "id",
		"AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(name, v)
	}
	server := remotetest.New()
	server.User, server.Password = "me", "s3cret"
	t.Cleanup(server.Close)
	env := map[string]string{userVariable: "me", passwordVariable: "s3cret"}
	open := func(address string) func() state.Backend {
		return func() state.Backend {
			b, err := Open(address, func(n string) string { return env[n] })
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	pause = time.Millisecond
	return []backend{
		{"s3", open("s3://bucket/k/state.json"), func() []byte { return store.Object("k/state.json") },
			func(b []byte) { store.Set("k/state.json", b) }, func() []byte { return store.Object("k/state.json.tflock") },
			func(f func(string) int) { store.Before(func(m, _ string) int { return f(m) }) }},
		{"http", open(server.URL()), server.State, server.SetState, server.Holder,
			func(f func(string) int) { server.Before = f }},
	}
}

// each runs a test on each kind of backend.
func each(t *testing.T, f func(t *testing.T, b backend)) {
	for _, b := range backends(t) {
		t.Run(b.name, func(t *testing.T) { f(t, b) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mark saves a state with a mark, by which it is told from others.
func mark(t *testing.T, d *state.Dir, text string) {
	t.Helper()
	d.State.Outputs["mark"] = state.Output{Value: text}
	must(t, d.Save())
}

// marked returns the mark of the state in a folder.
func marked(t *testing.T, folder string) any {
	t.Helper()
	d, err := state.Read(folder)
	must(t, err)
	return d.State.Outputs["mark"].Value
}

// TestTwoMachines moves a state between two folders, of which one has the lock at a time.
func TestTwoMachines(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		ctx, one, two := context.Background(), t.TempDir(), t.TempDir()
		first := &state.Access{Backend: b.open(), Operation: "apply"}
		d, err := first.Open(ctx, one)
		must(t, err)
		second := &state.Access{Backend: b.open(), Operation: "apply"}
		_, err = second.Open(ctx, two)
		var held *state.HeldError
		if !errors.As(err, &held) || held.Lock.Operation != "apply" || held.Lock.Path != one ||
			!strings.Contains(err.Error(), "stepflow force-unlock "+held.Lock.ID) {
			t.Fatalf("a second run: %v", err)
		}
		mark(t, d, "one")
		must(t, d.Close())
		if b.lock() != nil {
			t.Errorf("the lock stays: %s", b.lock())
		}
		d, err = second.Open(ctx, two)
		must(t, err)
		if d.State.Outputs["mark"].Value != "one" || d.State.Serial != 1 || d.State.Lineage == "" {
			t.Errorf("the second machine reads %+v", d.State)
		}
		mark(t, d, "two")
		must(t, d.Close())
		must(t, first.Refresh(ctx, one))
		if m := marked(t, one); m != "two" {
			t.Errorf("the first machine then reads %v", m)
		}
		text, err := os.ReadFile(filepath.Join(one, "backend.json"))
		must(t, err)
		if strings.Contains(string(text), "s3cret") {
			t.Errorf("a secret is kept: %s", text)
		}
	})
}

// TestOutage takes the backend away while a run saves: the run goes on, the state is kept, and the next run sends it.
func TestOutage(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		ctx, folder := context.Background(), t.TempDir()
		told := make(chan error, 10)
		a := &state.Access{Backend: b.open(), Operation: "apply", Warn: func(err error) { told <- err }}
		d, err := a.Open(ctx, folder)
		must(t, err)
		mark(t, d, "sent")
		for deadline := time.Now().Add(5 * time.Second); b.get() == nil && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		var down atomic.Bool
		down.Store(true)
		b.disturb(func(string) int {
			if down.Load() {
				return http.StatusBadGateway
			}
			return 0
		})
		start := time.Now()
		mark(t, d, "kept")
		if took := time.Since(start); took > time.Second {
			t.Errorf("saving waits %v for a backend that is away", took)
		}
		if err := <-told; !strings.Contains(err.Error(), "cannot be sent") {
			t.Errorf("what is told: %v", err)
		}
		down.Store(false)
		must(t, d.Close()) // it is back in time
		if !strings.Contains(string(b.get()), "kept") {
			t.Errorf("what was saved meanwhile is not sent: %s", b.get())
		}
	})
}

// TestKilled leaves a lock and an unsent state behind, as a killed process does. The same machine goes on by itself,
// and another one needs force-unlock.
func TestKilled(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		ctx, folder := context.Background(), t.TempDir()
		a := &state.Access{Backend: b.open(), Operation: "apply"}
		d, err := a.Open(ctx, folder)
		must(t, err)
		mark(t, d, "sent")
		d2 := *d
		dead := t.TempDir()
		for deadline := time.Now().Add(5 * time.Second); !strings.Contains(string(b.get()), "sent") &&
			time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond) // until that is remembered
		origin, err := os.ReadFile(filepath.Join(folder, "backend.json"))
		must(t, err)
		must(t, os.CopyFS(dead, os.DirFS(folder)))
		if x, err := (&state.Access{Backend: b.open(), Operation: "apply"}).Open(ctx, dead); !errors.Is(err, state.ErrLocked) {
			t.Fatalf("a copy of the folder takes the lock of the process that has it: %v, %v", x, err)
		}
		must(t, os.Rename(folder, folder+"-moved")) // as if that process were gone, and the copy its folder
		must(t, os.Rename(dead, folder))
		must(t, os.WriteFile(filepath.Join(folder, "backend.json"), origin, 0o666))
		dead = folder
		d2.State.Outputs["mark"] = state.Output{Value: "unsent"}
		other, err := state.Open(t.TempDir())
		must(t, err)
		other.State = d2.State
		must(t, other.Save())
		text, err := os.ReadFile(filepath.Join(other.Path, state.FileName))
		must(t, err)
		must(t, other.Close())
		must(t, os.WriteFile(filepath.Join(dead, state.FileName), text, 0o666))

		d, err = (&state.Access{Backend: b.open(), Operation: "apply"}).Open(ctx, dead)
		must(t, err)
		if d.State.Outputs["mark"].Value != "unsent" || !strings.Contains(string(b.get()), "unsent") {
			t.Errorf("the next run has %v, the backend %s", d.State.Outputs, b.get())
		}
		var l state.LockInfo
		must(t, json.Unmarshal(b.lock(), &l))
		if l.Path != dead {
			t.Errorf("the lock is of %s", l.Path)
		}
		must(t, b.open().Unlock(ctx, l.ID)) // force-unlock
		if b.lock() != nil {
			t.Error("force-unlock leaves the lock")
		}
	})
}

// TestLostLock writes the state behind the back of a run: what the run saves does not replace it, and is kept.
func TestLostLock(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		ctx, folder, thief := context.Background(), t.TempDir(), t.TempDir()
		a := &state.Access{Backend: b.open(), Operation: "apply"}
		d, err := a.Open(ctx, folder)
		must(t, err)
		mark(t, d, "first")
		for deadline := time.Now().Add(5 * time.Second); b.get() == nil && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		var l state.LockInfo
		must(t, json.Unmarshal(b.lock(), &l))
		must(t, b.open().Unlock(ctx, l.ID))
		x, err := (&state.Access{Backend: b.open(), Operation: "apply"}).Open(ctx, thief)
		must(t, err)
		mark(t, x, "thief")
		must(t, x.Close())
		mark(t, d, "mine")
		err = d.Close()
		var unsent *state.UnsentError
		if !errors.As(err, &unsent) || !errors.Is(err, state.ErrReplaced) {
			t.Errorf("closing: %v", err)
		}
		if !strings.Contains(string(b.get()), "thief") {
			t.Errorf("the backend has %s", b.get())
		}
		if m := marked(t, folder); m != "mine" {
			t.Errorf("the folder has %v", m)
		}
		_, err = a.Open(ctx, folder)
		if err == nil || !strings.Contains(err.Error(), "state push -force") {
			t.Errorf("the next run: %v", err)
		}
		text, err := os.ReadFile(filepath.Join(folder, state.FileName))
		must(t, err)
		if _, err := a.Push(ctx, folder, text, false); err == nil {
			t.Error("a state is pushed over another one of its serial")
		}
		if changed, err := a.Push(ctx, folder, text, true); err != nil || !changed || !strings.Contains(string(b.get()), "mine") {
			t.Errorf("push -force: %v, %v", changed, err)
		}
		d, err = a.Open(ctx, folder)
		must(t, err)
		must(t, d.Close())
	})
}

// TestLostAnswer loses the answer to each write: what was written is known again, and nothing is written twice.
func TestLostAnswer(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		ctx, folder := context.Background(), t.TempDir()
		d, err := (&state.Access{Backend: b.open(), Operation: "apply"}).Open(ctx, folder)
		must(t, err)
		mark(t, d, "first")
		must(t, d.Close())
		// as if the process had been killed between the write and its note
		origin := filepath.Join(folder, "backend.json")
		before, err := os.ReadFile(origin)
		must(t, err)
		d, err = (&state.Access{Backend: b.open(), Operation: "apply"}).Open(ctx, folder)
		must(t, err)
		mark(t, d, "second")
		must(t, d.Close())
		must(t, os.WriteFile(origin, before, 0o666))
		d, err = (&state.Access{Backend: b.open(), Operation: "apply"}).Open(ctx, folder)
		must(t, err)
		if d.State.Outputs["mark"].Value != "second" {
			t.Errorf("the state is %v", d.State.Outputs)
		}
		must(t, d.Close())
	})
}

// TestRefuses wants errors that say what is wrong.
func TestRefuses(t *testing.T) {
	bs := backends(t)
	ctx := context.Background()
	for _, x := range []struct{ address, want string }{
		{"ftp://x/y", "no place for a state"},
		{"s3://", "write s3://BUCKET/KEY"},
		{"s3://bucket", "names no object"},
		{"s3://bucket/k/", "names no object"},
		{"s3://bucket/k?secret_key=x", "AWS_SECRET_ACCESS_KEY"},
		{"s3://bucket/k?endpoint=none", "address of a server"},
		{"https://me:pw@h/x", "STEPFLOW_HTTP_PASSWORD"},
		{"https://h/x?token=pw", "STEPFLOW_HTTP_PASSWORD"},
		{"https:///x", "write https://HOST/PATH"},
	} {
		_, err := Open(x.address, os.Getenv)
		if err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v, not %q", x.address, err, x.want)
		}
	}
	for _, b := range bs {
		for text, want := range map[string]string{`{"version": 99}`: "newer version", "nonsense": "damaged"} {
			b.set([]byte(text))
			a := &state.Access{Backend: b.open()}
			for _, err := range []error{a.Refresh(ctx, t.TempDir()), func() error { _, err := a.Open(ctx, t.TempDir()); return err }()} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %s: %v, not %q", b.name, text, err, want)
				}
			}
			if string(b.get()) != text || b.lock() != nil {
				t.Errorf("%s: %q is now %q, locked %q", b.name, text, b.get(), b.lock())
			}
		}
	}
}

// TestTwoPipelines gives two pipelines the same place.
func TestTwoPipelines(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		ctx, one, two := context.Background(), t.TempDir(), t.TempDir()
		a := &state.Access{Backend: b.open(), Operation: "apply"}
		d, err := a.Open(ctx, one)
		must(t, err)
		mark(t, d, "one")
		must(t, d.Close())
		d, err = state.Open(two)
		must(t, err)
		mark(t, d, "two")
		must(t, d.Close())
		if _, err := a.Open(ctx, two); err == nil || !strings.Contains(err.Error(), "two pipelines") {
			t.Errorf("the other pipeline: %v", err)
		}
		text, err := os.ReadFile(filepath.Join(two, state.FileName))
		must(t, err)
		if _, err := a.Push(ctx, two, text, false); err == nil || !strings.Contains(err.Error(), "another pipeline") {
			t.Errorf("pushing the other: %v", err)
		}
		if _, err := os.Stat(filepath.Join(two, "backend.json")); err == nil {
			t.Error("a refused push is remembered")
		}
	})
}

// TestUnconditional wants a store that ignores conditions to be refused.
func TestUnconditional(t *testing.T) {
	store := s3test.New("bucket")
	store.Unconditional = true
	t.Cleanup(store.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
	b, err := Open("s3://bucket/k?use_path_style=true&region=eu-north-1&endpoint="+store.URL(), os.Getenv)
	must(t, err)
	_, err = (&state.Access{Backend: b}).Open(context.Background(), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "ignores the conditions") || len(store.Keys()) != 0 {
		t.Errorf("%v, %v", err, store.Keys())
	}
}

// TestWait waits for a lock, and stops waiting when it is asked to.
func TestWait(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		ctx := context.Background()
		d, err := (&state.Access{Backend: b.open()}).Open(ctx, t.TempDir())
		must(t, err)
		time.AfterFunc(200*time.Millisecond, func() { d.Close() })
		d, err = (&state.Access{Backend: b.open(), Wait: time.Minute}).Open(ctx, t.TempDir())
		must(t, err)
		defer d.Close()
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(50*time.Millisecond, cancel)
		start := time.Now()
		_, err = (&state.Access{Backend: b.open(), Wait: time.Minute}).Open(ctx, t.TempDir())
		if !errors.Is(err, context.Canceled) || time.Since(start) > 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
