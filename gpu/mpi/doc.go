// Package mpi joins processes that mpirun or srun started, through the MPI library of the machine. The library is looked for
// and loaded when Open is called; programs are not linked with it.
package mpi

// Library is the environment variable that names the MPI library where it is not found by itself.
const Library = "STEPFLOW_MPI_LIBRARY"
