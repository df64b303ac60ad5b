package group

import (
	"fmt"
	"net"
	"strconv"
)

// World is what a launcher tells a process of its place.
type World struct {
	Rank, Size   int
	LocalRank    int    // among the processes of this machine
	Launcher     string // such as "mpirun of Open MPI"; "" for a process alone
	MPI          bool   // the launcher is one of MPI; otherwise ranks meet at Address
	Address, Key string // of rank 0, for a rendezvous
}

// launcher is a row of the table of launchers: the variables that they set. MPI's stand before others, since one starts the
// other: mpirun runs in a job of Slurm.
type launcher struct {
	name              string
	size, rank, local string
	mpi               bool
	only              string // a variable that must be there too
}

var launchers = []launcher{
	{name: "mpirun of Open MPI", mpi: true, size: "OMPI_COMM_WORLD_SIZE", rank: "OMPI_COMM_WORLD_RANK",
		local: "OMPI_COMM_WORLD_LOCAL_RANK"},
	{name: "the variables RANK and WORLD_SIZE", size: "WORLD_SIZE", rank: "RANK", local: "LOCAL_RANK"},
	{name: "srun", mpi: true, size: "SLURM_STEP_NUM_TASKS", rank: "SLURM_PROCID", local: "SLURM_LOCALID",
		only: "SLURM_STEP_ID"}, // a batch script has none
	{name: "mpiexec of MPICH", mpi: true, size: "PMI_SIZE", rank: "PMI_RANK", local: "MPI_LOCALRANKID"},
	{name: "flux", mpi: true, size: "FLUX_JOB_SIZE", rank: "FLUX_TASK_RANK", local: "FLUX_TASK_LOCAL_ID"},
}

// FromEnvironment finds out from a process's environment whether it is one of several ranks; a size of 1 is a process
// alone.
func FromEnvironment(getenv func(string) string) (World, error) {
	for _, l := range launchers {
		if getenv(l.size) == "" || getenv(l.rank) == "" || l.only != "" && getenv(l.only) == "" {
			continue
		}
		w := World{Launcher: l.name, MPI: l.mpi}
		for _, x := range []struct {
			name string
			to   *int
		}{{l.size, &w.Size}, {l.rank, &w.Rank}, {l.local, &w.LocalRank}} {
			text := getenv(x.name)
			if text == "" {
				continue
			}
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 {
				return w, fmt.Errorf("%s is %q, and should be a number", x.name, text)
			}
			*x.to = n
		}
		if w.Size <= 1 {
			continue
		}
		if w.Rank >= w.Size {
			return w, fmt.Errorf("%s is %d and %s is %d: ranks count from 0", l.rank, w.Rank, l.size, w.Size)
		}
		if !w.MPI {
			return w, w.meeting(getenv)
		}
		return w, nil
	}
	return World{Size: 1}, nil
}

// meeting reads where ranks meet that were not started by MPI.
func (w *World) meeting(getenv func(string) string) error {
	host, text := getenv("MASTER_ADDR"), getenv("MASTER_PORT")
	port, err := strconv.Atoi(text)
	switch {
	case host == "":
		return fmt.Errorf("RANK and WORLD_SIZE are set, and MASTER_ADDR is not: it names the host of rank 0")
	case err != nil || port < 1 || port > 65535:
		return fmt.Errorf("MASTER_PORT is %q, and should be the number of a port at which rank 0 can listen", text)
	}
	if getenv("TORCHELASTIC_USE_AGENT_STORE") == "True" { // torchrun listens at the port itself
		port++
	}
	w.Address = net.JoinHostPort(host, strconv.Itoa(port))
	w.Key = getenv(KeyVariable)
	if w.Key == "" {
		w.Key = getenv("TORCHELASTIC_RUN_ID")
	}
	return nil
}

// KeyVariable holds a word that the ranks of a run have in common, by which rank 0 knows them.
const KeyVariable = "STEPFLOW_RANKS_KEY"
