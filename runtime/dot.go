package runtime

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
)

// DOT draws the pipeline: a node a block, an edge from each block to those made from it.
func DOT(p *Plan) string {
	var b strings.Builder
	b.WriteString("digraph pipeline {\n  rankdir = LR\n  node [shape = box, fontname = \"sans-serif\"]\n")
	for _, a := range p.Actions {
		label := a.Addr.String()
		if a.Stage != nil {
			label += fmt.Sprintf("\\n%d layers, %d steps", len(a.Stage.Layers), a.Stage.Steps)
		}
		fmt.Fprintf(&b, "  %q [label = %s]\n", a.Addr, quoteDOT(label+"\\n"+string(a.Verb)))
		for _, in := range slices.Sorted(maps.Keys(a.Inputs)) {
			fmt.Fprintf(&b, "  %q -> %q\n", in, a.Addr)
		}
	}
	b.WriteString("}\n")
	return b.String()
}

func quoteDOT(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

// StageDOT draws the operations of one training step of a stage, with their dependencies.
func StageDOT(s *Stage) string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %q {\n  node [shape = box, fontname = \"sans-serif\"]\n", s.Addr)
	for _, name := range []string{segZero, segMicro, segUpdate} {
		seg, _ := s.Program.Segment(name)
		fmt.Fprintf(&b, "  subgraph \"cluster_%s\" {\n    label = %q\n", name, name)
		for i := seg.Lo; i < seg.Hi; i++ {
			l := &s.Program.Launches[i]
			fmt.Fprintf(&b, "    n%d [label = \"%s\\n%s\\n%v\"]\n", i, l.Kernel, l.Name, l.Out[0].Type)
			for _, d := range l.Deps {
				fmt.Fprintf(&b, "    n%d -> n%d\n", seg.Lo+int(d), i)
			}
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// CheckState compares every finished block's files with what the state recorded.
func CheckState(d *state.Dir) error {
	errs := []error{d.State.Check()}
	for _, n := range d.State.Names() {
		b := d.State.Blocks[n]
		if b.Status != state.Done {
			continue
		}
		id, err := checkpoint.Check(filepath.Join(d.Path, b.Dir), true)
		if err == nil && id != b.Content {
			err = fmt.Errorf("%w: not what was recorded", checkpoint.ErrDamaged)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n, err))
		}
	}
	return errors.Join(errs...)
}
