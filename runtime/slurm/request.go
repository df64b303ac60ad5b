// Package slurm speaks to Slurm by its commands: sbatch, squeue, scontrol, scancel, and sacct where there is one.
package slurm

import (
	"fmt"
	"strings"
	"time"
)

// Request is what a job asks for.
type Request struct {
	Partition, Account, QOS, Constraint string

	Nodes, TasksPerNode, CPUsPerTask int
	GPUsPerTask                      int
	Memory                           int64  // bytes on each node; 0 for the cluster's default
	Time                             string // limit, as --time takes it; "" for the cluster's default
	Requeue                          bool
	Extra                            []string
}

// Reserved are the options of sbatch that stepflow gives itself, with the reason.
var Reserved = map[string]string{
	"--parsable": "it reads the number of the job", "--wait": "it follows the job", "--array": "a job runs one block",
	"-a": "a job runs one block", "--output": "it shows the last lines of the log", "-o": "it shows the last lines of the log",
	"--error": "it shows the last lines of the log", "-e": "it shows the last lines of the log", "--wrap": "it writes the script",
	"--job-name": "it tells jobs by their names", "-J": "it tells jobs by their names",
	"--chdir": "paths are relative to where apply runs", "-D": "paths are relative to where apply runs",
	"--signal": "a stage saves a checkpoint before the time limit", "--dependency": "it submits a block when what it needs is done",
	"-d": "it submits a block when what it needs is done", "--export": "a job has the environment of apply",
}

// Tasks is the number of processes of a job.
func (r Request) Tasks() int { return max(r.Nodes, 1) * max(r.TasksPerNode, 1) }

// Args are the options of sbatch.
func (r Request) Args() []string {
	var args []string
	add := func(name string, v any, given bool) {
		if given {
			args = append(args, fmt.Sprintf("--%s=%v", name, v))
		}
	}
	add("partition", r.Partition, r.Partition != "")
	add("account", r.Account, r.Account != "")
	add("qos", r.QOS, r.QOS != "")
	add("constraint", r.Constraint, r.Constraint != "")
	add("nodes", r.Nodes, r.Nodes > 0)
	add("ntasks-per-node", r.TasksPerNode, r.TasksPerNode > 0)
	add("cpus-per-task", r.CPUsPerTask, r.CPUsPerTask > 0)
	add("gres", fmt.Sprintf("gpu:%d", r.GPUsPerTask*max(r.TasksPerNode, 1)), r.GPUsPerTask > 0)
	add("mem", fmt.Sprintf("%dM", (r.Memory+1<<20-1)>>20), r.Memory > 0)
	add("time", r.Time, r.Time != "")
	if r.Requeue {
		args = append(args, "--requeue")
	} else {
		args = append(args, "--no-requeue")
	}
	return append(args, r.Extra...)
}

// String is the request as a plan shows it.
func (r Request) String() string {
	return strings.Join(r.Args(), " ")
}

// Limit writes a time limit, in whole minutes.
func Limit(d time.Duration) string {
	m := int64((d + time.Minute - 1) / time.Minute)
	if days := m / (24 * 60); days > 0 {
		return fmt.Sprintf("%d-%02d:%02d:00", days, m/60%24, m%60)
	}
	return fmt.Sprintf("%02d:%02d:00", m/60, m%60)
}
