package memoryplan

import (
	"math"
	"slices"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/program"
)

// search finds the stages of a model for a device, by the exact sizes of programs that are not made.
type search struct {
	programs *program.Programs // for any amount of memory
	model    arch.Model
	spec     *peft.Spec // nil for no adapters
	rule     optim.Optimizer
	dtype    gpu.DType
	seq      int
	batch    int
	fused    []bool // the updates that may be chosen from, the preferred one first
	method   string // of growth
	position string
	room     growth.Room

	least map[[2]int]int64 // by new and old layers, what a stage takes at least
	tried int              // stages whose size was asked for
}

// stage returns a stage that adds layers to those of another, which are frozen; nil for the first.
func (q *search) stage(from *program.Stage, fresh int) (*program.Stage, error) {
	s := &program.Stage{DType: q.dtype, Seq: q.seq, Batch: q.batch, Micro: q.batch, Mask: true, Optimizer: q.rule,
		Frozen: map[string]bool{}, Schedule: optim.Schedule{Kind: "constant"}, Steps: 1, Horizon: 1}
	if from == nil {
		s.Model = q.model.WithLayers(fresh)
		s.Layers = s.NewLayers(fresh)
		s.Params = s.Model.Declare(s.LayerIDs())
		return s, nil
	}
	grow := growth.Spec{Method: q.method, Layers: fresh, Position: q.position, Mix: 0.5, FunctionPreserving: true}
	if err := s.Continue(from, &grow); err != nil {
		return nil, err
	}
	for _, x := range s.Params {
		if s.Inherited(x) {
			s.Frozen[x.ID] = true
		}
	}
	if q.spec == nil {
		return s, nil
	}
	var err error
	s.Peft = q.spec
	s.Adapters, err = q.spec.Match(s.Params, func(x ops.Param) bool { return s.Frozen[x.ID] })
	return s, err
}

// between returns the stage that adds fresh layers to old ones. How these came to be does not change its size.
func (q *search) between(fresh, old int) (*program.Stage, error) {
	if old == 0 {
		return q.stage(nil, fresh)
	}
	from, err := q.stage(nil, old)
	if err != nil {
		return nil, err
	}
	return q.stage(from, fresh)
}

// bytes is what a stage takes when all is given up that may be.
func (q *search) bytes(fresh, old int) (int64, error) {
	at := [2]int{fresh, old}
	if n, ok := q.least[at]; ok {
		return n, nil
	}
	s, err := q.between(fresh, old)
	if err != nil {
		return 0, err
	}
	q.tried++
	least := int64(math.MaxInt64)
	for _, s.Fused = range q.fused {
		n, err := q.programs.Least(s, 0)
		if err != nil {
			return 0, err
		}
		least = min(least, n)
	}
	q.least[at] = least
	return least, nil
}

// space is how many layers there is room for on old ones, whatever they take.
func (q *search) space(old int) int {
	if old == 0 {
		return q.model.NumHiddenLayers
	}
	return min(q.room(old), q.model.NumHiddenLayers-old)
}

// most is the number of layers, up to a bound, that a stage on old layers may add within a limit; 0 for none. A stage that
// adds more layers takes more. over is the least size above the limit that was met; MaxInt64 for none.
func (q *search) most(old, bound int, limit int64) (n int, over int64, err error) {
	over = math.MaxInt64
	if bound < 1 {
		return 0, over, nil
	}
	high, err := q.bytes(bound, old)
	if err != nil || high <= limit {
		return bound, over, err
	}
	hi := bound
	low, err := q.bytes(1, old)
	if err != nil || low > limit {
		return 0, low, err
	}
	lo := 1
	for hi-lo > 1 { // sizes are nearly on a line
		mid := lo + int(float64(limit-low)/float64(high-low)*float64(hi-lo))
		mid = min(max(mid, lo+1), hi-1)
		n, err := q.bytes(mid, old)
		if err != nil {
			return 0, 0, err
		}
		if n <= limit {
			lo, low = mid, n
			if hi-lo > 1 { // most likely the next one is too large
				if n, err = q.bytes(lo+1, old); err != nil {
					return 0, 0, err
				}
				if n <= limit {
					lo, low = lo+1, n
				} else {
					hi, high = lo+1, n
				}
			}
		} else {
			hi, high = mid, n
		}
	}
	return lo, high, nil
}

// largest splits the layers into stages that each take as many as fit, the largest first: into the fewest stages, or
// exactly as many as asked for, if that is not 0. No other split into as many has more layers after any stage. It is nil if
// there is none, and over is then the least limit that might do.
func (q *search) largest(limit int64, stages int) (split []int, over int64, err error) {
	over = math.MaxInt64
	layers := q.model.NumHiddenLayers
	for n := 0; n < layers; {
		bound := q.space(n)
		if stages > 0 {
			left := stages - len(split) - 1
			if left < 0 {
				return nil, over, nil
			}
			bound = min(bound, layers-n-left) // at least one for each stage to come
		}
		add, more, err := q.most(n, bound, limit)
		if err != nil {
			return nil, 0, err
		}
		if over = min(over, more); add < 1 {
			return nil, over, nil
		}
		split, n = append(split, add), n+add
	}
	if stages > 0 && len(split) != stages {
		return nil, over, nil
	}
	return split, over, nil
}

// smallest is the least limit within which the layers can be split into so many stages, at most limit, which is known to do.
func (q *search) smallest(limit int64, split []int) ([]int, int64, error) {
	high, err := q.peak(split)
	if err != nil {
		return nil, 0, err
	}
	for low := int64(0); low < high; {
		mid := low + (high-low)/2
		found, over, err := q.largest(mid, len(split))
		switch {
		case err != nil:
			return nil, 0, err
		case found == nil:
			low = max(mid+1, min(over, high))
		default:
			split = found
			if high, err = q.peak(split); err != nil {
				return nil, 0, err
			}
		}
	}
	return split, high, nil
}

// peak is what the largest stage of a split takes at least.
func (q *search) peak(split []int) (most int64, err error) {
	old := 0
	for _, fresh := range split {
		n, err := q.bytes(fresh, old)
		if err != nil {
			return 0, err
		}
		most, old = max(most, n), old+fresh
	}
	return most, nil
}

// latest splits the layers into as many stages as a split that fits, so that each stage but the last has as few layers as
// let the others fit: the fewest operations.
func (q *search) latest(limit int64, split []int) ([]int, error) {
	reach := make([]int, len(split)) // the most layers after a stage
	n := 0
	for i, fresh := range split {
		n += fresh
		reach[i] = n
	}
	list := make([]int, len(split))
	top := n
	for i := len(split) - 1; i > 0; i-- {
		lo, hi := i-1, min(reach[i-1], top-1) // so many layers below are too few, so many do
		for hi-lo > 1 {
			mid := lo + (hi-lo)/2
			if mid < top && top-mid <= q.space(mid) {
				n, err := q.bytes(top-mid, mid)
				if err != nil {
					return nil, err
				}
				if n <= limit {
					hi = mid
					continue
				}
			}
			lo = mid
		}
		list[i], top = top-hi, hi
	}
	list[0] = top
	return list, nil
}

// quickest is the split with the fewest operations among that with the largest early stages, that with the smallest, and
// one half between them: fewer layers at first are less to compute, but more in the last stages may have to be computed again.
func (q *search) quickest(limit int64, largest []int) (best []int, err error) {
	latest, err := q.latest(limit, largest)
	if err != nil {
		return nil, err
	}
	var least float64
	var before []int
	for part := range 3 {
		split, at, a, b, room := make([]int, len(largest)), 0, 0, 0, true
		for i := range split {
			a, b = a+largest[i], b+latest[i]
			end := a + (b-a)*part/2
			split[i] = end - at
			room, at = room && split[i] <= q.space(at), end
		}
		if slices.Equal(split, before) || slices.Min(split) < 1 || !room {
			continue
		}
		before = split
		list, err := q.settle(split, limit)
		if err != nil {
			return nil, err
		}
		if n := work(list); list != nil && (best == nil || n < least) {
			best, least = split, n
		}
	}
	return best, nil
}
