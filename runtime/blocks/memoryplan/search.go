package memoryplan

import (
	"cmp"
	"errors"
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

// search looks for the stages of a model on a device, with one optimizer. It goes by the exact sizes of programs, which it computes
// without making them.
type search struct {
	programs  *program.Programs // for any amount of memory
	model     arch.Model
	spec      *peft.Spec // nil for no adapters
	rule      optim.Optimizer
	dtype     gpu.DType
	seq       int
	batch     int
	inference *program.Inference // what the stages run between steps; nil for nothing
	method    string             // of growth
	position  string
	room      growth.Room
	options   []option // what may be chosen from, the preferred one first
	dropped   []string // why stages cannot have what else the block allows
	common    *common  // what all searches of a plan know

	known // what was found out
}

// shape is a stage: the layers that it adds, and those that it adds them to.
type shape struct{ fresh, old int }

// common is what the searches of a plan, one for each optimizer, know together.
type common struct {
	spent int            // layers of the programs whose size was asked for
	lines map[lined]line // of what stages take above their floors
	again map[lined]again
}

func newCommon() *common { return &common{lines: map[lined]line{}, again: map[lined]again{}} }

// known is what a search has found out.
type known struct {
	first, later []int               // options of a first stage, which freezes nothing, and of others
	sizes        map[sized]int64     // what stages take at least
	floors       map[lined]line      // of what they take more than
	moved        map[lined]float64   // by how many bytes lines were moved
	costs        map[lined]*costs    // bounds of operations, of the first option of those that are alike
	done         map[settled]*chosen // stages with all that is chosen
}

// sized is a stage with the number of its option.
type sized struct {
	shape
	option int
}

// lined is an option for first stages, or for others.
type lined struct {
	option int
	first  bool
}

// begin prepares for a search.
func (q *search) begin() {
	q.sizes, q.floors, q.moved = map[sized]int64{}, map[lined]line{}, map[lined]float64{}
	q.costs, q.done = map[lined]*costs{}, map[settled]*chosen{}
	for i, o := range q.options {
		q.later = append(q.later, i)
		if !slices.ContainsFunc(q.options[:i], func(x option) bool { return x.fused == o.fused }) {
			q.first = append(q.first, i)
		}
	}
}

// mostSpent is how many layers of programs a plan asks for the sizes of before it gives up: about half a minute's work.
const mostSpent = 15_000

// errEndless is the error of a search that would take too long.
var errEndless = errors.New("the search would take too long: let the block choose from fewer values, say how many stages there are, or " +
	"plan a model with fewer layers")

// spend counts the layers of programs.
func (q *search) spend(layers int) error {
	if q.common.spent += layers; q.common.spent > mostSpent {
		return errEndless
	}
	return nil
}

// choices lists the numbers of the options that a stage on old layers has.
func (q *search) choices(old int) []int {
	if old == 0 {
		return q.first
	}
	return q.later
}

// stage returns a stage that adds layers to those of another; nil for the first.
func (q *search) stage(from *program.Stage, fresh int, o option) (*program.Stage, error) {
	s := &program.Stage{DType: q.dtype, Seq: q.seq, Batch: q.batch, Micro: q.batch, Mask: true, Optimizer: q.rule, Fused: o.fused,
		Frozen: map[string]bool{}, Schedule: optim.Schedule{Kind: "constant"}, Steps: 1, Horizon: 1}
	if q.inference != nil {
		x := *q.inference // which compiling sets
		s.Inference = &x
	}
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
	for _, word := range o.freeze {
		s.Freeze(word)
	}
	if t := program.FrozenDTypes[o.frozen]; t != s.DType {
		s.FrozenDType = t
	}
	if q.spec == nil {
		return s, nil
	}
	as, err := q.spec.Match(s.Params, func(x ops.Param) bool { return s.Frozen[x.ID] })
	s.Adapt(q.spec, as)
	return s, err
}

// alone returns a stage without those before it. How its old layers came to be does not change its size.
func (q *search) alone(at shape, option int) (*program.Stage, error) {
	o := q.options[option]
	if at.old == 0 {
		return q.stage(nil, at.fresh, o)
	}
	from, err := q.stage(nil, at.old, o)
	if err != nil {
		return nil, err
	}
	return q.stage(from, at.fresh, o)
}

// size returns what a stage takes at least with an option: when everything is given up for it that costs only time.
func (q *search) size(at shape, option int) (int64, error) {
	key := sized{at, option}
	if n, ok := q.sizes[key]; ok {
		return n, nil
	}
	s, err := q.alone(at, option)
	if err != nil {
		return 0, err
	}
	if err := q.spend(at.fresh + at.old); err != nil {
		return 0, err
	}
	n, err := q.programs.Least(s, 0)
	if err != nil {
		return 0, err
	}
	q.sizes[key] = n
	return n, q.move(at, option, n)
}

// byGuess lists the options of a stage with the guesses of its size, the smallest first.
func (q *search) byGuess(at shape) (list []int, guesses map[int]int64, err error) {
	list, guesses = slices.Clone(q.choices(at.old)), map[int]int64{}
	for _, i := range list {
		if guesses[i], err = q.guess(at, i); err != nil {
			return nil, nil, err
		}
	}
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(guesses[a], guesses[b]) })
	return list, guesses, nil
}

// bytes returns what a stage takes at least, with any option.
func (q *search) bytes(at shape) (int64, error) {
	least := int64(math.MaxInt64)
	list, guesses, err := q.byGuess(at)
	if err != nil {
		return 0, err
	}
	for _, i := range list {
		if far(guesses[i], least) {
			break
		}
		if floor, err := q.floor(at, i); err != nil || floor >= least {
			continue
		}
		n, err := q.size(at, i)
		if err != nil {
			return 0, err
		}
		least = min(least, n)
	}
	return least, nil
}

// within reports whether a stage fits a limit. If it does not, over is a limit below which it does not fit either.
func (q *search) within(at shape, limit int64) (ok bool, over int64, err error) {
	over = math.MaxInt64
	list, guesses, err := q.byGuess(at)
	if err != nil {
		return false, 0, err
	}
	for _, i := range list {
		floor, err := q.floor(at, i)
		if err != nil {
			return false, 0, err
		}
		if floor > limit {
			over = min(over, floor)
			continue
		}
		if far(guesses[i], limit) {
			over = min(over, limit+limit/margin/2)
			break
		}
		n, err := q.size(at, i)
		if err != nil || n <= limit {
			return err == nil, n, err
		}
		over = min(over, n)
	}
	return false, over, nil
}
