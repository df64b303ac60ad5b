package runtime

import (
	"stepflow/dsl/addr"
	"stepflow/runtime/train"
)

// Checkpoints that stay where keep is not given: while a stage runs, and when it has ended.
const (
	keepRunning = 2
	keepEnded   = 1
)

// Stage is a planned stage: what it trains, on what, and what that takes.
type Stage struct {
	train.Stage
	Addr addr.Addr
	From *Stage // the planned stage that it continues, of which Stage.From is what is trained; nil for a first one
	Root *Model // the full model that the first stage was started with

	Every     int // steps between checkpoints; 0 for none on the way
	Keep      int // checkpoints that stay while it runs
	KeepEnded int // and when it has ended, the result among them

	Data      *Data
	Tokenizer *Tokenizer
	Vanilla   *train.Figures // the full model trained at once with the same batch
	Figures   train.Figures
	Forecast  Forecast // of what is left to run
}

// checkpoints is how many lie on disk at most beside the one that is being written, if nothing interrupts the stage.
func (s *Stage) checkpoints() int {
	n := 1
	if s.Every > 0 && s.Steps > 0 {
		n += (s.Steps - 1) / s.Every
	}
	return max(min(n, s.Keep), min(n, s.KeepEnded))
}
