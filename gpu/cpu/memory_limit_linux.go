package cpu

import "golang.org/x/sys/unix"

// processLimit is how much memory this process may have by its limits (ulimit -v, ulimit -d), 0 for any. They count addresses, also
// those at which nothing lies yet, such as those that Go reserves. It is rounded down, so that it is the same when it is asked for again.
func processLimit() (n int64) {
	const status, step = "/proc/self/status", 64 << 20
	resident := field(status, "VmRSS: %d kB") << 10
	for _, x := range []struct {
		resource int
		counted  string
	}{{unix.RLIMIT_AS, "VmSize: %d kB"}, {unix.RLIMIT_DATA, "VmData: %d kB"}} {
		var r unix.Rlimit
		if unix.Getrlimit(x.resource, &r) != nil || r.Cur > 1<<62 {
			continue
		}
		beside := max(0, field(status, x.counted)<<10-resident)
		least(&n, max(step, (int64(r.Cur)-beside)/step*step))
	}
	return n
}
