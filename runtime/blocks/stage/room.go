package stage

import (
	"fmt"
	"strings"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
)

// Verdict says whether a stage fits a device.
type Verdict string

// The verdicts, the best first.
const (
	FitsAsItIs Verdict = "as_it_is"
	FitsLess   Verdict = "with_less_at_a_time" // a smaller micro-batch, activations computed again: the same training
	FitsNot    Verdict = "no"
)

// Room is how a stage fits a device.
type Room struct {
	Verdict Verdict     `json:"verdict"`
	Fit     program.Fit `json:"takes"`
	Missing int64       `json:"missing_bytes,omitempty"`
	Helps   []Help      `json:"helps,omitempty"` // of one that does not fit
	stage   *Stage
}

// Help is another setting of a stage, and what it would take at least.
type Help struct {
	Change string `json:"change"`
	Peak   int64  `json:"peak_bytes"`
	Fits   bool   `json:"fits"`
}

// Room says how the stage fits a device like that of the plan with another amount of memory: as the block has it; else with
// the largest micro-batch, and then the fewest layers computed again, that fit; else what would help.
func (s *Stage) Room(memory int64) (*Room, error) {
	programs := s.world.Programs.On(memory)
	r := &Room{Verdict: FitsAsItIs, stage: s}
	var err error
	if r.Fit, err = programs.Try(&s.Stage, s.Checkpointing); err != nil || r.Fit.Fits {
		return r, err
	}
	less := s.Stage
	less.AutoMicro = !s.Fused
	checkpointing := "auto"
	if s.Checkpointing == "block" {
		checkpointing = "block"
	}
	r.Verdict = FitsLess
	if r.Fit, err = programs.Try(&less, checkpointing); err != nil || r.Fit.Fits {
		return r, err
	}
	r.Verdict, r.Missing = FitsNot, r.Fit.Bytes-memory
	for _, h := range helps {
		other := less
		if !h.set(&other) {
			continue
		}
		f, err := programs.Try(&other, checkpointing)
		if err != nil {
			return r, err
		}
		if f.Bytes < r.Fit.Bytes {
			r.Helps = append(r.Helps, Help{h.change, f.Bytes, f.Fits})
		}
	}
	return r, nil
}

// helps are changes of a stage that change what it trains, if by little. set reports whether a stage can have one.
var helps = []struct {
	change string
	set    func(*program.Stage) bool
}{
	{`update = "fused"`, func(s *program.Stage) bool {
		if s.Fused {
			return false
		}
		s.Fused, s.AutoMicro, s.Micro = true, false, s.Batch
		return true
	}},
	{`update = "separate"`, func(s *program.Stage) bool {
		was := s.Fused
		s.Fused, s.AutoMicro = false, was || s.AutoMicro
		return was
	}},
	{`precision = "bf16"`, func(s *program.Stage) bool {
		if s.DType == gpu.BF16 {
			return false
		}
		s.DType = gpu.BF16
		return true
	}},
}

// String says it in a line.
func (r *Room) String() string {
	with := strings.Join(r.with(), " and ")
	switch {
	case r.Verdict == FitsAsItIs && with != "":
		return "fits, with " + with
	case r.Verdict == FitsAsItIs:
		return "fits"
	case r.Verdict == FitsLess:
		return "would fit with " + with
	}
	text := "misses by " + dsl.FormatBytes(r.Missing)
	if with != "" {
		text += ", even with " + with
	}
	for _, h := range r.Helps {
		if h.Fits {
			return text + fmt.Sprintf("; %s would do: %s", h.Change, dsl.FormatBytes(h.Peak))
		}
	}
	if r.stage.Fused && r.stage.Batch > 1 {
		text += "; lower batch_size, which a fused step takes at once, or"
	} else {
		text += ";"
	}
	return text + " train fewer layers at a time (memory_plan)"
}

// with lists what is given up, of what a stage may have by itself.
func (r *Room) with() (list []string) {
	if r.Verdict != FitsAsItIs && r.Fit.Micro != r.stage.Micro || r.stage.AutoMicro && r.Fit.Micro != r.stage.Batch {
		list = append(list, fmt.Sprintf("micro_batch_size = %d", r.Fit.Micro))
	}
	if n := r.Fit.Recompute; n > 0 {
		list = append(list, words.Plural(n, "layer")+" recomputed")
	}
	return list
}
