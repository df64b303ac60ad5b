package train

import (
	"errors"
	"fmt"

	"stepflow/gpu"
	"stepflow/gpu/ranks"
	"stepflow/runtime/observe"
)

// The codes of what a rank tells the others, the most serious last.
const (
	fine uint8 = iota
	interrupted
	badData
	failed
)

// common is an error that all ranks have been told of.
type common struct{ error }

func (e common) Unwrap() error { return e.error }

// Joint says that all ranks end with it at the same place.
func (common) Joint() {}

// lostError ends the work of all ranks: no more can be said between them.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// Agree has all ranks that train together go on, or fail for one reason: an error of one rank is an error of all, which names
// the rank. All of them call it, unless err is one that was agreed on. It returns err where c is nil.
func Agree(c gpu.Communicator, err error) error {
	var known common
	var gone lostError
	if c == nil || errors.As(err, &known) || errors.As(err, &gone) {
		return err
	}
	code, text := fine, ""
	var data dataError
	switch {
	case err == nil:
	case errors.Is(err, observe.ErrInterrupted):
		code = interrupted
	case errors.As(err, &data):
		code, text = badData, err.Error()
	default:
		code, text = failed, err.Error()
	}
	r, lost := ranks.Agree(c, code, text)
	switch {
	case lost != nil: // nobody can be told any more
		return lostError{errors.Join(err, lost)}
	case r.Code == fine:
		return nil
	case r.Rank == c.Rank():
		return common{err}
	case r.Code == interrupted:
		return common{observe.ErrInterrupted}
	}
	err = fmt.Errorf("rank %d: %s", r.Rank, r.Text)
	if r.Code == badData {
		err = dataError{err}
	}
	return common{err}
}

// agree is Agree among the ranks that train the stage.
func (t *trainer) agree(err error) error { return Agree(t.comm, err) }

// first reports whether this rank writes what is written once: metrics and records.
func (t *trainer) first() bool { return t.comm == nil || t.comm.Rank() == 0 }

// lost ends the work of all ranks where one of them fails while the others wait for what it should have sent.
func (t *trainer) lost(err error) error {
	if err == nil || t.comm == nil {
		return err
	}
	t.comm.Abort(err)
	return lostError{err}
}

// together checks that all ranks run programs that exchange the same.
func together(c gpu.Communicator, p *gpu.Program) error {
	if c == nil {
		return nil
	}
	return ranks.Same(c, "what the step exchanges", ranks.Collectives(p))
}
