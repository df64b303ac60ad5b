package slurm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"stepflow/foreign"
)

// Job is what is submitted.
type Job struct {
	Name   string
	Log    string // file that takes what it prints
	Dir    string // that it runs in
	Script string // of bash
	Request
}

// Warning is how long before its time limit a job is told, so that a stage can save a checkpoint.
const Warning = 2 * time.Minute

// Unreachable says that Slurm's controller did not answer, which may pass.
type Unreachable struct{ Err error }

func (e *Unreachable) Error() string { return e.Err.Error() }

func (e *Unreachable) Unwrap() error { return e.Err }

// MissingError says that a command of Slurm's is not there.
type MissingError struct{ Command string }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not in the PATH: jobs are submitted on a machine that has Slurm's commands, such as a login node "+
		"(Debian: slurm-client)", e.Command)
}

// patience is how long a command of Slurm's may take.
const patience = time.Minute

// command runs a command of Slurm's and returns what it prints.
func command(ctx context.Context, stdin, name string, args ...string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", &MissingError{name}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := exec.CommandContext(ctx, path, args...)
	var out, problem bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr, c.Env = strings.NewReader(stdin), &out, &problem, environment(os.Environ())
	c.WaitDelay = time.Second
	err = c.Run()
	if err == nil {
		return out.String(), nil
	}
	text := foreign.ShownText(strings.TrimSpace(problem.String()))
	if text == "" {
		text = err.Error()
	}
	err = fmt.Errorf("%s: %s", name, text)
	if ctx.Err() != nil || unreachable.MatchString(text) {
		err = &Unreachable{err}
	}
	return out.String(), err
}

// unreachable is what the commands print when the controller is down, starts or is overloaded.
var unreachable = regexp.MustCompile(`(?i)unable to contact slurm controller|socket timed out|connection refused|connect failure|` +
	`communication connection failure|slurm backup controller in standby|transport endpoint is not connected|resource temporarily unavailable`)

// environment leaves out what a job that apply itself runs in was given: sbatch would take it for options.
func environment(env []string) (list []string) {
	for _, s := range env {
		if name, _, _ := strings.Cut(s, "="); !strings.HasPrefix(name, "SLURM_") || name == "SLURM_CONF" {
			list = append(list, s)
		}
	}
	return list
}

// Submit submits a job and returns its number.
func Submit(ctx context.Context, j Job) (string, error) {
	args := append([]string{"--parsable", "--job-name=" + j.Name, "--output=" + strings.ReplaceAll(j.Log, "%", "%%"),
		"--open-mode=append", "--chdir=" + j.Dir, "--export=ALL"}, j.Args()...)
	whom := "B:" // the script, which becomes the process
	if j.Tasks() > 1 {
		whom = ""
	}
	args = append(args, fmt.Sprintf("--signal=%sUSR1@%.0f", whom, Warning.Seconds()))
	out, err := command(ctx, j.Script, "sbatch", args...)
	if err != nil {
		return "", err
	}
	id, _, _ := strings.Cut(strings.TrimSpace(out), ";") // a cluster's name may follow
	if !number.MatchString(id) {
		return "", fmt.Errorf("sbatch printed %q instead of a job's number", foreign.Shown(out))
	}
	return id, nil
}

var number = regexp.MustCompile(`^[0-9]+$`)

// Cancel cancels jobs.
func Cancel(ctx context.Context, ids ...string) error {
	_, err := command(ctx, "", "scancel", ids...)
	return err
}

// Requeue queues a running job again.
func Requeue(ctx context.Context, id string) error {
	_, err := command(ctx, "", "scontrol", "requeue", id)
	return err
}

// Status is what Slurm says of a job. The zero Status is that of a job of which it knows nothing any more.
type Status struct {
	State  string // by Slurm's long names, such as PENDING
	Reason string // why it waits or ended; "" for none
	Nodes  string
	Exit   string // code and signal, such as 1:0; "" while it runs
}

// waiting and running are the states of jobs that go on.
var (
	waiting = map[string]bool{"PENDING": true, "REQUEUED": true, "REQUEUE_HOLD": true, "REQUEUE_FED": true, "RESV_DEL_HOLD": true,
		"SPECIAL_EXIT": true, "CONFIGURING": true}
	running = map[string]bool{"RUNNING": true, "COMPLETING": true, "SUSPENDED": true, "STOPPED": true, "RESIZING": true,
		"SIGNALING": true, "STAGE_OUT": true}
)

// Ended reports whether the job has ended, or nothing is known of it.
func (s Status) Ended() bool { return !waiting[s.State] && !running[s.State] }

// Waits reports whether the job waits.
func (s Status) Waits() bool { return waiting[s.State] }

// Of asks for the states of jobs.
func Of(ctx context.Context, ids []string) (map[string]Status, error) {
	found := map[string]Status{}
	out, err := command(ctx, "", "squeue", "--noheader", "--states=all", "--jobs="+strings.Join(ids, ","), "--format=%i|%T|%r|%N")
	if err != nil && !unknown(err) {
		return nil, err
	}
	for line := range strings.Lines(out) {
		if f := strings.SplitN(strings.TrimSpace(line), "|", 4); len(f) == 4 {
			found[f[0]] = Status{State: f[1], Reason: none(f[2]), Nodes: f[3]}
		}
	}
	for _, id := range ids {
		s, ok := found[id]
		if ok && !s.Ended() {
			continue
		}
		more, err := ended(ctx, id)
		if err != nil {
			return nil, err
		}
		if more.State != "" {
			found[id] = more
		}
	}
	return found, nil
}

// ended asks what became of a job: the controller, which forgets after a while, and then the accounts, if there are any.
func ended(ctx context.Context, id string) (Status, error) {
	out, err := command(ctx, "", "scontrol", "--oneliner", "show", "job", id)
	if err == nil {
		f := map[string]string{}
		for _, word := range strings.Fields(out) {
			name, v, _ := strings.Cut(word, "=")
			f[name] = v
		}
		return Status{f["JobState"], none(f["Reason"]), none(f["NodeList"]), f["ExitCode"]}, nil
	}
	if !unknown(err) {
		return Status{}, err
	}
	out, err = command(ctx, "", "sacct", "--noheader", "--parsable2", "--allocations", "--jobs="+id,
		"--format=State,Reason,NodeList,ExitCode")
	if f := strings.Split(strings.TrimSpace(out), "|"); err == nil && len(f) == 4 {
		state, _, _ := strings.Cut(f[0], " ") // "CANCELLED by 0"
		return Status{state, none(f[1]), none(f[2]), f[3]}, nil
	}
	return Status{}, nil // there is no sacct, or it keeps no accounts
}

// unknown reports whether an error says that Slurm has no such job.
func unknown(err error) bool {
	var missing *MissingError
	return !errors.As(err, &missing) && strings.Contains(strings.ToLower(err.Error()), "invalid job id")
}

// none is a value, or "" where Slurm says that there is none.
func none(s string) string {
	switch s {
	case "None", "(null)", "N/A", "n/a":
		return ""
	}
	return s
}
