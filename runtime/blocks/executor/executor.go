// Package executor is the executor block, which says where blocks run.
package executor

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/slurm"
)

// Kind is the executor block.
var Kind = blocks.Kind{Sound: sound, Plan: plan}

// Executor is a planned executor block.
type Executor struct {
	Addr    addr.Addr
	Slurm   bool // else blocks run in the process of apply
	Request slurm.Request
	Setup   string // commands that come first in a job
	Retries int
}

// Identity writes nothing: where a block runs is no part of what it makes.
func (*Executor) Identity(io.Writer) {}

// Summary says what every job asks for.
func (e *Executor) Summary() string {
	if !e.Slurm {
		return ""
	}
	return e.Request.String()
}

// limit is a time limit as sbatch takes it: minutes, minutes:seconds, hours:minutes:seconds, days-hours and so on.
var limit = regexp.MustCompile(`^(\d+-)?\d{1,7}(:\d{1,2}){0,2}$|^(?i:unlimited|infinite)$`)

func sound(_ addr.Addr, d *dsl.Decoded) (diags hcl.Diagnostics) {
	if s := d.Str("time"); s != "" && !limit.MatchString(s) {
		diags = append(diags, d.Error("time", "Invalid time limit",
			fmt.Sprintf("%q is no time limit of Slurm's. Write hours as \"24:00:00\", days as \"2-12:00:00\", or minutes as \"90\".", s)))
	}
	for _, name := range []string{"partition", "account", "qos", "constraint"} {
		if s := d.Str(name); strings.ContainsAny(s, "\n\x00") {
			diags = append(diags, d.Error(name, "Invalid value", fmt.Sprintf("%s is one line of text.", name)))
		}
	}
	for _, s := range d.Strs("extra") {
		name, _, _ := strings.Cut(s, "=")
		why, ours := slurm.Reserved[name]
		switch {
		case !strings.HasPrefix(s, "-"):
			diags = append(diags, d.Error("extra", "Not an option",
				fmt.Sprintf("%q is no option of sbatch: an option and its value are one text, such as \"--exclude=n17\".", s)))
		case ours:
			diags = append(diags, d.Error("extra", "An option of stepflow's", fmt.Sprintf("stepflow gives %s itself: %s.", name, why)))
		}
	}
	return diags
}

func plan(_ context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	e := &Executor{Addr: p.Addr}
	p.Block = e
	if p.Addr.Type != "slurm" {
		return map[string]cty.Value{}, nil
	}
	e.Slurm, e.Setup, e.Retries = true, d.Str("setup"), d.Int("retries")
	e.Request = slurm.Request{Partition: d.Str("partition"), Account: d.Str("account"), QOS: d.Str("qos"),
		Constraint: d.Str("constraint"), Nodes: d.Int("nodes"), TasksPerNode: d.Int("ntasks_per_node"),
		CPUsPerTask: d.Int("cpus_per_task"), GPUsPerTask: -1, Time: d.Str("time"), Requeue: d.Bool("requeue"), Extra: d.Strs("extra")}
	if d.Has("gpus_per_task") {
		e.Request.GPUsPerTask = d.Int("gpus_per_task")
	}
	if s := d.Str("mem"); s != "" {
		n, err := dsl.ParseBytes(s)
		if err != nil {
			return nil, blocks.Problem(d, "mem", "Invalid value", err)
		}
		e.Request.Memory = n
	}
	return map[string]cty.Value{}, nil
}
