package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestFlagsOfMpirun(t *testing.T) {
	for _, x := range []struct {
		open              bool
		n, cores, threads int
		want, warning     string
	}{
		{true, 4, 16, 32, "-n 4 --bind-to core --map-by slot:PE=4", ""},
		{true, 3, 16, 16, "-n 3 --bind-to core --map-by slot:PE=5", ""},
		{true, 2, 1, 2, "-n 2 --use-hwthread-cpus --bind-to hwthread", "2 ranks share 1 core, "},
		{true, 4, 2, 2, "-n 4 --oversubscribe --bind-to none", "4 ranks share 2 cores, "},
		{false, 4, 16, 32, "-n 4 -bind-to core:4", ""},
		{false, 4, 2, 2, "-n 4", "4 ranks share 2 cores, "},
	} {
		args, warning := (&mpirun{open: x.open}).args(x.n, x.cores, x.threads)
		got := strings.TrimSuffix(strings.Join(args, " "), " --allow-run-as-root")
		if got != x.want || !strings.HasPrefix(warning, x.warning) || (warning == "") != (x.warning == "") {
			t.Errorf("%+v: %s, %q", x, got, warning)
		}
	}
}

func TestLinesOfOtherRanks(t *testing.T) {
	var b bytes.Buffer
	o := &rankOutput{to: &b, prefix: rankPrefix(2, "node1")}
	fmt.Fprint(o, "one\ntw")
	fmt.Fprint(o, "o\n")
	o.hold()
	fmt.Fprint(o, "held\n")
	if text := o.release(); text != "held\n" {
		t.Errorf("held %q", text)
	}
	fmt.Fprintln(o, "three")
	if want := "[rank 2, node1] one\n[rank 2, node1] two\n[rank 2, node1] three\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// setPort is the command port VAR of scripts: it puts a free port into a variable.
func setPort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// rankFault is the command rankfault SIGNAL RANK WHEN TEXT CODE COMMAND … of scripts: it runs a command that starts ranks, sends
// a signal to one of them, or to what started them (launcher), when the file WHEN holds the text, and wants the exit code. What it printed is in the files out
// and err.
func rankFault(ts *testscript.TestScript, _ bool, args []string) {
	c := driven(ts, args[5:])
	for _, name := range []string{"STEPFLOW_RANKS_TCP", "STEPFLOW_RANK_TIMEOUT"} {
		c.Env = append(c.Env, name+"="+ts.Getenv(name))
	}
	out, err := os.Create(ts.MkAbs("out"))
	ts.Check(err)
	defer out.Close()
	errs, err := os.Create(ts.MkAbs("err"))
	ts.Check(err)
	defer errs.Close()
	c.Stdout, c.Stderr = out, errs
	ts.Check(c.Start())
	waitFor(ts, args[2], args[3])
	pid := c.Process.Pid
	if args[1] != "launcher" {
		pid = rankOf(ts.MkAbs("."), args[1])
	}
	if pid == 0 {
		c.Process.Kill()
		ts.Fatalf("there is no rank %s", args[1])
	}
	signal := map[string]syscall.Signal{"KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "TERM": syscall.SIGTERM}[args[0]]
	ts.Check(syscall.Kill(pid, signal))
	ended(ts, c, args[4])
}

// rankOf finds the process of a rank that runs in a folder.
func rankOf(dir, rank string) (pid int) {
	list, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range list {
		text, err := os.ReadFile(path)
		env := "\x00" + string(text)
		if cwd, _ := os.Readlink(filepath.Dir(path) + "/cwd"); err == nil && cwd == dir && (strings.Contains(env, "\x00RANK="+rank+"\x00") ||
			strings.Contains(env, "\x00OMPI_COMM_WORLD_RANK="+rank+"\x00")) {
			pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return pid
}
