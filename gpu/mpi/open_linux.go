package mpi

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/ebitengine/purego"

	"stepflow/gpu"
)

// opened is set once: MPI starts once in a process.
var opened atomic.Bool

// Open finds an MPI library, loads it and joins the processes that were started together. A process that no launcher
// started is rank 0 of 1. It may be called once.
func Open() (gpu.Communicator, error) {
	if !opened.CompareAndSwap(false, true) {
		return nil, errors.New("MPI was already started in this process, and starts only once")
	}
	l, err := load()
	if err != nil {
		return nil, err
	}
	c := &comm{library: l, finalize: make(chan struct{}), finalized: make(chan error, 1)}
	started := make(chan error)
	go func() {
		// MPI_Finalize has to be called by the thread that called MPI_Init_thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- c.start()
		<-c.finalize
		err := c.check("MPI_Finalize", c.call(c.library.finalize))
		if c.name != openMPI.name {
			// MPICH 5 tells its launcher by a function for exit() that the process has ended well, and Go does not call exit().
			// The library's own such functions are called when it is unloaded.
			err = errors.Join(err, purego.Dlclose(c.object))
		}
		c.finalized <- err
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s (%s): %w", l.version, l.path, err)
	}
	return c, nil
}

// start starts MPI, on the calling thread.
func (c *comm) start() error {
	if err := c.check("MPI_Init_thread", c.call(c.initThread, 0, 0, uintptr(c.serialized), c.answer(0))); err != nil {
		return err
	}
	if c.answers[0] < c.serialized {
		return errors.New("the library was built without support of threads (MPI_THREAD_SERIALIZED)")
	}
	err := errors.Join(
		c.check("MPI_Comm_set_errhandler", c.call(c.setErrhandler, c.world, c.returned)),
		c.check("MPI_Comm_rank", c.call(c.library.rank, c.world, c.answer(0))),
		c.check("MPI_Comm_size", c.call(c.library.size, c.world, c.answer(1))))
	c.rank, c.size = int(c.answers[0]), int(c.answers[1])
	if err == nil && c.size > 1 {
		err = c.listen()
	}
	return err
}

// answer is where a function puts a number.
func (c *comm) answer(i int) uintptr { return uintptr(unsafe.Pointer(&c.answers[i])) }

// call calls a function of the library, whose result is a code. The lock is held, and arguments that point to memory point to
// what lies on the heap: stacks move.
func (c *comm) call(f uintptr, args ...uintptr) int32 {
	code, _, _ := purego.SyscallN(f, c.args[:copy(c.args[:], args)]...)
	return int32(code)
}

// check makes an error of a code.
func (l *library) check(what string, code int32) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", what, l.message(code))
}
