package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"stepflow/fineweb/s3"
	"stepflow/runtime/state"
)

// minioServer is a real MinIO on loopback, which can be stopped and started again.
type minioServer struct {
	t            *testing.T
	binary, data string
	port         string
	cmd          *exec.Cmd
}

const (
	minioBucket = "models"
	stateKey    = "tiny/state.json"
	backendFlag = "-backend=s3://" + minioBucket + "/" + stateKey
)

// newMinio starts the MinIO that STEPFLOW_MINIO names, with an empty bucket, and puts its address into the environment.
func newMinio(t *testing.T) *minioServer {
	t.Helper()
	m := &minioServer{t: t, binary: os.Getenv("STEPFLOW_MINIO"), data: t.TempDir()}
	if m.binary == "" {
		t.Skip("make test-backend sets STEPFLOW_MINIO")
	}
	m.port = port(t)
	if err := os.Mkdir(filepath.Join(m.data, minioBucket), 0o777); err != nil { // a bucket is a folder
		t.Fatal(err)
	}
	for name, v := range map[string]string{"AWS_ENDPOINT_URL": "http://127.0.0.1:" + m.port,
		"AWS_ENDPOINT_URL_S3": "", "AWS_ACCESS_KEY_ID": "stepflow", "AWS_SECRET_ACCESS_KEY": "s3cret-s3cret",
		"AWS_EC2_METADATA_DISABLED": "true", "STEPFLOW_BACKEND": "", "STEPFLOW_ARTIFACTS": ""} {
		t.Setenv(name, v)
	}
	m.start()
	t.Cleanup(m.stop)
	return m
}

func (m *minioServer) start() {
	m.t.Helper()
	m.cmd = exec.Command(m.binary, "server", "--quiet", "--address", "127.0.0.1:"+m.port, m.data)
	m.cmd.Env = append(os.Environ(), "MINIO_ROOT_USER=stepflow", "MINIO_ROOT_PASSWORD=s3cret-s3cret",
		"MINIO_BROWSER=off", "MINIO_CALLHOME_ENABLE=off", "MINIO_UPDATE=off")
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	until(m.t, "MinIO answers", func() bool {
		_, err := m.store().Size(context.Background(), "none")
		return errors.Is(err, os.ErrNotExist)
	})
}

func (m *minioServer) stop() {
	m.cmd.Process.Kill()
	m.cmd.Wait()
}

func (m *minioServer) store() *s3.Store {
	s, err := s3.Dial("s3://" + minioBucket)
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

// object returns an object; nil if there is none.
func (m *minioServer) object(key string) []byte {
	r, _, err := m.store().Get(context.Background(), key, 0)
	if err != nil {
		return nil
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

// until waits until something is so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// machine is a folder with the tiny pipeline, as another user of another computer has it.
type machine struct {
	t    *testing.T
	home string
	dir  string
}

// newMachine makes the pipeline train for so many steps, with a checkpoint each tenth of it.
func newMachine(t *testing.T, name string, steps int) *machine {
	t.Helper()
	m := &machine{t, t.TempDir(), filepath.Join(t.TempDir(), name)}
	text, err := os.ReadFile("testdata/tiny.hcl")
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("every_steps = 2 "), fmt.Appendf(nil, "every_steps = %d ", steps/10), 1)
	text = bytes.Replace(text, []byte("default = 4 "), fmt.Appendf(nil, "default = %d ", steps), 1)
	var docs bytes.Buffer
	for i := range 20 {
		fmt.Fprintf(&docs, "{\"text\": \"document %d of the quick brown fox, which jumps over %d lazy dogs\"}\n", i, i*i)
	}
	err = errors.Join(os.MkdirAll(m.dir, 0o777), os.WriteFile(filepath.Join(m.dir, "main.hcl"), text, 0o666),
		os.WriteFile(filepath.Join(m.dir, "d.jsonl"), docs.Bytes(), 0o666))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) command(args ...string) *exec.Cmd {
	binary, err := filepath.Abs("../../bin/stepflow")
	if err != nil {
		m.t.Fatal(err)
	}
	c := exec.Command(binary, args...)
	c.Dir = m.dir
	c.Env = append(os.Environ(), "HOME="+m.home, "USER="+filepath.Base(m.dir), "NO_COLOR=1")
	return c
}

// run runs a command and wants its exit code.
func (m *machine) run(code int, args ...string) string {
	m.t.Helper()
	out, err := m.command(args...).CombinedOutput()
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		m.t.Fatal(err)
	}
	if got != code {
		m.t.Fatalf("stepflow %s in %s exits with %d, not %d:\n%s", strings.Join(args, " "), m.dir, got, code, out)
	}
	return string(out)
}

// contents are the content ids of all blocks but the export.
func (m *machine) contents(args ...string) string {
	m.t.Helper()
	var s state.State
	if err := json.Unmarshal([]byte(m.run(0, append([]string{"state", "pull"}, args...)...)), &s); err != nil {
		m.t.Fatal(err)
	}
	list := ""
	for _, n := range s.Names() {
		if !strings.HasPrefix(n, "export.") {
			list += n + " " + s.Blocks[n].Content + "\n"
		}
	}
	return list
}

// step is how far a stage is, as the state in the backend says.
func (m *minioServer) step(stage string) int {
	var s state.State
	if json.Unmarshal(m.object(stateKey), &s) != nil || s.Blocks[stage] == nil {
		return 0
	}
	return s.Blocks[stage].Step
}

// holder is who has the lock of the state; nil if nobody has.
func (m *minioServer) holder() *state.LockInfo {
	var l state.LockInfo
	if b := m.object(stateKey + ".tflock"); json.Unmarshal(b, &l) != nil {
		return nil
	}
	return &l
}

const artifactsFlag = "-artifacts=s3://" + minioBucket + "/weights"

// TestMinIO kills a run on one machine, and goes on with it on another: the same bits as without.
func TestMinIO(t *testing.T) {
	m := newMinio(t)
	const steps = 20000
	a, b, whole := newMachine(t, "anna's pipeline", steps), newMachine(t, "бета", steps), newMachine(t, "whole", steps)
	c := a.command("apply", backendFlag, artifactsFlag)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "stage.one is half done", func() bool { return m.step("stage.one") >= steps/2 })
	if text := b.run(1, "apply", backendFlag, artifactsFlag); !strings.Contains(text, "is locked by") {
		t.Errorf("a second run:\n%s", text)
	}
	c.Process.Kill()
	c.Wait()
	if at := m.step("stage.one"); at >= steps {
		t.Fatalf("stage.one was done when its run was killed:\n%s", out.String())
	}
	l := m.holder()
	if l == nil {
		t.Fatal("the killed run left no lock")
	}
	b.run(1, "apply", backendFlag, artifactsFlag)
	b.run(0, "force-unlock", backendFlag, "-force", l.ID)
	text := b.run(0, "apply", backendFlag, artifactsFlag)
	if !strings.Contains(text, "stage.one: resuming at step") {
		t.Errorf("the other machine does not resume:\n%s", text)
	}
	whole.run(0, "apply")
	if x, y := b.contents(), whole.contents(); x != y {
		t.Errorf("killed and gone on elsewhere:\n%s\nin one go:\n%s", x, y)
	}
	if text := a.run(0, "plan"); !strings.Contains(text, "4 up to date") && !strings.Contains(text, "5 up to date") {
		t.Errorf("the first machine then plans:\n%s", text)
	}
	if l := m.holder(); l != nil {
		t.Errorf("a lock is left: %+v", l)
	}
	testDamaged(t, m, steps)
}

// testDamaged damages the largest object in the bucket: a machine that needs it says which it is.
func testDamaged(t *testing.T, m *minioServer, steps int) {
	store, ctx := m.store(), context.Background()
	var largest string
	most := int64(0)
	err := store.Each(ctx, "weights/", func(key string, size int64) {
		if strings.Contains(key, "/objects/") && size > most {
			largest, most = key, size
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	b := m.object(largest)
	b[len(b)/2] ^= 1
	if err := store.Put(ctx, largest, int64(len(b)), bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	c := newMachine(t, "gamma", steps)
	text := c.run(1, "apply", backendFlag, "-replace=stage.two", "-auto-approve")
	if !strings.Contains(text, largest) || !strings.Contains(text, "damaged") {
		t.Errorf("%s is damaged:\n%s", largest, text)
	}
}

// TestMinIORace has two machines apply at once, time and again: one has the lock, and nothing is lost.
func TestMinIORace(t *testing.T) {
	m := newMinio(t)
	a, b := newMachine(t, "a", 20), newMachine(t, "b", 20)
	for round := range 4 {
		one := fmt.Sprintf("-var=lr=%g", 1e-3*float64(round+1))
		done := make(chan string, 2)
		for _, x := range []*machine{a, b} {
			go func() {
				c := x.command("apply", "-auto-approve", backendFlag, "-lock-timeout=1m", "-target=stage.one", one)
				out, err := c.CombinedOutput()
				if err == nil {
					out = nil
				}
				done <- string(out)
			}()
		}
		for range 2 {
			text := <-done
			if text != "" && !strings.Contains(text, "plan again") && !strings.Contains(text, "locked by") {
				t.Errorf("round %d:\n%s", round, text)
			}
		}
		if _, err := state.Parse(m.object(stateKey)); err != nil || m.holder() != nil {
			t.Errorf("round %d: the state %v, the lock %+v", round, err, m.holder())
		}
	}
}

// TestMinIOOutage stops the server in the middle of a run, and starts it again: the run does not notice, and all is
// there in the end.
func TestMinIOOutage(t *testing.T) {
	m := newMinio(t)
	const steps = 20000
	a := newMachine(t, "a", steps)
	c := a.command("apply", backendFlag, artifactsFlag)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "stage.one has begun", func() bool { return m.step("stage.one") > 0 })
	m.stop()
	time.Sleep(3 * time.Second)
	m.start()
	if err := c.Wait(); err != nil {
		t.Fatalf("%v:\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "for now") {
		t.Errorf("the outage is not told:\n%s", out.String())
	}
	if text := newMachine(t, "b", steps).run(0, "plan", backendFlag); !strings.Contains(text, "4 up to date") {
		t.Errorf("another machine then plans:\n%s", text)
	}
}

// TestMinIOLostLock takes the lock away from a run that stands still: what another one wrote meanwhile stays.
func TestMinIOLostLock(t *testing.T) {
	m := newMinio(t)
	const steps = 20000
	a, b := newMachine(t, "a", steps), newMachine(t, "b", steps)
	c := a.command("apply", backendFlag)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "stage.one has begun", func() bool { return m.step("stage.one") > 0 })
	c.Process.Signal(syscall.SIGSTOP)
	b.run(0, "force-unlock", backendFlag, "-force", m.holder().ID)
	b.run(0, "state", "rm", backendFlag, "tokenizer.bpe.t")
	written := m.object(stateKey)
	c.Process.Signal(syscall.SIGCONT)
	lost := "another process has written the state meanwhile"
	if err := c.Wait(); err == nil || !strings.Contains(out.String(), lost) {
		t.Errorf("the run that lost its lock: %v\n%s", err, out.String())
	}
	if !bytes.Equal(m.object(stateKey), written) {
		t.Error("the run that lost its lock has written the state")
	}
	if text := a.run(1, "plan"); !strings.Contains(text, "state push -force") {
		t.Errorf("it then plans:\n%s", text)
	}
	a.run(0, "state", "push", "-force")
	if text := a.run(0, "plan"); !strings.Contains(text, "5 up to date") {
		t.Errorf("with its state pushed, it plans:\n%s", text)
	}
}
