package blocks

import (
	"fmt"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime/exportdir"
	"stepflow/runtime/program"
	"stepflow/runtime/state"
)

// Planned is a block in a plan, or one instance of a repeated block.
type Planned struct {
	Addr     addr.Addr
	Range    hcl.Range
	Block    Block             // nil until it is planned
	Inputs   map[string]string // address of a block it is made from → id
	Seen     []addr.Addr       // blocks that it reads as well, though they change nothing that it makes
	Hashed   map[string]string // attributes as the recipe hashes them
	Secret   map[string]string // sensitive attributes in plain text
	Warnings []string
	Later    string // why it can be planned only after others have run, where its attributes do not say so; "" if it is planned
	TooLarge string // why the device cannot run it; apply refuses before anything runs
	World    *World
}

// World is what a block may use of the plan around it.
type World struct {
	Dir      string // of the pipeline
	StateDir string
	Exports  string // folder under which exports go; "" for where the pipeline says
	State    *state.State
	Secrets  *dsl.Secrets
	Caps     gpu.Caps
	Ranks    int                            // processes that train together; 1 for one alone
	Rank     int                            // of this one, from 0
	Patient  bool                           // wait for servers of remote data as a run does
	Hashing  func(file string, bytes int64) // called before a large file is hashed; may be nil
	Cache    *fineweb.Cache                 // keeps ranges of remote files; nil for the usual one
	Peak     func(gpu.DType) float64        // the device's rate in FLOP/s; nil if unknown
	Programs *program.Programs
	Files    exportdir.Hashes // hashes of exported files
	// Bounds are those of what stages are asked between steps, where they were planned before their tokenizer was trained: a
	// run has the program that the plan has shown.
	Bounds map[addr.Addr]program.Inference

	Import func(addr.Addr) *dsl.Import // the import block of a block; nil if there is none

	Find func(addr.Addr) *Planned                 // a block that is planned already; nil for none
	ID   func(addr.Addr) string                   // content id of its result, or its recipe if it has not run
	Made func(addr.Addr) (folder string, ok bool) // folder of its result, if it has run
}

// Use notes that p is made from another block, and returns that block.
func (p *Planned) Use(other addr.Addr) Block {
	p.Inputs[other.String()] = p.World.ID(other)
	return p.World.Find(other).Block
}

// See notes that p reads another block, though that changes nothing that p makes, and returns that block.
func (p *Planned) See(other addr.Addr) Block {
	p.Seen = append(p.Seen, other)
	return p.World.Find(other).Block
}

// Warn adds a warning, if there is one.
func (p *Planned) Warn(text string) {
	if text != "" {
		p.Warnings = append(p.Warnings, text)
	}
}

// CheckFits sets TooLarge if a program of need bytes does not fit the device: what takes them, and the remedy.
func (p *Planned) CheckFits(need int64, what, remedy string) {
	memory := p.World.Caps.Memory
	if missing := need - memory; memory > 0 && missing > 0 {
		beside := ""
		if r := p.World.Caps.Reserve; r > 0 {
			beside = fmt.Sprintf(" beside %s for its driver", dsl.FormatBytes(r))
		}
		p.TooLarge = fmt.Sprintf("%s takes %s of device memory and the device has %s%s: %s more are needed. %s",
			what, dsl.FormatBytes(need), dsl.FormatBytes(memory), beside, dsl.FormatBytes(missing), remedy)
		p.Warn(p.TooLarge)
	}
}

// ExportPath resolves the path of an export. Under Exports, paths that differ stay apart.
func (w *World) ExportPath(path string) (string, error) {
	path = w.Path(path)
	if w.Exports == "" {
		return path, nil
	}
	abs, err := filepath.Abs(path)
	return filepath.Join(w.Exports, abs), err
}

// Path resolves a path of the configuration against the pipeline's folder.
func (w *World) Path(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(w.Dir, path)
}
