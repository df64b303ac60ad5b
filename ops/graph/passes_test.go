package graph

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"stepflow/gpu"
)

var rewriteFiles = flag.Bool("update", false, "write what the passes make into testdata")

// TestPasses applies passes, one after the other, to the graphs of testdata/*.txtar. The file "graph" is in the
// notation of String, with the leaves first and attributes behind the kernel; a file with the name of a pass is what
// the graph is after it; the file "arena" is the program that it is lowered to.
func TestPasses(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string]bool{}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var g *Graph
			for i, f := range a.Files {
				covered[f.Name] = true
				got := string(f.Data)
				switch f.Name {
				case "graph":
					if g, err = parse(got); err != nil {
						t.Fatal(err)
					}
				case "arena":
					p := lower(g, gpu.Caps{Alignment: 16})
					if err := p.Verify(); err != nil {
						t.Fatal(err)
					}
					got = laidOut(p)
				default:
					at := slices.IndexFunc(Passes, func(p Pass) bool { return p.Name == f.Name })
					if at < 0 {
						t.Fatalf("there is no pass %s", f.Name)
					}
					Passes[at].Run(g, gpu.Caps{Alignment: 16})
					if err := verify(g); err != nil {
						t.Fatalf("after %s: %v", f.Name, err)
					}
					got = g.String()
				}
				if want := string(f.Data); got != want && !*rewriteFiles {
					t.Errorf("after %s:\n%swant:\n%s(go test -run TestPasses ./ops/graph -update)", f.Name, got, want)
				}
				a.Files[i].Data = []byte(got)
			}
			if *rewriteFiles {
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	for _, p := range append(Passes, Pass{Name: "arena"}) {
		if !covered[p.Name] {
			t.Errorf("no file of testdata shows what %s does", p.Name)
		}
	}
}

// laidOut prints where the buffers of a program lie, and its launches with the offsets of their operands, in bytes, and
// the distance of their rows, in elements, where these lie apart.
func laidOut(p *gpu.Program) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d bytes: %d resident, %d transient\n", p.ArenaBytes, p.ResidentBytes, p.TransientBytes)
	for _, x := range p.Buffers {
		fmt.Fprintf(&b, "%s %v @%d\n", x.Name, x.Operand.Type, x.Operand.Offset)
	}
	for _, s := range p.Segments {
		fmt.Fprintf(&b, "%s:\n", s.Name)
		for i, l := range p.Launches[s.Lo:s.Hi] {
			fmt.Fprintf(&b, "  %d: %s", i, l.Kernel)
			for _, o := range l.In {
				b.WriteString(lies(o))
			}
			b.WriteString(" ->")
			for _, o := range l.Out {
				b.WriteString(lies(o))
			}
			if n := l.Scratch.Type.Bytes(); n > 0 {
				fmt.Fprintf(&b, ", scratch @%d+%d", l.Scratch.Offset, n)
			}
			if len(l.Deps) > 0 {
				fmt.Fprintf(&b, ", after %v", l.Deps)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func lies(o gpu.Operand) string {
	if o.Stride != 0 {
		return fmt.Sprintf(" @%d/%d", o.Offset, o.Stride)
	}
	return fmt.Sprintf(" @%d", o.Offset)
}

var (
	leafLine   = regexp.MustCompile(`^(\w+) (\w+) (\w+)\[([\d,]+)\]$`)
	opLine     = regexp.MustCompile(`^  %(\d+) = (\w+)((?: \w+=[\w.-]+)*)((?: [^= ]+)*)$`)
	updateLine = regexp.MustCompile(`^  (\w+) <- (\S+)$`)
	valueText  = regexp.MustCompile(`^(%?\w+)(?:\.(\d))?(?:\[([\d,]+)\](?:\+(\d+))?)?$`)
)

var (
	dtypes = byName(gpu.F32, gpu.BF16, gpu.I32)
	roles  = byName(gpu.RoleWeight, gpu.RoleGradient, gpu.RoleOptimizer, gpu.RoleAdapter, gpu.RoleInput,
		gpu.RoleOutput, gpu.RoleConst)
	phases = byName(gpu.Forward, gpu.Backward, gpu.Update)
)

func byName[T fmt.Stringer](list ...T) map[string]T {
	m := map[string]T{}
	for _, x := range list {
		m[x.String()] = x
	}
	return m
}

// parse makes a graph of lines: leaves, as NAME ROLE TYPE; NAME: for a segment, whose launches are forward until a line
// "phase PHASE"; %N = KERNEL ATTRIBUTE=VALUE… VALUES… for launch N of the graph; LEAF <- VALUE for an update.
func parse(text string) (*Graph, error) {
	g := New()
	values := map[string][]Value{}
	value := func(s string) (v Value, err error) {
		m := valueText.FindStringSubmatch(s)
		if m == nil || values[m[1]] == nil {
			return v, fmt.Errorf("no value %q", s)
		}
		out, _ := strconv.Atoi(m[2])
		v = values[m[1]][out]
		if m[3] != "" {
			offset, _ := strconv.Atoi(m[4])
			v = g.View(v, offset, shapeOf(m[3]))
		}
		return v, nil
	}
	read := func(line string) error {
		if m := leafLine.FindStringSubmatch(line); m != nil {
			role, dtype := roles[m[2]], dtypes[m[3]]
			if role == gpu.RoleInvalid || dtype == gpu.InvalidDType {
				return fmt.Errorf("no role %s or no type %s", m[2], m[3])
			}
			values[m[1]] = []Value{g.Leaf(m[1], role, gpu.Type{Shape: shapeOf(m[4]), DType: dtype})}
			return nil
		}
		if name, ok := strings.CutSuffix(line, ":"); ok {
			g.Segment(name, gpu.Forward)
			return nil
		}
		if name, ok := strings.CutPrefix(line, "  phase "); ok {
			phase, ok := phases[name]
			if !ok {
				return fmt.Errorf("no phase %s", name)
			}
			g.Phase(phase)
			return nil
		}
		if name, ok := strings.CutPrefix(line, "  late "); ok {
			v, err := value(name)
			if err == nil {
				v.node.late = true
			}
			return err
		}
		if m := updateLine.FindStringSubmatch(line); m != nil {
			v, err := value(m[2])
			if err == nil {
				g.Update(values[m[1]][0], v)
			}
			return err
		}
		m := opLine.FindStringSubmatch(line)
		if m == nil || m[1] != strconv.Itoa(len(g.nodes)) {
			return fmt.Errorf("is neither a leaf, a segment, an update, nor launch %d", len(g.nodes))
		}
		attrs, err := attrsOf(strings.Fields(m[3]))
		if err != nil {
			return err
		}
		var in []Value
		for _, s := range strings.Fields(m[4]) {
			v, err := value(s)
			if err != nil {
				return err
			}
			in = append(in, v)
		}
		values["%"+m[1]] = g.Op(m[2], attrs, in...)
		return nil
	}
	for i, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if err := read(l); err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", i+1, l, err)
		}
		if g.Err() != nil {
			return nil, fmt.Errorf("line %d: %q: %w", i+1, l, g.Err())
		}
	}
	return g, nil
}

func shapeOf(text string) (s gpu.Shape) {
	for _, n := range strings.Split(text, ",") {
		x, _ := strconv.Atoi(n)
		s = append(s, x)
	}
	return s
}

// attrsOf reads attributes such as Alpha=0.5 and TransB=true.
func attrsOf(list []string) (a gpu.Attrs, err error) {
	for _, x := range list {
		name, text, _ := strings.Cut(x, "=")
		f := reflect.ValueOf(&a).Elem().FieldByName(name)
		if !f.IsValid() {
			return a, fmt.Errorf("no attribute %s", name)
		}
		if _, err := fmt.Sscan(text, f.Addr().Interface()); err != nil {
			return a, fmt.Errorf("%s: %w", x, err)
		}
	}
	return a, nil
}
