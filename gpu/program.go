package gpu

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sort"
)

// Operand is a buffer in the arena: a byte offset and a type. Stride is the distance between rows
// in elements, for operands that a kernel takes strided; 0 means contiguous.
type Operand struct {
	Offset int64
	Type   Type
	Stride int `json:",omitempty"`
}

// Span is the number of bytes from the first element to the end of the last.
func (o Operand) Span() int64 {
	if o.Stride == 0 || o.Type.Shape.Rows() == 0 {
		return o.Type.Bytes()
	}
	return (int64(o.Type.Shape.Rows()-1)*int64(o.Stride) + int64(o.Type.Shape.Cols())) * o.Type.DType.Size()
}

// RowStride is the distance between rows in elements.
func (o Operand) RowStride() int {
	if o.Stride != 0 {
		return o.Stride
	}
	return o.Type.Shape.Cols()
}

// Phase says which part of a training step a launch belongs to.
type Phase uint8

const (
	Forward Phase = iota + 1
	Backward
	Update
)

func (p Phase) String() string { return [...]string{"", "forward", "backward", "update"}[p] }

// Launch is one operation of a program.
type Launch struct {
	Kernel  string
	Attrs   Attrs
	In, Out []Operand
	Scratch Operand // of zero bytes when the kernel needs none
	Deps    []int32 // launches of the same segment that must end before, by their index in it, in order
	FLOPs   int64
	Bytes   int64
	Phase   Phase
	Layer   int    // index of the layer it belongs to; -1 for none
	Name    string // address inside the model, such as layers.3.mlp.gate_proj
	// Recomputed launches do again what the forward pass did: their FLOPs are not the model's.
	Recomputed bool `json:",omitempty"`
}

// Segment is a range of the launch list that is run as one: [Lo, Hi).
type Segment struct {
	Name   string
	Lo, Hi int
}

// Role says what a named buffer is for. The memory table of a plan adds up buffers by role.
type Role uint8

const (
	RoleInvalid Role = iota
	RoleWeight
	RoleGradient
	RoleOptimizer
	RoleAdapter // adapter weights; their gradients and moments have the roles above
	RoleInput   // written by the host before a run
	RoleOutput  // read by the host after it
	RoleConst   // written once
	RoleCache   // what one run keeps for others
)

func (r Role) String() string {
	return [...]string{"invalid", "weight", "gradient", "optimizer", "adapter", "input", "output", "const",
		"cache"}[r]
}

// Buffer is a named place in the arena that outlives a run.
type Buffer struct {
	Name    string
	Role    Role
	Operand Operand
	// Shape is the tensor's where the operand has more rows or columns: those hold zeros. Only the first and the last
	// extent may differ. It is nil where the operand is the tensor.
	Shape Shape `json:",omitempty"`
}

// Program is a compiled stage: what to allocate and what to launch. It is immutable once made.
type Program struct {
	ArenaBytes     int64
	ResidentBytes  int64 // the named buffers, at the start of the arena
	TransientBytes int64 // activations and scratch after them, the largest over all segments
	ScratchBytes   int64 // the largest scratch of a launch; part of TransientBytes
	LowerBound     int64 // largest sum of transient bytes alive at one launch
	Buffers        []Buffer
	Segments       []Segment
	Launches       []Launch
}

// Buffer finds a named buffer.
func (p *Program) Buffer(name string) (Buffer, bool) {
	i := sort.Search(len(p.Buffers), func(i int) bool { return p.Buffers[i].Name >= name })
	if i < len(p.Buffers) && p.Buffers[i].Name == name {
		return p.Buffers[i], true
	}
	return Buffer{}, false
}

// Segment finds a segment by name.
func (p *Program) Segment(name string) (Segment, bool) {
	for _, s := range p.Segments {
		if s.Name == name {
			return s, true
		}
	}
	return Segment{}, false
}

// FLOPs adds up a segment: those of the model, and those spent on computing activations again.
func (p *Program) FLOPs(segment string) (n, recomputed int64) {
	if s, ok := p.Segment(segment); ok {
		for _, l := range p.Launches[s.Lo:s.Hi] {
			if l.Recomputed {
				recomputed = Sum(recomputed, l.FLOPs)
			} else {
				n = Sum(n, l.FLOPs)
			}
		}
	}
	return n, recomputed
}

// Hash identifies the program: the same hash runs the same launches on the same offsets.
func (p *Program) Hash() string {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(p); err != nil {
		panic("gpu: program cannot be encoded: " + err.Error())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Verify checks the invariants every device relies on: known kernels, types as inferred, operands
// inside the arena, dependencies backwards, outputs overlapping inputs only where the kernel allows it.
func (p *Program) Verify() error {
	for i, l := range p.Launches {
		if err := p.verifyLaunch(i, l); err != nil {
			return fmt.Errorf("gpu: launch %d (%s %s): %w", i, l.Kernel, l.Name, err)
		}
	}
	return nil
}

func (p *Program) verifyLaunch(i int, l Launch) error {
	k := Lookup(l.Kernel)
	if k == nil {
		return fmt.Errorf("no such kernel")
	}
	in, out := types(l.In), types(l.Out)
	want, err := k.Infer(l.Attrs, in)
	if err != nil {
		return err
	}
	if len(want) != len(out) {
		return fmt.Errorf("has %d outputs, not %d", len(out), len(want))
	}
	for j := range out {
		if out[j].DType != want[j].DType || out[j].Shape.Elems() != want[j].Shape.Elems() {
			return fmt.Errorf("output %d is %v, not %v", j, out[j], want[j])
		}
	}
	if err := k.verifyStrides(l); err != nil {
		return err
	}
	all := append(append(append([]Operand(nil), l.In...), l.Out...), l.Scratch)
	for j, o := range all {
		if o.Offset < 0 || o.Offset+o.Span() > p.ArenaBytes {
			return fmt.Errorf("operand %d [%d,%d) lies outside the arena of %d bytes",
				j, o.Offset, o.Offset+o.Span(), p.ArenaBytes)
		}
	}
	if l.Scratch.Type.Bytes() < k.scratch(l.Attrs, in, out) {
		return fmt.Errorf("scratch has %d bytes, needs %d", l.Scratch.Type.Bytes(), k.scratch(l.Attrs, in, out))
	}
	for j, o := range l.Out {
		for m, x := range l.In {
			if Overlap(o, x) && !(o.Offset == x.Offset && o.Stride == x.Stride && k.mayShare(j, m)) {
				return fmt.Errorf("output %d overlaps input %d", j, m)
			}
		}
		for m := range l.Out[:j] {
			if Overlap(o, l.Out[m]) {
				return fmt.Errorf("outputs %d and %d overlap", j, m)
			}
		}
		if Overlap(o, l.Scratch) {
			return fmt.Errorf("output %d overlaps the scratch", j)
		}
	}
	for _, d := range l.Deps {
		if int(d) >= i {
			return fmt.Errorf("depends on launch %d, which comes later", d)
		}
	}
	return nil
}

// mayShare reports whether output o may be stored where input i is.
func (k *Kernel) mayShare(o, i int) bool {
	for _, p := range k.InPlace {
		if p == [2]int{o, i} {
			return true
		}
	}
	return false
}

// verifyStrides checks that rows lie apart only where the kernel takes it, and that no two rows share bytes.
func (k *Kernel) verifyStrides(l Launch) error {
	for _, list := range []struct {
		what string
		ops  []Operand
		take int
	}{{"input", l.In, k.Strided.In}, {"output", l.Out, k.Strided.Out}} {
		for j, o := range list.ops {
			if o.Stride != 0 && j >= list.take {
				return fmt.Errorf("%s %d is strided, which the kernel does not take", list.what, j)
			}
			if o.Stride != 0 && o.Type.DType.Quantized() {
				return fmt.Errorf("%s %d is strided and quantised", list.what, j)
			}
			if o.Stride != 0 && o.Stride < o.Type.Shape.Cols() {
				return fmt.Errorf("%s %d has rows of %d elements only %d apart", list.what, j, o.Type.Shape.Cols(), o.Stride)
			}
		}
	}
	return nil
}

// Overlap reports whether two operands share bytes. Columns of matrices with the same distance between rows are told
// apart; other operands share bytes where the ranges do that they span.
func Overlap(a, b Operand) bool {
	if a.Span() == 0 || b.Span() == 0 || a.Offset >= b.Offset+b.Span() || b.Offset >= a.Offset+a.Span() {
		return false
	}
	return !a.beside(b)
}

// beside reports whether two strided operands are different columns of one matrix: their rows are equally far apart,
// and neither reaches into the other's columns, whose place in a row is counted from where a's begin.
func (a Operand) beside(b Operand) bool {
	row := int64(a.Stride) * a.Type.DType.Size()
	if row == 0 || row != int64(b.Stride)*b.Type.DType.Size() {
		return false
	}
	at := ((b.Offset-a.Offset)%row + row) % row
	return at >= a.rowBytes() && at+b.rowBytes() <= row
}

// Covers reports whether all bytes of b are bytes of a. Of a strided a that is known where b has the same distance
// between rows.
func (a Operand) Covers(b Operand) bool {
	if b.Offset < a.Offset || b.Offset+b.Span() > a.Offset+a.Span() {
		return false
	}
	row := int64(a.Stride) * a.Type.DType.Size()
	return row == 0 || row == int64(b.Stride)*b.Type.DType.Size() &&
		(b.Offset-a.Offset)%row+b.rowBytes() <= a.rowBytes()
}

func (o Operand) rowBytes() int64 { return int64(o.Type.Shape.Cols()) * o.Type.DType.Size() }

func types(ops []Operand) []Type {
	ts := make([]Type, len(ops))
	for i, o := range ops {
		ts[i] = o.Type
	}
	return ts
}
