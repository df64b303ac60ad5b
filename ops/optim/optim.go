// Package optim holds optimizers as update graphs, and learning-rate schedules as functions of the number of tokens
// seen.
//
// A list of trainable parameters comes in; what each keeps between steps, how it is updated and which scalars the
// host writes for it come out. Read Optimizer first, then adamw.go; each update rule has a file of its own, and groups.go
// combines them.
package optim

import (
	"path"
	"slices"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// Optimizer is an update rule for trainable parameters. A combination of optimizers is one too: see Groups.
type Optimizer interface {
	// Peak is the peak of the learning rate that is reported of a step.
	Peak() float64
	// Rate is the peak of the learning rate of p.
	Rate(p ops.Param) float64
	// ClipNorm bounds the norm of the gradients of all parameters together; 0 stands for no bound.
	ClipNorm() float64
	// States lists what is kept of p, whose weight is of type d, from step to step.
	States(p ops.Param, d gpu.DType) []State
	// Update adds the update of one parameter to the current segment. Gradients are to be multiplied by coef [1]; if
	// that is not finite, neither the weight nor a state may change.
	Update(g *graph.Graph, s Slot, coef graph.Value)
	// Scalars returns what update number t of p, from 1, reads from the host, beginning with the learning rate.
	Scalars(p ops.Param, rate float64, t int64) [gpu.HyperLen]float32
	// Key identifies all that a program depends on: every setting but the learning rates, which the host writes.
	Key() string
}

// Fitted is an optimizer that not every parameter suits.
type Fitted interface {
	Optimizer
	// Fits returns why p cannot be updated; nil if it can.
	Fits(p ops.Param) error
}

// Fits returns why an optimizer cannot update some of these parameters, of which it names the one with the smallest side;
// nil if it can.
func Fits(o Optimizer, params []ops.Param) (err error) {
	f, ok := o.(Fitted)
	if !ok {
		return nil
	}
	least := 0
	for _, p := range params {
		side := min(p.Shape.Rows(), p.Shape.Cols())
		if e := f.Fits(p); e != nil && (err == nil || side < least) {
			err, least = e, side
		}
	}
	return err
}

// State is a tensor that an optimizer keeps of a parameter.
//
// It begins as zeros, or as a copy of the weight. It begins again whenever the weight is given a value that no update
// made: when a model is started or imported, when growth makes a new layer, and when an adapter restarts. Growth takes
// it over with a weight that stays, if the optimizer before kept it.
type State struct {
	Name string // such as adam_m; no two of a parameter are equal, and checkpoints hold it
	Type gpu.Type
	Copy bool // begins as a copy of the weight
	// Axes names, for each of the tensor's axes, the one of the parameter that it is as long as, also where that is padded; -1
	// for none. It is nil for a tensor whose axes are the parameter's.
	Axes  []int
	Dense bool // has no rows and columns of zeros where the weight has them
	// Codes is the type of the codes that it is kept in by an optimizer of the same rule that keeps it in 8 bits.
	Codes gpu.DType
}

// padded is the shape of the state of a parameter that has another shape on the device.
func (s State) padded(wide gpu.Shape) gpu.Shape {
	shape := slices.Clone(s.Type.Shape)
	for i, axis := range s.Axes {
		if axis >= 0 {
			shape[i] = wide[axis]
		}
	}
	return shape
}

// Scale is the name of the tensor that a checkpoint holds of the scales of a state in codes, for the parameter with this
// id; Buffer names the tensor of the codes.
func (s State) Scale(id string) string { return s.Name + "_scale/" + id }

// Buffer is the name of the state's buffer, and of its tensor in a checkpoint, for the parameter with this id.
func (s State) Buffer(id string) string { return s.Name + "/" + id }

// StateBytes is the size of all states of p, whose weight is of type d, in bytes.
func StateBytes(o Optimizer, p ops.Param, d gpu.DType) (n int64) {
	for _, s := range o.States(p, d) {
		n = gpu.Sum(n, s.Type.Bytes())
	}
	return n
}

// TrainBytes is what p takes while it trains, in bytes: weight and gradient of type d, and the optimizer's states.
func TrainBytes(o Optimizer, p ops.Param, d gpu.DType) int64 {
	return gpu.Sum(gpu.Product(2, p.Elems(), d.Size()), StateBytes(o, p, d))
}

// Slot is a trainable parameter in a graph.
type Slot struct {
	Param        ops.Param
	Weight, Grad graph.Value
	Hyper        graph.Value            // [gpu.HyperLen], as Scalars returns them
	States       map[string]graph.Value // by their names
}

// NewSlot declares the buffers of the states that the optimizer keeps of p, padded as the weight is but for dense ones.
func NewSlot(g *graph.Graph, o Optimizer, p ops.Param, weight, grad, hyper graph.Value) Slot {
	s := Slot{Param: p, Weight: weight, Grad: grad, Hyper: hyper, States: map[string]graph.Value{}}
	if !weight.Valid() {
		return s // the graph has an error
	}
	d, padded := weight.Type().DType, p
	padded.Shape = weight.Shape()
	wide := o.States(padded, d)
	for i, x := range o.States(p, d) {
		shape := x.Type.Shape
		switch {
		case x.Dense:
		case x.Axes != nil:
			shape = x.padded(padded.Shape)
		default:
			shape = wide[i].Type.Shape
		}
		s.States[x.Name] = g.Padded(x.Buffer(p.ID), gpu.RoleOptimizer, x.Type, shape)
	}
	return s
}

// Master is the fp32 copy of a bf16 weight; none if the optimizer keeps none.
func (s Slot) Master() graph.Value { return s.States[master] }

// Build adds clipping by the norm of all gradients, and the update of every slot. It returns the norm before clipping
// [1] and the factor of the gradients [1], which is NaN if the norm is not finite: then nothing changes.
func Build(g *graph.Graph, o Optimizer, slots []Slot) (norm, coef graph.Value) {
	grads := make([]graph.Value, len(slots))
	for i, s := range slots {
		grads[i] = s.Grad
	}
	g.At(-1, "clip_grad_norm")
	return BuildOf(g, o, g.Op1("sum_squares", gpu.Attrs{}, grads...), slots)
}

// BuildOf is Build for some slots, where the sums of squares of all gradients are given.
func BuildOf(g *graph.Graph, o Optimizer, squares graph.Value, slots []Slot) (norm, coef graph.Value) {
	g.At(-1, "clip_grad_norm")
	clip := g.Op("clip", gpu.Attrs{MaxNorm: o.ClipNorm()}, squares)
	for _, s := range slots {
		g.At(s.Param.Layer, s.Param.Name)
		o.Update(g, s, clip[1])
	}
	return clip[0], clip[1]
}

// BuildEach is Build for a pass that updates each parameter as soon as its gradient is complete, so that no more than a few
// gradients are in memory: the gradient of each parameter is clipped by its own norm, since the norm of all of them is known
// only after the last. It returns the sum of squares of all gradients [1].
func BuildEach(g *graph.Graph, o Optimizer, slots []Slot) (squares graph.Value) {
	for _, s := range slots {
		g.At(s.Param.Layer, s.Param.Name)
		n := g.Op1("sum_squares", gpu.Attrs{}, s.Grad)
		o.Update(g, s, g.Op("clip", gpu.Attrs{MaxNorm: o.ClipNorm()}, n)[1])
		if squares.Valid() {
			n = g.Add(squares, n)
		}
		squares = n
	}
	return squares
}

// master is the name of the fp32 copy of a bf16 weight, which updates too small for bf16 add up in.
const master = "master"

// masters lists the master of p, if its weight has one.
func masters(p ops.Param, d gpu.DType, stochastic bool) []State {
	if d != gpu.BF16 || stochastic {
		return nil
	}
	return []State{{Name: master, Type: gpu.Type{Shape: p.Shape, DType: gpu.F32}, Copy: true}}
}

// wide is the weight in fp32: its master, itself, or for a bf16 weight without a master its exact copy.
func (s Slot) wide(g *graph.Graph) graph.Value {
	switch m := s.Master(); {
	case m.Valid():
		return m
	case s.Weight.Type().DType == gpu.BF16:
		return g.Op1("cast", gpu.Attrs{DType: gpu.F32}, s.Weight)
	}
	return s.Weight
}

// put stores an updated weight, given in fp32: into the master, if there is one, and rounded to nearest even into a
// bf16 weight; without a master that is rounded at random, by the seed among the scalars.
func (s Slot) put(g *graph.Graph, w graph.Value) {
	switch m := s.Master(); {
	case m.Valid():
		g.Update(s.Weight, g.Op1("cast", gpu.Attrs{DType: gpu.BF16}, w))
		g.Update(m, w)
	case s.Weight.Type().DType == gpu.BF16:
		g.Update(s.Weight, g.Op1("cast_stochastic", gpu.Attrs{}, w, g.View(s.Hyper, 3, gpu.Shape{1})))
	default:
		g.Update(s.Weight, w)
	}
}

// step is what sgdw does to p: a step of alpha times the direction, and decay where p decays.
func step(p ops.Param, alpha, decay float64, noDecay []string) gpu.Attrs {
	a := gpu.Attrs{Alpha: alpha}
	if decays(p, noDecay) {
		a.WeightDecay = decay
	}
	return a
}

// decays reports whether weight decay applies to p: unless its name matches a pattern of noDecay, or, if that is nil,
// to all but gains, biases and embeddings.
func decays(p ops.Param, noDecay []string) bool {
	if noDecay == nil {
		return p.Kind != ops.KindNorm && p.Kind != ops.KindBias && p.Kind != ops.KindEmbedding
	}
	return !matches(p, noDecay)
}

// matches reports whether the name of p matches one of the patterns.
func matches(p ops.Param, patterns []string) bool {
	for _, pattern := range patterns {
		if ok, err := path.Match(pattern, p.Name); err == nil && ok {
			return true
		}
	}
	return false
}

// scalars are the learning rate of update t of p, and where rounding is stochastic the seed of its draws, the last.
func scalars(p ops.Param, rate float64, t int64, stochastic bool) [gpu.HyperLen]float32 {
	h := [gpu.HyperLen]float32{float32(rate)}
	if stochastic {
		h[3] = seed(p, t)
	}
	return h
}

// seed is the seed of stochastic rounding in update t of p: a whole number below 2^24, which float32 holds exactly.
func seed(p ops.Param, t int64) float32 { return float32(ops.Rand(uint64(t), p.ID).Uint32() >> 8) }
