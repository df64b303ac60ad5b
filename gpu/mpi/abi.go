package mpi

// abi is what programs know of an MPI library at compile time, which differs between libraries: the size and the values of
// handles, and constants. See mpi.h of Open MPI 4.1 and 5, mpi.h of MPICH 4, and mpi_abi.h of the standard (MPI 5.0, chapter
// 20).
type abi struct {
	name       string
	handle     uintptr // bytes of a handle
	world      uintptr // MPI_COMM_WORLD
	bytes      uintptr // MPI_BYTE
	float      uintptr // MPI_FLOAT
	sum        uintptr // MPI_SUM
	returned   uintptr // MPI_ERRORS_RETURN
	noStatus   uintptr // MPI_STATUS_IGNORE and MPI_STATUSES_IGNORE
	serialized int32   // MPI_THREAD_SERIALIZED
	anySource  int32   // MPI_ANY_SOURCE
}

var (
	// openMPI has pointers to objects of the library as handles: the names of these are in symbols.
	openMPI = abi{name: "Open MPI", handle: 8, serialized: 2, anySource: -1}
	mpich   = abi{name: "MPICH", handle: 4, world: 0x44000000, bytes: 0x4c00010d, float: 0x4c00040a, sum: 0x58000003, returned: 0x54000001,
		noStatus: 1, serialized: 2, anySource: -2}
	standard = abi{name: "the standard ABI", handle: 8, world: 0x101, bytes: 0x247, float: 0x210, sum: 0x21, returned: 0x143,
		serialized: 2048, anySource: -1}
)

// openMPISymbols are the objects that Open MPI's handles point to.
var openMPISymbols = map[string]func(*abi) *uintptr{
	"ompi_mpi_comm_world":    func(a *abi) *uintptr { return &a.world },
	"ompi_mpi_byte":          func(a *abi) *uintptr { return &a.bytes },
	"ompi_mpi_float":         func(a *abi) *uintptr { return &a.float },
	"ompi_mpi_op_sum":        func(a *abi) *uintptr { return &a.sum },
	"ompi_mpi_errors_return": func(a *abi) *uintptr { return &a.returned },
}
