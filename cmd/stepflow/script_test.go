package main

import (
	"bufio"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"stepflow/fineweb/s3/s3test"
	"stepflow/runtime/mlflow/mlflowtest"
	"stepflow/runtime/state/remote/remotetest"
)

var update = flag.Bool("update", false, "rewrite golden parts of scripts")

func TestMain(m *testing.M) {
	// Scripts wait, for disks, servers and each other's signals: one more than there are processors runs at a time.
	flag.Set("test.parallel", strconv.Itoa(runtime.GOMAXPROCS(0)+1))
	testscript.Main(m, map[string]func(){
		"stepflow": func() {
			os.Exit(process())
		},
	})
}

func TestScripts(t *testing.T) {
	tiny, err := filepath.Abs("testdata/tiny.hcl")
	if err != nil {
		t.Fatal(err)
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP) // what is caught here is not ignored in a child, also where the tests run under nohup
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("NO_COLOR", "1")
			e.Values[bucketKey{}] = new(*s3test.Store)
			e.Values[mlflowKey{}] = new(*mlflowtest.Server)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// docs FILE N writes N short documents as JSON lines.
			"docs": func(ts *testscript.TestScript, _ bool, args []string) {
				var n int
				fmt.Sscan(args[1], &n)
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(tinyDocuments(n)), 0o644))
			},
			// tiny DIR makes a folder with the pipeline of testdata/tiny.hcl, which takes its documents from d.jsonl there.
			"tiny": func(ts *testscript.TestScript, _ bool, args []string) {
				text, err := os.ReadFile(tiny)
				ts.Check(err)
				ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o755))
				ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), "main.hcl"), text, 0o644))
			},
			// waitfor GLOB TEXT waits until a file that matches holds the text.
			"waitfor": func(ts *testscript.TestScript, _ bool, args []string) { waitFor(ts, args[0], args[1]) },
			// interrupt SIGNAL[+SIGNAL] WHEN TEXT CODE COMMAND … runs a command until the file WHEN, by a glob, holds the text; it then
			// sends the signals and wants the exit code. A signal that comes again waits until the command says that it has the
			// first: of two that a process has not yet taken, the system makes one. What it printed is in the files out and err.
			"interrupt": func(ts *testscript.TestScript, _ bool, args []string) {
				c := driven(ts, args[4:])
				out, err := os.Create(ts.MkAbs("out"))
				ts.Check(err)
				defer out.Close()
				errs, err := os.Create(ts.MkAbs("err"))
				ts.Check(err)
				defer errs.Close()
				c.Stdout, c.Stderr = out, errs
				ts.Check(c.Start())
				waitFor(ts, args[1], args[2])
				names := strings.Split(args[0], "+")
				for i, name := range names {
					if slices.Contains(names[:i], name) {
						waitFor(ts, "err", "Interrupted: ")
					}
					ts.Check(c.Process.Signal(map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "PIPE": syscall.SIGPIPE}[name]))
					time.Sleep(50 * time.Millisecond)
				}
				ended(ts, c, args[3])
			},
			// hangup LINES CODE COMMAND … reads so many lines of a command's standard output, then closes it, and its error output
			// from the start, and wants the exit code.
			"hangup": func(ts *testscript.TestScript, _ bool, args []string) {
				c := driven(ts, args[2:])
				out, err := c.StdoutPipe()
				ts.Check(err)
				errs, err := c.StderrPipe()
				ts.Check(err)
				ts.Check(c.Start())
				errs.Close()
				var lines int
				fmt.Sscan(args[0], &lines)
				for r := bufio.NewReader(out); lines > 0; lines-- {
					_, err := r.ReadString('\n')
					ts.Check(err)
				}
				out.Close()
				ended(ts, c, args[1])
			},
			// bucket NAME starts a store with a bucket, and puts what it is reached by into the environment.
			"bucket": func(ts *testscript.TestScript, _ bool, args []string) { startBucket(ts, args[0]) },
			// object KEY FILE writes an object of the bucket to a file, and setobject KEY FILE a file to an object; with neg, object
			// wants there to be none, and setobject removes it.
			"object":    object,
			"setobject": setObject,
			// hold PREFIX keeps the store from taking objects whose keys start so; with neg, it takes them again.
			"hold": func(ts *testscript.TestScript, neg bool, args []string) {
				held := make(chan struct{})
				s := *ts.Value(bucketKey{}).(**s3test.Store)
				ts.Defer(func() { close(held) })
				s.Before(func(method, key string) int {
					if !neg && method == http.MethodPut && strings.HasPrefix(key, args[0]) {
						<-held
					}
					return 0
				})
			},
			// stateserver VAR starts a server of states, and puts its address into a variable; its user is me, with a password.
			"stateserver": func(ts *testscript.TestScript, _ bool, args []string) {
				s := remotetest.New()
				s.User, s.Password = "me", "s3cret"
				ts.Defer(s.Close)
				ts.Setenv(args[0], s.URL())
			},
			// mlflow VAR [CALLS] starts a tracking server of MLflow, and puts its address into a variable; it dies after so many
			// calls. mlflowruns FILE writes what it has to a file: its runs, and all that it was sent.
			"mlflow":     startMLflow,
			"mlflowruns": func(ts *testscript.TestScript, _ bool, args []string) { mlflowRuns(ts, args[0]) },
			// silent VAR starts a server that takes requests and answers none, notes each in the file asked, and puts its
			// address into a variable.
			"silent": func(ts *testscript.TestScript, _ bool, args []string) {
				asked := ts.MkAbs("asked")
				s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
					os.WriteFile(asked, []byte("asked"), 0o644)
					<-q.Context().Done()
				}))
				ts.Defer(func() { s.CloseClientConnections(); s.Close() })
				ts.Setenv(args[0], s.URL)
			},
			"port":      setPort,
			"rankfault": rankFault,
			// exit CODE COMMAND … wants that exit code.
			"exit": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec(args[1], args[2:]...)
				code := 0
				if err != nil {
					fmt.Sscanf(err.Error(), "exit status %d", &code)
				}
				if fmt.Sprint(code) != args[0] {
					ts.Fatalf("exit code %d, want %s", code, args[0])
				}
			},
		},
	})
}

// tinyDocuments returns short documents as JSON lines.
func tinyDocuments(n int) string {
	words := strings.Fields("the quick brown fox jumps over a lazy dog while seven wizards quietly mix strange potions in an old cellar")
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"id\":\"%d\",\"text\":\"", i)
		for j := range 6 + i%5 {
			fmt.Fprintf(&b, "%s ", words[(i*3+j*j)%len(words)])
		}
		b.WriteString("end\"}\n")
	}
	return b.String()
}

// TestEveryCommandHasAScript wants a script that bears a command's name, runs it, and shows what it refuses.
func TestEveryCommandHasAScript(t *testing.T) {
	for _, c := range commands {
		file := filepath.Join("testdata", "script", c.name+".txtar")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("the command %s needs a script: %v", c.name, err)
			continue
		}
		for what, line := range map[string]string{"success": "exec", "refusal": "(! exec|exit 1)"} {
			if !regexp.MustCompile(`(?m)^` + line + ` stepflow ` + c.name + `\b`).Match(text) {
				t.Errorf("%s shows no %s of stepflow %s", file, what, c.name)
			}
		}
	}
}

// startBucket starts the store of a script.
func startBucket(ts *testscript.TestScript, name string) {
	s := s3test.New(name)
	ts.Defer(s.Close)
	*ts.Value(bucketKey{}).(**s3test.Store) = s
	for n, v := range map[string]string{"AWS_ENDPOINT_URL": s.URL(), "AWS_ACCESS_KEY_ID": "id",
		"AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_EC2_METADATA_DISABLED": "true"} {
		ts.Setenv(n, v)
	}
}

// mlflowKey is the name under which a script keeps its tracking server.
type mlflowKey struct{}

func startMLflow(ts *testscript.TestScript, _ bool, args []string) {
	s := mlflowtest.New()
	ts.Defer(s.Close)
	*ts.Value(mlflowKey{}).(**mlflowtest.Server) = s
	if len(args) > 1 {
		var calls int64
		_, err := fmt.Sscan(args[1], &calls)
		ts.Check(err)
		var left atomic.Int64
		left.Store(calls)
		s.Before = func(string) int {
			if left.Add(-1) < 0 {
				panic(http.ErrAbortHandler)
			}
			return 0
		}
	}
	ts.Setenv(args[0], s.URL())
}

func mlflowRuns(ts *testscript.TestScript, file string) {
	s := *ts.Value(mlflowKey{}).(**mlflowtest.Server)
	var b strings.Builder
	for _, r := range s.Runs() {
		fmt.Fprintf(&b, "%s: %s, %d steps\n", r.Name, r.Status, len(r.Metrics["train/loss"]))
		for _, k := range slices.Sorted(maps.Keys(r.Params)) {
			fmt.Fprintf(&b, "  %s = %s\n", k, r.Params[k])
		}
		for _, k := range slices.Sorted(maps.Keys(r.Metrics)) {
			fmt.Fprintf(&b, "  %s: %v\n", k, r.Metrics[k][len(r.Metrics[k])-1].Value)
		}
	}
	s.Locked(func() { b.WriteString(strings.Join(s.Bodies, "\n")) })
	ts.Check(os.WriteFile(ts.MkAbs(file), []byte(b.String()), 0o644))
}

// bucketKey is the name under which a script keeps its store.
type bucketKey struct{}

func object(ts *testscript.TestScript, neg bool, args []string) {
	b := (*ts.Value(bucketKey{}).(**s3test.Store)).Object(args[0])
	if (b == nil) != neg {
		ts.Fatalf("the object %s is there: %v", args[0], b != nil)
	}
	if !neg {
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o666))
	}
}

func setObject(ts *testscript.TestScript, neg bool, args []string) {
	var b []byte
	if !neg {
		var err error
		b, err = os.ReadFile(ts.MkAbs(args[1]))
		ts.Check(err)
	}
	(*ts.Value(bucketKey{}).(**s3test.Store)).Set(args[0], b)
}

func waitFor(ts *testscript.TestScript, glob, text string) {
	for range 3000 {
		files, _ := filepath.Glob(ts.MkAbs(glob))
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), text) {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s never held %q", glob, text)
}

// driven is a command of a script that a test drives itself.
func driven(ts *testscript.TestScript, args []string) *exec.Cmd {
	path := args[0]
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if p := filepath.Join(dir, args[0]); path == args[0] {
			if _, err := os.Stat(p); err == nil {
				path = p
			}
		}
	}
	c := exec.Command(path, args[1:]...)
	c.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "WORK", "NO_COLOR", "STEPFLOW_CACHE_DIR", "STEPFLOW_LOG",
		"STEPFLOW_BACKEND", "STEPFLOW_ARTIFACTS", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
		"AWS_EC2_METADATA_DISABLED", "MLFLOW_TRACKING_URI"} {
		c.Env = append(c.Env, name+"="+ts.Getenv(name))
	}
	return c
}

// ended waits for a command, within a generous time, and wants its exit code.
func ended(ts *testscript.TestScript, c *exec.Cmd, code string) {
	late := time.AfterFunc(2*time.Minute, func() { c.Process.Kill() })
	defer late.Stop()
	c.Wait()
	if got := fmt.Sprint(c.ProcessState.ExitCode()); got != code {
		ts.Fatalf("%v: exit code %s (%v), want %s", c.Args, got, c.ProcessState, code)
	}
}
