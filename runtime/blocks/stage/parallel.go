package stage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/runtime/blocks"
	"stepflow/runtime/program"
)

// parallel reads how several ranks train the stage, and checks that they can share a batch.
func (s *Stage) parallel(t *dsl.Decoded, w *blocks.World) hcl.Diagnostics {
	s.Shard = program.ShardNone
	if b := t.Block("parallel"); b != nil {
		s.FromZero, s.Shard = true, program.Shard(b.Str("shard"))
	}
	if w.Ranks < 2 {
		return nil
	}
	s.Ranks, s.Rank = w.Ranks, w.Rank
	if s.Batch%s.Ranks != 0 {
		return hcl.Diagnostics{t.Error("batch_size", "Batch not divisible by ranks", fmt.Sprintf("batch_size %d cannot be shared out "+
			"equally to %d ranks. Start %s, or set batch_size = %d.", s.Batch, s.Ranks, shareable(s.Batch, s.Ranks),
			(s.Batch/s.Ranks+1)*s.Ranks))}
	}
	if s.derivedMicro = s.AutoMicro || !t.Has("micro_batch_size"); s.derivedMicro {
		s.Micro = s.Batch / s.Ranks
	}
	if n := s.MicroSteps(); n%s.Ranks != 0 {
		micro := min(s.Micro, s.Batch/s.Ranks)
		for s.Batch/s.Ranks%micro != 0 {
			micro--
		}
		instead := fmt.Sprintf("set micro_batch_size = %d", micro)
		if s.Fused { // each rank then takes its share at once
			instead = "leave micro_batch_size out"
		}
		return hcl.Diagnostics{t.Error("micro_batch_size", "Micro-batches not divisible by ranks", fmt.Sprintf("A step has %s "+
			"(batch_size %d, micro_batch_size %d), which %d ranks cannot share equally. Start %s, or %s.",
			micros(n), s.Batch, s.Micro, s.Ranks, shareable(n, s.Ranks), instead))}
	}
	return nil
}

// micros counts micro-batches.
func micros(n int) string {
	if n == 1 {
		return "1 micro-batch"
	}
	return fmt.Sprintf("%d micro-batches", n)
}

// shareable lists the numbers of ranks near to so many, in words such as "1, 2 or 4 ranks", that can share n things equally.
func shareable(n, ranks int) string {
	const most = 4 // that are named
	var list []string
	for r := min(n, ranks); r >= 1 && len(list) < most; r-- {
		if n%r == 0 {
			list = append(list, fmt.Sprint(r))
		}
	}
	for r := ranks + 1; r <= n; r++ {
		if n%r == 0 {
			list = append([]string{fmt.Sprint(r)}, list...)
			break
		}
	}
	slices.Reverse(list)
	if len(list) == 1 {
		return "1 rank"
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1] + " ranks"
}

// alone plans the stage as one process would train it, which the recipe goes by.
func (s *Stage) alone(programs *program.Programs) error {
	if s.Ranks < 2 {
		return nil
	}
	one := s.Stage
	one.Ranks, one.Rank, one.Inference, one.Program = 0, 0, nil, nil
	if s.derivedMicro {
		one.Micro = one.Batch
	}
	s.ofOne = &one
	return programs.Compile(&one, s.Checkpointing)
}

// mostRanks is the number of ranks of which a plan compares the bytes.
const mostRanks = 16

// rankLines say how the ranks share the work and the memory.
func (s *Stage) rankLines() (list []blocks.Line) {
	if s.Ranks < 2 {
		return nil
	}
	text := fmt.Sprintf("%d, each with %s of %d a step", s.Ranks, micros(s.OwnSteps()), s.MicroSteps())
	switch s.Shard {
	case program.ShardOptimizer:
		text += "; states of the optimizer lie with one rank each"
	case program.ShardGradients:
		text += "; gradients and states of the optimizer lie with one rank each"
		if s.OwnSteps() > 1 {
			text += ", gradients once they are complete"
		}
	}
	list = append(list, blocks.Line{About: "ranks", Text: text})
	if len(s.rankBytes) > 0 {
		text := dsl.FormatBytes(slices.Max(s.rankBytes))
		if least := dsl.FormatBytes(slices.Min(s.rankBytes)); least != text {
			text = least + " to " + text
		}
		text = fmt.Sprintf("takes %s; the memory below is that of rank %d", text, s.Rank)
		list = append(list, blocks.Line{About: "a rank", Text: text})
	}
	return list
}

// measureRanks notes what each rank takes.
func (s *Stage) measureRanks(programs *program.Programs) error {
	if s.Ranks < 2 || s.Ranks > mostRanks {
		return nil
	}
	for r := range s.Ranks {
		x := s.Stage
		x.Rank = r
		n, err := programs.Bytes(&x)
		if err != nil {
			return err
		}
		s.rankBytes = append(s.rankBytes, n)
		if s.Shard == program.ShardNone {
			break // all are alike
		}
	}
	return nil
}
