// Package mpi joins processes that mpirun or srun started, through the MPI library of the machine. The library is looked for
// and loaded when Open is called; programs are not linked with it.
package mpi

import "os"

// Library is the environment variable that names the MPI library where it is not found by itself.
const Library = "STEPFLOW_MPI_LIBRARY"

// Timeout is the environment variable that says after how long a rank that is silent counts as lost: a duration such as 60s,
// which is what it is without.
const Timeout = "STEPFLOW_MPI_TIMEOUT"

// Started says how many processes the launcher of this one says it started together, and 0 if no launcher of MPI programs
// started it. It reads the environment alone.
func Started() int {
	for _, name := range []string{"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"} {
		n := 0
		for _, c := range os.Getenv(name) {
			if c < '0' || c > '9' || n > 1<<24 {
				n = 0
				break
			}
			n = 10*n + int(c-'0')
		}
		if n > 0 {
			return n
		}
	}
	return 0
}
