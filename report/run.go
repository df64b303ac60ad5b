// Package report shows a run to people: one page that opens from disk, the same page while the run goes on, and a dashboard
// for a terminal. What it shows comes from the state's folder alone: what was planned lies there in run.json, what
// happened in the state and the stages' metrics.
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
	"strings"
	"time"

	"stepflow/dsl"
	"stepflow/foreign"
	"stepflow/gpu"
	"stepflow/runtime"
	"stepflow/runtime/durable"
	"stepflow/runtime/train"
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

	Status  string         `json:"status"` // of the state; the verb where it has none
	Error   string         `json:"error,omitempty"`
	Values  map[string]any `json:"values,omitempty"`
	Started time.Time      `json:"started,omitzero"`
	Updated time.Time      `json:"updated,omitzero"`
	TraceID string         `json:"trace_id,omitempty"`
}

// Stage is a planned stage, and its steps.
type Stage struct {
	From       string         `json:"from,omitempty"`
	Grow       string         `json:"grow,omitempty"` // how it grew, in words
	Added      int            `json:"added,omitempty"`
	Layers     []Layer        `json:"layers"`
	Adapter    string         `json:"adapter,omitempty"` // in words
	Rank       int            `json:"rank,omitempty"`
	Precision  string         `json:"precision"`
	Seq        int            `json:"sequence_length"`
	Batch      int            `json:"batch_size"`
	Micro      int            `json:"micro_batch_size"`
	Steps      int            `json:"steps"`
	StepTokens int64          `json:"tokens_per_step"`
	Figures    train.Figures  `json:"planned"`
	Vanilla    *train.Figures `json:"vanilla"`

	Done     int     `json:"done"` // steps
	Measured int64   `json:"measured_bytes,omitempty"`
	Series   *Series `json:"series,omitempty"`
}

// Layer is a layer of a stage's model, bottom first.
type Layer struct {
	ID     string        `json:"id"`
	Old    int           `json:"old"` // its index in the stage before; -1 if it is new
	From   []LayerParent `json:"from,omitempty"`
	Frozen bool          `json:"frozen"`
	Rank   int           `json:"rank,omitempty"` // of its adapters
}

// LayerParent is a layer of the stage before that a new layer was made of.
type LayerParent struct {
	Layer  int     `json:"layer"`
	Weight float64 `json:"weight"`
}

// FromPlan takes what a plan says.
func FromPlan(p *runtime.Plan, version string) *Run {
	abs, err := filepath.Abs(p.Config.Dir)
	if err != nil {
		abs = p.Config.Dir
	}
	r := &Run{Version: fileVersion, Name: filepath.Base(abs), Dir: p.StateDir, Planned: time.Now().UTC().Truncate(time.Second), Device: p.Caps.Name,
		Environment: [][2]string{{"stepflow", version}, {"device", p.Caps.Kind + ": " + p.Caps.Name}, {"device memory", memory(p.Caps)}, {"Go", goruntime.Version()}, {"system", goruntime.GOOS + "/" + goruntime.GOARCH}, {"processors", fmt.Sprint(goruntime.NumCPU())}}}
	for _, n := range slices.Sorted(maps.Keys(p.Config.Variables)) {
		v := p.Config.Variables[n]
		r.Variables = append(r.Variables, Variable{n, dsl.Show(v.Value), v.Source})
	}
	for _, a := range p.Actions {
		b := &Block{Address: a.Addr.String(), Kind: a.Addr.Kind, Type: a.Addr.Type, Verb: string(a.Verb), Why: a.Why, File: a.Range.Filename, Line: a.Range.Start.Line,
			Inputs: slices.Sorted(maps.Keys(a.Inputs)), Warnings: a.Warnings, Status: string(a.Verb)}
		for _, n := range slices.Sorted(maps.Keys(a.Attrs)) {
			b.Attrs = append(b.Attrs, [2]string{n, a.Attrs[n]})
		}
		if a.Stage != nil {
			b.Stage = stageOf(a.Stage)
		}
		if a.Evaluate != nil {
			b.Model = strings.Trim(a.Attrs["model"], `"`)
		}
		r.Blocks = append(r.Blocks, b)
	}
	return r
}

func memory(c gpu.Caps) string {
	if c.Memory == 0 {
		return "unknown"
	}
	return dsl.FormatBytes(c.Memory)
}

func stageOf(s *runtime.Stage) *Stage {
	x := &Stage{Precision: train.Precision(s.DType), Seq: s.Seq, Batch: s.Batch, Micro: s.Micro, Steps: s.Steps, StepTokens: s.StepTokens(), Figures: s.Figures, Vanilla: s.Vanilla}
	if s.From != nil {
		x.From = s.From.Addr.String()
	}
	if g := s.Grow; g != nil {
		x.Added, x.Grow = g.Layers, fmt.Sprintf("%d new by %s, %s", g.Layers, g.Method, g.Position)
	}
	adapted := map[int]bool{}
	for _, a := range s.Adapters {
		adapted[a.Target.Layer] = true
	}
	if s.Peft != nil && len(s.Adapters) > 0 {
		x.Rank, x.Adapter = s.Peft.R, fmt.Sprintf("%s, r = %d, alpha = %g, on %d projections", s.Peft.Method, s.Peft.R, s.Peft.Alpha, len(s.Adapters))
	}
	trains := map[int]bool{}
	for _, p := range s.Params {
		if !s.Frozen[p.ID] {
			trains[p.Layer] = true
		}
	}
	for i, l := range s.Layers {
		y := Layer{ID: l.ID, Old: l.Old, Frozen: !trains[i]}
		if s.From == nil {
			y.Old = -1
		}
		if adapted[i] {
			y.Rank = x.Rank
		}
		for _, f := range l.From {
			y.From = append(y.From, LayerParent{f.Layer, f.Weight})
		}
		x.Layers = append(x.Layers, y)
	}
	return x
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
