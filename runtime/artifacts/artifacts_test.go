package artifacts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"stepflow/fineweb/s3/s3test"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/metrics"
	"stepflow/runtime/results"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bucketPlace starts a store and returns a place in it.
func bucketPlace(t *testing.T) (*s3test.Store, *Place) {
	t.Helper()
	store := s3test.New("models")
	t.Cleanup(store.Close)
	for name, v := range map[string]string{"AWS_ENDPOINT_URL": store.URL(), "AWS_ENDPOINT_URL_S3": "", "AWS_ACCESS_KEY_ID": "id",
		"AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(name, v)
	}
	p, err := Open("s3://models/weights/")
	must(t, err)
	return store, p
}

const blockFolder = "blocks/stage.a"

// weights are those of a checkpoint at a step.
func weights(step, size int) []byte { return bytes.Repeat([]byte{byte(step), 7}, size/2) }

// made writes a checkpoint, or a result, as a run does, and returns the job that sends it.
func made(t *testing.T, root string, step, size int, done bool) Job {
	t.Helper()
	note, err := json.Marshal(results.Note{Address: "stage.a", Recipe: "abc", Done: done, Step: step})
	must(t, err)
	dir := checkpoint.StepDir(filepath.Join(root, blockFolder), step)
	_, err = checkpoint.Write(dir, []checkpoint.Part{checkpoint.Bytes(checkpoint.NoteName, note),
		checkpoint.Bytes("config.json", []byte("{}")), checkpoint.Bytes("model.bin", weights(step, size))})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(root, blockFolder, metrics.FileName), bytes.Repeat([]byte("{}\n"), step), 0o666))
	return Job{Address: "stage.a", Block: blockFolder, Leaf: filepath.Base(dir), Done: done, Keep: 2}
}

// steps lists the steps of what a place has of the recipe of made.
func steps(t *testing.T, p *Place) (list []int) {
	t.Helper()
	finds, err := p.For("line").Finds(context.Background(), "abc")
	must(t, err)
	for _, x := range finds {
		list = append(list, x.Note.Step)
	}
	return list
}

// TestThereAndBack sends a result to both kinds of places and fetches it to another folder.
func TestThereAndBack(t *testing.T) {
	_, b := bucketPlace(t)
	d, err := Open(filepath.Join(t.TempDir(), "räumlich weit"))
	must(t, err)
	for _, p := range []*Place{b, d} {
		here, there, ctx := t.TempDir(), t.TempDir(), context.Background()
		u := p.For("line").Upload(here, nil)
		u.Add(made(t, here, 4, 40<<20, true))
		sent, err := u.Wait(nil)
		if err != nil || sent.Folders != 1 || sent.Bytes < 40<<20 {
			t.Fatalf("%s: sent %+v, %v", p, sent, err)
		}
		u = p.For("line").Upload(here, nil)
		u.Add(made(t, here, 4, 40<<20, true))
		if sent, err := u.Wait(nil); err != nil || sent.Folders+int(sent.Bytes) != 0 {
			t.Errorf("%s: sent again: %+v, %v", p, sent, err)
		}
		s := p.For("line")
		finds, err := s.Finds(ctx, "abc")
		if err != nil || len(finds) != 1 || !finds[0].Note.Done {
			t.Fatalf("%s: it has %v, %v", p, finds, err)
		}
		must(t, s.Fetch(ctx, finds[0], there, blockFolder))
		id, _, err := checkpoint.Check(checkpoint.StepDir(filepath.Join(there, blockFolder), 4))
		if err != nil || id != finds[0].ID {
			t.Errorf("%s: what was fetched is %v, %v", p, id, err)
		}
		if _, err := os.Stat(filepath.Join(there, fetching)); err == nil {
			t.Errorf("%s: parts are left behind", p)
		}
		if other, err := p.For("other line").Finds(ctx, "abc"); err != nil || len(other) != 0 {
			t.Errorf("%s: another state finds %v, %v", p, other, err)
		}
	}
}

// TestRetention sends one checkpoint after the other: as many stay as should, and no file of others.
func TestRetention(t *testing.T) {
	store, p := bucketPlace(t)
	root := t.TempDir()
	for step := 1; step <= 5; step++ {
		u := p.For("line").Upload(root, nil)
		u.Add(made(t, root, step, 100, false))
		_, err := u.Wait(nil)
		must(t, err)
	}
	if got := steps(t, p); len(got) != 2 || got[0]+got[1] != 9 {
		t.Errorf("the place has steps %v", got)
	}
	u := p.For("line").Upload(root, nil)
	j := made(t, root, 6, 100, true)
	j.Keep = 1
	u.Add(j)
	_, err := u.Wait(nil)
	must(t, err)
	if got := steps(t, p); len(got) != 1 || got[0] != 6 {
		t.Errorf("after the result, the place has steps %v", got)
	}
	if keys := store.Keys(); len(keys) != 1+5 { // the entry, and five files
		t.Errorf("the bucket has %q", keys)
	}
}

// TestSuperseded holds an upload while checkpoints are made and removed: whoever makes them does not wait, the one that
// is on its way arrives though it is gone from the disk, and those between are not sent.
func TestSuperseded(t *testing.T) {
	store, p := bucketPlace(t)
	root, gate := t.TempDir(), make(chan struct{})
	var held atomic.Int32
	store.Before(func(method, _ string) int {
		if method == http.MethodPut && held.Add(1) == 1 {
			<-gate
		}
		return 0
	})
	u := p.For("line").Upload(root, nil)
	u.Add(made(t, root, 1, 100, false))
	for held.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	for step := 2; step <= 4; step++ {
		u.Add(made(t, root, step, 100, false))
		must(t, os.RemoveAll(checkpoint.StepDir(filepath.Join(root, blockFolder), step-1)))
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("adding takes %v while the store is slow", took)
	}
	if left := u.Left(); !strings.Contains(left, "step-00000004") || strings.Contains(left, "step-00000003") {
		t.Errorf("left: %s", left)
	}
	close(gate)
	_, err := u.Wait(nil)
	must(t, err)
	if got := steps(t, p); len(got) != 2 || got[0]+got[1] != 5 {
		t.Errorf("the place has steps %v", got)
	}
}

// TestOutage takes the store away: it is tried again until it is back, or said what is missing.
func TestOutage(t *testing.T) {
	store, p := bucketPlace(t)
	defer func(d time.Duration) { giveUp = d }(giveUp)
	giveUp = time.Second
	root := t.TempDir()
	var down atomic.Bool
	down.Store(true)
	store.Before(func(string, string) int {
		if down.Load() {
			return http.StatusBadGateway
		}
		return 0
	})
	told := make(chan error, 10)
	u := p.For("line").Upload(root, func(err error) { told <- err })
	u.Add(made(t, root, 1, 100, true))
	if err := <-told; !strings.Contains(err.Error(), "cannot be sent") {
		t.Errorf("told: %v", err)
	}
	_, err := u.Wait(nil)
	var unsent *UnsentError
	if !errors.As(err, &unsent) || !strings.Contains(err.Error(), "stage.a (step-00000001)") {
		t.Errorf("the end: %v", err)
	}
	giveUp = time.Minute
	u = p.For("line").Upload(root, nil)
	u.Add(made(t, root, 1, 100, true))
	time.AfterFunc(500*time.Millisecond, func() { down.Store(false) })
	if sent, err := u.Wait(nil); err != nil || sent.Folders != 1 {
		t.Errorf("the next run sent %+v, %v", sent, err)
	}
}

// TestRefused has a place that can be listed and takes nothing: reading a file for each attempt is no progress.
func TestRefused(t *testing.T) {
	store, p := bucketPlace(t)
	defer func(d time.Duration) { giveUp = d }(giveUp)
	giveUp = 1500 * time.Millisecond // more than the pause between attempts
	store.Before(func(method, _ string) int {
		if method == http.MethodPut {
			return http.StatusForbidden
		}
		return 0
	})
	root := t.TempDir()
	u := p.For("line").Upload(root, nil)
	u.Add(made(t, root, 1, 100, true))
	ended := make(chan error, 1)
	go func() {
		_, err := u.Wait(nil)
		ended <- err
	}()
	select {
	case err := <-ended:
		var unsent *UnsentError
		if !errors.As(err, &unsent) || !strings.Contains(err.Error(), "the next apply sends it") {
			t.Errorf("the end: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a run waits without end for a place that refuses")
	}
}

// TestDamaged damages what is there and what is here, each in turn.
func TestDamaged(t *testing.T) {
	store, p := bucketPlace(t)
	root, ctx := t.TempDir(), context.Background()
	u := p.For("line").Upload(root, nil)
	u.Add(made(t, root, 2, 1000, true))
	_, err := u.Wait(nil)
	must(t, err)
	finds, err := p.For("line").Finds(ctx, "abc")
	must(t, err)
	for _, key := range store.Keys() {
		good := store.Object(key)
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 1
		store.Set(key, bad)
		there := t.TempDir()
		err := p.For("line").Fetch(ctx, finds[0], there, blockFolder)
		if !results.IsDamage(err) || !strings.Contains(err.Error(), "s3://models/"+key) {
			t.Errorf("%s is damaged: %v", key, err)
		}
		if entries, _ := os.ReadDir(filepath.Join(there, blockFolder)); len(entries) > 0 {
			t.Errorf("%s is damaged, and there is %v", key, entries)
		}
		store.Set(key, nil)
		if list, err := p.For("line").Finds(ctx, "abc"); err != nil || len(list) != 0 {
			t.Errorf("%s is gone, and it has %v, %v", key, list, err)
		}
		u := p.For("line").Upload(root, nil) // the machine that has it sends it again
		u.Add(made(t, root, 2, 1000, true))
		_, err = u.Wait(nil)
		must(t, err)
		if !bytes.Equal(store.Object(key), good) {
			t.Errorf("%s is not sent again", key)
		}
	}
	j := made(t, root, 3, 1000, true)
	must(t, os.WriteFile(filepath.Join(root, blockFolder, j.Leaf, "model.bin"), weights(4, 1000), 0o666))
	u = p.For("line").Upload(root, nil)
	u.Add(j)
	if _, err := u.Wait(nil); !results.IsDamage(err) {
		t.Errorf("a damaged result is sent: %v", err)
	}
	if got := steps(t, p); len(got) != 1 || got[0] != 2 {
		t.Errorf("the place has steps %v", got)
	}
}

// TestHostileEntries writes entries, with the right hash, whose names lead out of the folders they are for.
func TestHostileEntries(t *testing.T) {
	store, p := bucketPlace(t)
	ctx, good := context.Background(), sumOf(sha256.New())
	files := func(name, sum string, size int64) map[string]checkpoint.Digest {
		return map[string]checkpoint.Digest{name: {SHA256: sum, Size: size}}
	}
	for what, c := range map[string]struct {
		leaf   string
		files  map[string]checkpoint.Digest
		beside map[string]checkpoint.Digest
	}{
		"folder":          {leaf: ".."},
		"the folder":      {leaf: "."},
		"hash":            {leaf: "step-1", files: files("a", "../../victim", 0)},
		"short hash":      {leaf: "step-1", files: files("a", "00", 0)},
		"hash beside":     {leaf: "step-1", beside: files("a", "../../victim", 0)},
		"file":            {leaf: "step-1", files: files("..", good, 0)},
		"file elsewhere":  {leaf: "step-1", files: files("../../victim", good, 0)},
		"file beside":     {leaf: "step-1", beside: files("../../../victim", good, 0)},
		"negative length": {leaf: "step-1", files: files("a", good, -1)},
	} {
		root := t.TempDir()
		state := filepath.Join(root, "state")
		victim := filepath.Join(state, "victim")
		must(t, os.MkdirAll(state, 0o777))
		must(t, os.WriteFile(victim, []byte("mine"), 0o666))
		e := &entry{Note: results.Note{Address: "stage.a", Recipe: "abc", Done: true}, Content: "c", Files: c.files, Beside: c.beside}
		b, err := e.bytes()
		must(t, err)
		name := "line/results/abc/-/" + c.leaf + ".json"
		store.Set("weights/"+name, b)
		s := p.For("line")
		if list, err := s.Finds(ctx, "abc"); !results.IsDamage(err) || !strings.Contains(err.Error(), c.leaf+".json") {
			t.Errorf("%s: found %v, %v", what, list, err)
		}
		if err := s.Fetch(ctx, &results.Away{Name: name, Leaf: c.leaf}, state, blockFolder); !results.IsDamage(err) {
			t.Errorf("%s: fetched: %v", what, err)
		}
		left, err := os.ReadFile(victim)
		if entries, _ := os.ReadDir(root); err != nil || string(left) != "mine" || len(entries) != 1 {
			t.Errorf("%s: %q, %v beside %v", what, left, err, entries)
		}
		store.Set("weights/"+name, nil)
	}
}

// TestGoesOn cuts a download off: the next one fetches the rest alone.
func TestGoesOn(t *testing.T) {
	store, p := bucketPlace(t)
	root, there := t.TempDir(), t.TempDir()
	u := p.For("line").Upload(root, nil)
	u.Add(made(t, root, 2, 1<<20, true))
	_, err := u.Wait(nil)
	must(t, err)
	finds, err := p.For("line").Finds(context.Background(), "abc")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	gets := 0
	store.Before(func(method, _ string) int {
		if gets++; gets == 4 {
			cancel()
		}
		return 0
	})
	if err := p.For("line").Fetch(ctx, finds[0], there, blockFolder); !errors.Is(err, context.Canceled) {
		t.Fatalf("cut off: %v", err)
	}
	left, err := os.ReadDir(filepath.Join(there, fetching))
	if err != nil || len(left) < 2 {
		t.Fatalf("what is kept: %v, %v", left, err)
	}
	again := 0
	store.Before(func(string, string) int { again++; return 0 })
	must(t, p.For("line").Fetch(context.Background(), finds[0], there, blockFolder))
	if whole := 1 + len(finds[0].Files) + 1; again >= whole {
		t.Errorf("the second time asks for %d objects of %d", again, whole)
	}
	_, _, err = checkpoint.Check(checkpoint.StepDir(filepath.Join(there, blockFolder), 2))
	must(t, err)
}

// TestFullDisk has no room for what is to be fetched.
func TestFullDisk(t *testing.T) {
	store, p := bucketPlace(t)
	root, there := t.TempDir(), t.TempDir()
	u := p.For("line").Upload(root, nil)
	u.Add(made(t, root, 2, 1<<20, true))
	_, err := u.Wait(nil)
	must(t, err)
	s := p.For("line")
	finds, err := s.Finds(context.Background(), "abc")
	must(t, err)
	defer func(f func(string) (int64, bool)) { diskFree = f }(diskFree)
	diskFree = func(string) (int64, bool) { return 1000, true }
	store.Before(func(_, key string) int {
		if strings.Contains(key, "/objects/") {
			t.Errorf("%s is asked for", key)
		}
		return 0
	})
	err = s.Fetch(context.Background(), finds[0], there, blockFolder)
	if err == nil || !strings.Contains(err.Error(), "needs 1 MiB") ||
		!strings.Contains(err.Error(), "has 1000 B left") {
		t.Errorf("%v", err)
	}
}

// TestManyEntries finds what a state of many blocks has there in few rounds.
func TestManyEntries(t *testing.T) {
	store, p := bucketPlace(t)
	const n = 300
	for i := range n {
		e := &entry{Note: results.Note{Address: "stage.a", Recipe: strconv.Itoa(i), Done: true}, Content: "c"}
		b, err := e.bytes()
		must(t, err)
		store.Set("weights/line/results/"+strconv.Itoa(i)+"/-/result.json", b)
	}
	store.Before(func(string, string) int { time.Sleep(10 * time.Millisecond); return 0 })
	s, start := p.For("line"), time.Now()
	for i := range n {
		if list, err := s.Finds(context.Background(), strconv.Itoa(i)); err != nil || len(list) != 1 {
			t.Fatalf("%d: %v, %v", i, list, err)
		}
	}
	if took := time.Since(start); took > n*10*time.Millisecond*2/3 {
		t.Errorf("%d entries took %v", n, took)
	}
}

// TestUnreached frees what no recipe reaches, and the files of uploads that never ended.
func TestUnreached(t *testing.T) {
	store, p := bucketPlace(t)
	root, ctx := t.TempDir(), context.Background()
	for _, line := range []string{"line", "other"} {
		u := p.For(line).Upload(root, nil)
		u.Add(made(t, root, 2, 1000, true))
		_, err := u.Wait(nil)
		must(t, err)
	}
	store.Set("weights/line/objects/0000", []byte("of an upload that was killed"))
	s := p.For("line")
	w, err := s.Unreached(ctx, func(r string) bool { return r == "abc" })
	if err != nil || w.Bytes != 28 || len(w.Entries) != 0 {
		t.Fatalf("%v, %v", w, err)
	}
	must(t, s.Free(ctx, w))
	w, err = s.Unreached(ctx, func(string) bool { return false })
	must(t, err)
	must(t, s.Free(ctx, w))
	for _, key := range store.Keys() {
		if !strings.HasPrefix(key, "weights/other/") {
			t.Errorf("%s is left", key)
		}
	}
	if list, err := p.For("other").Finds(ctx, "abc"); err != nil || len(list) != 1 {
		t.Errorf("the other state has %v, %v", list, err)
	}
}
