package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite golden parts of scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"stepflow": func() {
			os.Exit(program())
		},
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("NO_COLOR", "1")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// docs FILE N writes N short documents as JSON lines.
			"docs": func(ts *testscript.TestScript, _ bool, args []string) {
				var n int
				fmt.Sscan(args[1], &n)
				words := strings.Fields("the quick brown fox jumps over a lazy dog while seven wizards quietly mix strange potions in an old cellar")
				var b strings.Builder
				for i := 0; i < n; i++ {
					fmt.Fprintf(&b, "{\"id\":\"%d\",\"text\":\"", i)
					for j := 0; j < 6+i%5; j++ {
						fmt.Fprintf(&b, "%s ", words[(i*3+j*j)%len(words)])
					}
					b.WriteString("end\"}\n")
				}
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o644))
			},
			// waitfor GLOB TEXT waits until a file that matches holds the text.
			"waitfor": func(ts *testscript.TestScript, _ bool, args []string) {
				for i := 0; i < 600; i++ {
					files, _ := filepath.Glob(ts.MkAbs(args[0]))
					for _, f := range files {
						if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), args[1]) {
							return
						}
					}
					time.Sleep(50 * time.Millisecond)
				}
				ts.Fatalf("%s never held %q", args[0], args[1])
			},
			// touch FILE sets its time of modification to now.
			"touch": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.Chtimes(ts.MkAbs(args[0]), time.Now(), time.Now()))
			},
			// mkfifo FILE makes a named pipe.
			"mkfifo": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(syscall.Mkfifo(ts.MkAbs(args[0]), 0o644))
			},
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
