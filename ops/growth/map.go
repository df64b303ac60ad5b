package growth

import (
	"context"
	"fmt"

	"stepflow/ops"
)

// Map says what a larger model is made of.
type Map struct {
	Config Config          // fields that differ from the smaller model's
	Layers []Layer         // of the larger model, bottom first
	Params []ops.Param     // of the larger model
	Rules  map[string]Rule // by id of a parameter of the larger model
	old    map[string]ops.Param
	init   func(ops.Param) []float32 // of fresh parameters
}

// Rule says what one parameter of the larger model starts as.
type Rule struct {
	Terms []Term // added up in this order; what no term covers is zero
	Fresh bool   // as in a fresh model, instead of terms
	State StateRule
}

// StateRule says what becomes of a parameter's optimizer state.
type StateRule uint8

const (
	StateInvalid StateRule = iota
	StateKept              // that of the old parameter, which the new one is bit for bit
	StateZero              // as for a parameter that was never updated
	StateMapped            // the rule's terms, applied to each state buffer of the old parameters
)

// Term is a part of an old parameter, times a weight, at a place in the new one. Parameters are seen as matrices
// [rows, columns]; a vector is one row.
type Term struct {
	From       string // id of the old parameter
	Rows, Cols Range  // the part of it that is taken
	Row, Col   int    // where that part starts in the new parameter; 0 on an axis that is taken whole
	Weight     float64
	order      *alignment // brings the whole parameter into another order first; nil for none
}

// Range is the indices from Lo to Hi, Hi excluded. The zero Range is a whole axis, which has then the same extent in
// the old parameter and in the new one.
type Range struct{ Lo, Hi int }

// Keep is the rule of a parameter that stays as it is.
func Keep(id string) Rule { return Rule{Terms: []Term{{From: id, Weight: 1}}, State: StateKept} }

// keeps reports whether the rule leaves the parameter as it is: its bits are copied, not multiplied and added to zero.
func (r Rule) keeps(id string) bool {
	return len(r.Terms) == 1 && r.Terms[0] == Term{From: id, Weight: 1}
}

// NewMap returns the map from a model with the parameters old to one with the parameters grown. Every parameter of the
// larger model needs a rule, and every term has to lie in the parameters it takes from and adds to.
func NewMap(old, grown []ops.Param, rules map[string]Rule) (Map, error) {
	m := Map{Params: grown, Rules: rules, old: make(map[string]ops.Param, len(old))}
	for _, p := range old {
		m.old[p.ID] = p
	}
	for _, p := range grown {
		if err := m.check(p); err != nil {
			return Map{}, fmt.Errorf("growing %s %v: %w", p.Name, p.Shape, err)
		}
	}
	return m, nil
}

func (m Map) check(p ops.Param) error {
	r, ok := m.Rules[p.ID]
	switch {
	case !ok:
		return fmt.Errorf("no rule says what %s is made of", p.ID)
	case r.State == StateInvalid || r.State > StateMapped:
		return fmt.Errorf("no rule says what becomes of the optimizer state of %s", p.ID)
	case r.State == StateKept && !r.keeps(p.ID):
		return fmt.Errorf("%s is not what it was, so its optimizer state cannot be kept", p.ID)
	}
	for _, t := range r.Terms {
		o, ok := m.old[t.From]
		if !ok {
			return fmt.Errorf("the smaller model has no parameter %s", t.From)
		}
		if err := t.Rows.check("rows", o, t.Row, o.Shape.Rows(), p.Shape.Rows()); err != nil {
			return err
		}
		if err := t.Cols.check("columns", o, t.Col, o.Shape.Cols(), p.Shape.Cols()); err != nil {
			return err
		}
	}
	return nil
}

// check reports why a range does not lie on an axis of the old parameter o, of extent old, or, put at index at, on that
// of the new parameter, of extent grown.
func (r Range) check(axis string, o ops.Param, at, old, grown int) error {
	whole := r == Range{}
	switch {
	case whole && (at != 0 || old != grown):
		return fmt.Errorf("all %d %s of %s %v are put at %d of %d", old, axis, o.Name, o.Shape, at, grown)
	case !whole && (r.Lo < 0 || r.Hi <= r.Lo || r.Hi > old):
		return fmt.Errorf("%s %v has no %s %d to %d", o.Name, o.Shape, axis, r.Lo, r.Hi)
	case !whole && (at < 0 || at > grown-(r.Hi-r.Lo)):
		return fmt.Errorf("%s %d to %d of %s %v are put at %d of %d", axis, r.Lo, r.Hi, o.Name, o.Shape, at, grown)
	}
	return nil
}

// Value computes a parameter of the larger model, row-major; read returns a parameter of the smaller one. It ends with ctx.
func (m Map) Value(ctx context.Context, p ops.Param, read func(old ops.Param) ([]float32, error)) ([]float32, error) {
	r := m.Rules[p.ID]
	for _, t := range r.Terms {
		if t.order != nil {
			if err := t.order.solve(ctx, read); err != nil {
				return nil, fmt.Errorf("growing %s: %w", p.Name, err)
			}
		}
	}
	return m.value(p, r, read)
}

// value computes a parameter, or a state of one, of what read returns.
func (m Map) value(p ops.Param, r Rule, read func(old ops.Param) ([]float32, error)) ([]float32, error) {
	switch {
	case r.keeps(p.ID):
		return m.read(p, r.Terms[0], read)
	case r.Fresh:
		return m.init(p), nil
	}
	v := make([]float32, p.Shape.Elems())
	for _, t := range r.Terms {
		if t.Weight == 0 {
			continue
		}
		x, err := m.read(p, t, read)
		if err != nil {
			return nil, err
		}
		o := m.old[t.From]
		if t.order != nil {
			x = t.order.apply(o, x)
		}
		t.add(v, x, p.Shape.Cols(), o.Shape.Rows(), o.Shape.Cols())
	}
	return v, nil
}

func (m Map) read(p ops.Param, t Term, read func(ops.Param) ([]float32, error)) ([]float32, error) {
	o := m.old[t.From]
	x, err := read(o)
	if err != nil {
		return nil, fmt.Errorf("growing %s: %w", p.Name, err)
	}
	if len(x) != o.Shape.Elems() {
		return nil, fmt.Errorf("growing %s %v: %s %v has %d values", p.Name, p.Shape, o.Name, o.Shape, len(x))
	}
	return x, nil
}

// add adds the term of x [rows, cols] to v, whose rows have width columns.
func (t Term) add(v, x []float32, width, rows, cols int) {
	take, part, w := t.Rows, t.Cols, float32(t.Weight)
	if take == (Range{}) {
		take.Hi = rows
	}
	if part == (Range{}) {
		part.Hi = cols
	}
	for r := take.Lo; r < take.Hi; r++ {
		from := x[r*cols+part.Lo : r*cols+part.Hi]
		to := v[(t.Row+r-take.Lo)*width+t.Col:][:len(from)]
		for i := range to {
			to[i] += w * from[i]
		}
	}
}

// Solves returns the layer of the smaller model whose parts Value has to put into the order of the parts of the layer above. That may
// take minutes; ok is false if it is done, or not needed.
func (m Map) Solves(p ops.Param) (layer int, ok bool) {
	for _, t := range m.Rules[p.ID].Terms {
		if t.order != nil && t.order.orders == nil {
			return t.order.layer, true
		}
	}
	return 0, false
}

// ValueBytes returns what Value takes at most, in bytes: the value, a parameter of the smaller model, and the same in another order;
// or what finding that order takes.
func (m Map) ValueBytes(p ops.Param) int64 {
	const float = 4
	r, value := m.Rules[p.ID], float*p.Elems()
	if r.Fresh || r.keeps(p.ID) {
		return value
	}
	most := value
	for _, t := range r.Terms {
		from := float * m.old[t.From].Elems()
		if t.order == nil {
			most = max(most, value+from)
		} else {
			most = max(most, value+2*from, t.order.bytes())
		}
	}
	return most
}

// Unchanged reports whether a parameter of the larger model has the bits of the old one.
func (m Map) Unchanged(p ops.Param) bool { return m.Rules[p.ID].keeps(p.ID) }

// State computes one buffer of the optimizer state of a parameter of the larger model, such as its first moment; read
// returns the same buffer of a parameter of the smaller one. It is nil where the state starts as zero. What is aligned needs
// Value first, which finds the order in the weights.
func (m Map) State(p ops.Param, read func(old ops.Param) ([]float32, error)) ([]float32, error) {
	switch r := m.Rules[p.ID]; r.State {
	case StateZero:
		return nil, nil
	case StateKept: // whatever its shape
		return read(m.old[r.Terms[0].From])
	}
	return m.value(p, m.Rules[p.ID], read)
}

// KeepsState reports whether a parameter of the larger model has the optimizer state of the old one of its id, bit for bit.
func (m Map) KeepsState(p ops.Param) bool { return m.Rules[p.ID].State == StateKept }

// Updates returns how many updates the optimizer state of a parameter of the larger model stands for, given those of
// the smaller model's by id: 0 where it starts as zero. Of a mapped state it is the least of its terms', so one that
// was never updated makes it start as zero.
func (m Map) Updates(p ops.Param, old map[string]int64) int64 {
	r := m.Rules[p.ID]
	if r.State == StateZero || len(r.Terms) == 0 {
		return 0
	}
	n := old[r.Terms[0].From]
	for _, t := range r.Terms[1:] {
		n = min(n, old[t.From])
	}
	return n
}
