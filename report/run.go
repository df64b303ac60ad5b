// Package report shows a run to people: one page that opens from disk, the same page while the run goes on, and a
// dashboard for a terminal. What it shows comes from the state's folder alone: what was planned lies there in run.json,
// what happened in the state and the stages' metrics.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"time"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/foreign"
	"stepflow/gpu"
	"stepflow/runtime/blocks"
	"stepflow/runtime/durable"
	"stepflow/runtime/plan"
)

// FileName is the file of what was planned, in the state's folder.
const FileName = "run.json"

// fileVersion is the version of that file. Others are refused.
const fileVersion = 1

// Run is all that is shown of a pipeline's run.
type Run struct {
	Version     int         `json:"version"`
	Name        string      `json:"name"`
	Dir         string      `json:"dir"` // of the state
	Planned     time.Time   `json:"planned"`
	Environment [][2]string `json:"environment"`
	Device      string      `json:"device"`
	Variables   []Variable  `json:"variables"`
	Blocks      []*Block    `json:"blocks"`
	Outputs     []Output    `json:"outputs"`
	Note        string      `json:"note,omitempty"`
	Graph       *Layout     `json:"graph,omitempty"`
	Costs       []*Cost     `json:"costs,omitempty"`
	Pairs       []*Pair     `json:"pairs,omitempty"` // of models with those that they were made from
	Running     bool        `json:"running"`
}

// Variable is an input of the pipeline; a sensitive one has no value.
type Variable struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// Output is a value of an output block.
type Output struct {
	Name        string `json:"name"`
	Value       string `json:"value"`
	Description string `json:"description,omitempty"`
}

// Block is a block of the pipeline: as planned, and what became of it.
type Block struct {
	Address  string      `json:"address"`
	Kind     string      `json:"kind"`
	Type     string      `json:"type,omitempty"`
	Verb     string      `json:"verb"` // as planned
	Why      string      `json:"why,omitempty"`
	File     string      `json:"file"`
	Line     int         `json:"line"`
	Attrs    [][2]string `json:"attributes"`
	Inputs   []string    `json:"inputs,omitempty"`
	Warnings []string    `json:"warnings,omitempty"`
	Stage    *Stage      `json:"stage,omitempty"`
	Model    string      `json:"model,omitempty"` // of an evaluation
	Scores   []*Score    `json:"scores,omitempty"`

	Status  string         `json:"status"` // of the state; the verb where it has none
	Error   string         `json:"error,omitempty"`
	Values  map[string]any `json:"values,omitempty"`
	Started time.Time      `json:"started,omitzero"`
	Updated time.Time      `json:"updated,omitzero"`
	TraceID string         `json:"trace_id,omitempty"`

	data    map[string]string // that a stage was trained on: address → id
	samples *sampled          // of an evaluation on tasks
}

// Stage is a block that trains a model, and its steps.
type Stage struct {
	*blocks.Training

	Done     int     `json:"done"`            // steps
	Early    bool    `json:"early,omitempty"` // it is done, and ended before its last step
	Measured int64   `json:"measured_bytes,omitempty"`
	Ranks    string  `json:"ranks,omitempty"` // how many trained it: 2, or 2, then 4; "" for one alone
	Series   *Series `json:"series,omitempty"`
}

// FromPlan takes what a plan says.
func FromPlan(p *plan.Plan, version string) *Run {
	abs, err := filepath.Abs(p.Config.Dir)
	if err != nil {
		abs = p.Config.Dir
	}
	r := &Run{Version: fileVersion, Name: filepath.Base(abs), Dir: p.StateDir,
		Planned: time.Now().UTC().Truncate(time.Second), Device: p.Caps.Name,
		Environment: [][2]string{{"stepflow", version}, {"device", p.Caps.Kind + ": " + p.Caps.Name},
			{"device memory", memory(p.Caps)}, {"Go", goruntime.Version()},
			{"system", goruntime.GOOS + "/" + goruntime.GOARCH}, {"processors", fmt.Sprint(goruntime.NumCPU())}}}
	if p.Ranks > 1 {
		r.Environment = append(r.Environment, [2]string{"ranks", fmt.Sprint(p.Ranks)})
	}
	for _, n := range slices.Sorted(maps.Keys(p.Config.Variables)) {
		v := p.Config.Variables[n]
		r.Variables = append(r.Variables, Variable{n, dsl.Show(v.Value), v.Source})
	}
	for _, a := range p.Actions {
		b := &Block{Address: a.Addr.String(), Kind: a.Addr.Kind, Type: a.Addr.Type, Verb: string(a.Verb), Why: a.Why,
			File: a.Range.Filename, Line: a.Range.Start.Line,
			Inputs: slices.Sorted(maps.Keys(a.Inputs)), Warnings: a.Warnings, Status: string(a.Verb)}
		for _, n := range slices.Sorted(maps.Keys(a.Attrs)) {
			b.Attrs = append(b.Attrs, [2]string{n, a.Attrs[n]})
		}
		if x, ok := a.Block.(blocks.Trains); ok {
			b.Stage = &Stage{Training: x.Training()}
		}
		if a.Addr.Kind == "evaluate" {
			b.Model, _ = plainText(a.Attrs["model"]).(string)
		}
		r.Blocks = append(r.Blocks, b)
	}
	r.keepLeftOut(p)
	return r
}

// keepLeftOut keeps what was recorded before of the blocks that a partial plan leaves out.
func (r *Run) keepLeftOut(p *plan.Plan) {
	if len(p.LeftOut()) == 0 {
		return
	}
	before, err := readPlan(p.StateDir)
	if err != nil {
		return // there is none that can be used
	}
	place := map[addr.Addr]int{} // in the pipeline
	for i, b := range p.Config.Blocks {
		place[b.Addr] = i
	}
	at := func(b *Block) (i int, leftOut bool) {
		a, err := addr.Parse(b.Address)
		i, is := place[a.Block()]
		return i, err == nil && is && p.LeavesOut(a)
	}
	for _, b := range before.Blocks {
		if _, leftOut := at(b); leftOut {
			r.Blocks = append(r.Blocks, b)
		}
	}
	slices.SortStableFunc(r.Blocks, func(a, b *Block) int {
		i, _ := at(a)
		j, _ := at(b)
		return i - j
	})
}

func memory(c gpu.Caps) string {
	if c.Memory == 0 {
		return "unknown"
	}
	return dsl.FormatBytes(c.Memory)
}

// Save writes what was planned into the state's folder.
func (r *Run) Save() error {
	if err := os.MkdirAll(r.Dir, 0o777); err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(r.Dir, FileName), append(b, '\n'))
}

// ErrNoRun reports that a folder holds no run.
var ErrNoRun = errors.New("no run was recorded there")

// maxFile bounds what is read of that file, in bytes.
const maxFile = 256 << 20

// readPlan reads what Save wrote, from a state's folder or that of a pipeline.
func readPlan(dir string) (*Run, error) {
	for _, d := range []string{dir, filepath.Join(dir, ".stepflow")} {
		path := filepath.Join(d, FileName)
		b, err := foreign.ReadFile(path, maxFile)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var r Run
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("%s is damaged (%w); the next apply replaces it", path, err)
		}
		if r.Version != fileVersion {
			return nil, fmt.Errorf("%s is of version %d, this stepflow reads version %d", path, r.Version, fileVersion)
		}
		r.Dir = d
		for i, x := range r.Blocks {
			if x == nil {
				return nil, fmt.Errorf("%s is damaged: block %d is empty; the next apply replaces it", path, i)
			}
		}
		return &r, nil
	}
	return nil, fmt.Errorf("%s: %w: name the folder of a pipeline that was applied, or its state's", dir, ErrNoRun)
}
