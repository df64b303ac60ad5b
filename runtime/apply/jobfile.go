package apply

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/foreign"
	"stepflow/runtime/durable"
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
)

// jobsName is the folder in the state's that holds, for each block that ran in a job, what the job was told, what it told, and its
// log.
const jobsName = "jobs"

// Order is what a job is told: which block to make, and the command line that the plan of it follows from.
type Order struct {
	Address  string   `json:"address"`
	Recipe   string   `json:"recipe"`           // what is to be made: the job refuses to make anything else
	Beside   []string `json:"beside,omitempty"` // blocks made from it: of what measures it, its run counts what it trains on
	Replace  bool     `json:"replace,omitempty"`
	StateDir string   `json:"state_dir"`
	Result   string   `json:"result"` // file to write
	Call
}

// Call is what a plan follows from: the pipeline, and what the flags said.
type Call struct {
	Path         string     `json:"path"` // of the pipeline
	Flags        []dsl.Flag `json:"flags,omitempty"`
	Device       string     `json:"device,omitempty"`
	DeviceMemory string     `json:"device_memory,omitempty"`
	Capability   string     `json:"compute_capability,omitempty"`
}

// Report is what a job tells. It is written whenever the block would record something in the state.
type Report struct {
	Job         string                   `json:"job"`
	Ended       bool                     `json:"ended"`
	Interrupted bool                     `json:"interrupted,omitempty"` // it ended because it was told to
	Error       string                   `json:"error,omitempty"`       // why it failed
	Entry       *state.Block             `json:"entry,omitempty"`
	Rates       map[string]float64       `json:"rates,omitempty"`
	Exports     map[string]string        `json:"exports,omitempty"`
	Sources     map[string]*state.Source `json:"sources,omitempty"`
}

// Names in the folder of a block's job.
const (
	orderName  = "order.json"
	reportName = "report.json"
	logName    = "log"
)

// jobFolder is the folder of a block's job.
func jobFolder(stateDir string, a addr.Addr) string {
	return filepath.Join(stateDir, jobsName, a.Dir())
}

// maxJobFile bounds what is read of a file of a job, in bytes.
const maxJobFile = 64 << 20

// writePrivate writes a file that others may not read: the flags of an order may hold values of variables.
func writePrivate(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f := durable.UserFile{Path: path, Private: true, Ours: func(io.Reader) bool { return true }}
	_, err = f.Write(append(b, '\n'))
	return err
}

// ReadOrder reads what a job is told.
func ReadOrder(path string) (*Order, error) {
	b, err := foreign.ReadFile(path, maxJobFile)
	if err != nil {
		return nil, err
	}
	var o Order
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, err
	}
	return &o, nil
}

// readReport reads what a job told; nil if it has told nothing.
func readReport(path string) (*Report, error) {
	b, err := foreign.ReadFile(path, maxJobFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// write writes a report.
func (r *Report) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(b, '\n'))
}

// take puts into a state what a job told besides the entry of its block.
func (r *Report) take(st *state.State) {
	for name, rate := range r.Rates {
		st.Rate(name, rate)
	}
	for folder, recipe := range r.Exports {
		if st.Exports == nil {
			st.Exports = map[string]string{}
		}
		st.Exports[folder] = recipe
	}
	for name, s := range r.Sources {
		st.Saw(name, s)
	}
}

// lastLines are the last lines of a job's log, for a message.
func lastLines(path string, n int) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	const most = 16 << 10
	if st, err := f.Stat(); err == nil && st.Size() > most {
		f.Seek(-most, io.SeekEnd)
	}
	b, _ := io.ReadAll(io.LimitReader(f, most))
	var lines []string
	start := 0
	for i, c := range append(b, '\n') {
		if c == '\n' {
			if line := string(b[start:i]); line != "" {
				lines = append(lines, foreign.ShownText(line))
			}
			start = i + 1
		}
	}
	return lines[max(0, len(lines)-n):]
}

// orderOf is what the job of an action is told.
func (r *runner) orderOf(a *plan.Action) *Order {
	o := &Order{Address: a.Addr.String(), Recipe: a.Recipe, Replace: a.Replaced(), Call: r.jobs.Call, StateDir: r.dir.Path, Result: filepath.Join(jobFolder(r.dir.Path, a.Addr), reportName)}
	needing := map[addr.Addr]bool{a.Addr: true}
	r.plan.Needing(needing)
	delete(needing, a.Addr)
	for x := range needing {
		o.Beside = append(o.Beside, x.String())
	}
	slices.Sort(o.Beside)
	if abs, err := filepath.Abs(o.StateDir); err == nil {
		o.StateDir = abs
		o.Result = filepath.Join(jobFolder(abs, a.Addr), reportName)
	}
	return o
}
