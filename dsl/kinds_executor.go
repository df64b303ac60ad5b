package dsl

import "github.com/zclconf/go-cty/cty"

// runsOn is the row of the schema for the attribute that says where a block runs.
var runsOn = Attr{Name: "executor", Ref: []string{"executor"},
	Doc: "Where the block runs; default: in the process of `apply`. What it makes is the same anywhere. " +
		"`defaults` give it to all blocks of a kind: see [slurm.md](slurm.md)."}

// executorKind is the row of Kinds for executors.
var executorKind = Kind{Name: "executor", Types: []string{"local", "slurm"}, Lazy: true,
	Doc: "Where blocks run that name it. `local`: in the process of `apply`. `slurm`: each in a job of Slurm's, which runs the same " +
		"binary on the same folder, so both lie on a file system that the nodes share. See [slurm.md](slurm.md).",
	Attrs: []Attr{
		{Name: "partition", Type: cty.String, Only: slurmOnly, Doc: "Partition, as `--partition` takes it. Default: the cluster's."},
		{Name: "account", Type: cty.String, Only: slurmOnly, Doc: "Account that the job is charged to. Default: the user's."},
		{Name: "qos", Type: cty.String, Only: slurmOnly, Doc: "Quality of service. Default: the user's."},
		{Name: "constraint", Type: cty.String, Only: slurmOnly, Doc: "Features that the nodes have, such as `a100&nvlink`."},
		{Name: "nodes", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 16), Default: num(1), Only: slurmOnly, Doc: "Nodes."},
		{Name: "ntasks_per_node", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 12), Default: num(1), Only: slurmOnly,
			Doc: "Processes on each node. With more than one in all, `srun` starts them, and each is a rank."},
		{Name: "cpus_per_task", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 12), Only: slurmOnly,
			Doc: "Processors of each process, which are its threads. Default: the cluster's, usually one."},
		{Name: "gpus_per_task", Type: cty.Number, Whole: true, Min: at(0), Max: at(1 << 8), Only: slurmOnly,
			Doc: "Cards of each process. Default: one with `-device cuda`, else none."},
		{Name: "mem", Type: cty.String, Bytes: true, Only: slurmOnly,
			Doc: "Memory on each node, such as `64 GiB`. Default: what the plan says that the block takes, and a quarter more."},
		{Name: "time", Type: cty.String, Only: slurmOnly,
			Doc: "Time limit, as `--time` takes it: `24:00:00`, `2-12:00:00` or minutes. Two minutes before it a stage saves a " +
				"checkpoint and queues again. Default: twice the time that the plan predicts and ten minutes; the cluster's, if no time is predicted."},
		{Name: "requeue", Type: cty.Bool, Default: cty.True, Only: slurmOnly,
			Doc: "Whether Slurm may queue the job again, after its node failed, when it is preempted, and at its time limit."},
		{Name: "retries", Type: cty.Number, Whole: true, Min: at(0), Max: at(100), Default: num(1), Only: slurmOnly,
			Doc: "How often `apply` submits a block again whose job Slurm ended: its node failed, it was preempted, its time was over, or " +
				"nothing is known of it. An error of the block itself, too little memory and a job that someone cancelled are final."},
		{Name: "extra", Type: strings_, Filled: true, Only: slurmOnly, Doc: "More options of `sbatch`, such as `[\"--exclude=n17\"]`."},
		{Name: "setup", Type: cty.String, Only: slurmOnly,
			Doc: "Commands of bash that come first in the job, such as `module load openmpi`. If one fails, so does the job."},
	}}

// slurmOnly are the types of executors that take what Slurm takes.
var slurmOnly = []string{"slurm"}
