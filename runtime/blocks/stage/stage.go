// Package stage is the stage block: a stage of training.
package stage

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/gpu"
	"stepflow/ops/growth"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/blocks/tokenizer"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
	"stepflow/runtime/train"
)

// Kind is the stage block.
var Kind = blocks.Kind{Alone: blocks.TheDevice, Sound: sound, Plan: plan,
	Idle: map[string]string{
		"executor":                       "what is made is the same anywhere",
		"train.checkpoint":               "when something is saved",
		"train.checkpoint.every_steps":   "when something is saved",
		"train.checkpoint.keep":          "when something is saved",
		"train.activation_checkpointing": "activations that are computed again are the same",
		"train.parallel.shard":           "what lies with another rank is the same",
	},
	Resolved: []string{"frozen_dtype", "merge", "train.micro_batch_size", "train.tokens", "train.steps", "train.flops", "train.stop_at",
		"train.schedule",
		"train.accumulate_dtype", "train.evaluate", "train.stop_when", "train.keep_best", "train.objective", "train.loss_on",
		"train.packing", "train.truncation_mode", "train.epochs", "train.update",
		"train.parallel"}}

// work is the work of a stage.
const work blocks.Work = "train"

// How many checkpoints stay by default: while a stage runs, and after it has ended.
const (
	keepRunning = 2
	keepEnded   = 1
)

// Stage is a planned stage.
type Stage struct {
	program.Stage
	Addr   addr.Addr
	Before *Stage       // the stage it continues; nil for a first one
	Grow   *growth.Spec // nil if nothing is added
	Root   *model.Model // the full model that the first stage names

	Checkpointing string // of activations, as the block says

	Every     int // steps between checkpoints; 0 for none on the way
	Keep      int // checkpoints that stay while it runs
	KeepEnded int // and after it has ended, including the result

	derivedMicro bool           // micro_batch_size is not given, so that it follows from the batch of a rank
	rankBytes    []int64        // of each rank, or of one where all are alike
	ofOne        *program.Stage // the stage as one process trains it, of one that several ranks train; else nil

	Imported *Imported // nil of a stage that trains

	Evaluations []*Evaluation // between steps
	Ending      *train.Ending // when it ends before its last step; nil for never
	Best        *train.Value  // the result is the model with the lowest; nil for the last

	Data         *data.Data
	Tune         *Tuning // nil if it learns from documents
	Tokenizer    *tokenizer.Tokenizer
	Vanilla      *program.Figures // the full model trained at once with the same batch
	Figures      program.Figures
	beginAgain   int             // parameters whose moments begin again, since another optimizer trained them
	startProgram *gpu.Program    // measures the model that it starts from; nil where that is known, or not asked
	takes        blocks.Forecast // of what is left to run
	world        *blocks.World
	plan         *promise // of a memory_plan block; nil if it takes nothing of one
}

var (
	_ blocks.Stepped    = (*Stage)(nil)
	_ blocks.Forecaster = (*Stage)(nil)
	_ blocks.Detailed   = (*Stage)(nil)
	_ blocks.Counted    = (*Stage)(nil)
	_ blocks.Trains     = (*Stage)(nil)
	_ blocks.Programmed = (*Stage)(nil)
	_ blocks.Picky      = (*Stage)(nil)
	_ blocks.Weighty    = (*Stage)(nil)
	_ blocks.Neighbour  = (*Stage)(nil)
	_ blocks.Importable = (*Stage)(nil)
	_ blocks.Extendable = (*Stage)(nil)
	_ blocks.Collective = (*Stage)(nil)
)

// Identity writes what decides the bits of the result and can be said in several ways. The micro-batch and the rows of
// logits decide the order of sums, and they depend on the device's memory.
func (s *Stage) Identity(w io.Writer) {
	if s.Imported != nil {
		s.identifyImport(w)
		return
	}
	s.Course(w)
	schedule, horizon := s.Schedule.Used(), s.Horizon
	if schedule.Constant() {
		horizon = 0
	}
	fmt.Fprintf(w, "steps %d, horizon %v, schedule %+v\n", s.Steps, horizon, schedule)
	if s.KeepApart {
		fmt.Fprintln(w, "adapters apart")
	}
	s.identifyRules(w)
}

// Summary says how much is trained.
func (s *Stage) Summary() string { return fmt.Sprintf("%d layers, %d steps", len(s.Layers), s.Steps) }

// Runs is true.
func (*Stage) Runs() bool { return true }

// Together reports whether ranks train it together. What is imported is read by rank 0 alone.
func (s *Stage) Together() bool { return s.Ranks > 1 && s.Imported == nil }

// Files lists the files of the result, or of a checkpoint, which has adapters too.
func (s *Stage) Files(result bool) []string {
	list := []string{checkpoint.NoteName, checkpoint.ModelFile, checkpoint.OptimizerFile, checkpoint.TrainerFile,
		checkpoint.ConfigFile,
		checkpoint.TokenizerFile}
	if len(s.Adapters) > 0 && (!result || s.KeepApart) {
		list = append(list, checkpoint.AdapterFile)
	}
	return list
}

// NumSteps returns the number of optimizer steps.
func (s *Stage) NumSteps() int { return s.Steps }

// Keeps returns how many checkpoints stay while the stage runs, and after it has ended.
func (s *Stage) Keeps() (running, ended int) { return s.Keep, s.KeepEnded }

// Traced returns what is traced of the steps after from.
func (s *Stage) Traced(from int) observe.Planned {
	w := s.Work()
	p := observe.Planned{Work: &w, FromStep: from}
	if len(s.Adapters) > 0 {
		p.Inside = 1 // the merge
	}
	if s.Every > 0 {
		p.Checkpoints = (s.Steps-1)/s.Every - from/s.Every
	}
	for _, e := range s.Evaluations {
		p.Evaluations += s.count(e, from)
	}
	if s.Best != nil {
		p.Checkpoints += s.count(s.evaluation(s.Best.Evaluation), from)
	}
	return p
}

// checkpoints returns the most that are on disk, beside the one being written, if nothing interrupts the stage.
func (s *Stage) checkpoints() int {
	n, best := 1+s.onTheWay(0), 0
	if s.Best != nil { // held by those after it
		best = 1
	}
	return max(min(n, s.Keep)+best, min(n, s.KeepEnded))
}

// onTheWay returns how many checkpoints are written after a step and before the end, at most.
func (s *Stage) onTheWay(from int) (n int) {
	if s.Every > 0 && s.Steps > from {
		n = (s.Steps-1)/s.Every - from/s.Every
	}
	if s.Best != nil { // saved when it is found
		n += s.count(s.evaluation(s.Best.Evaluation), from)
	}
	return n
}

// DeviceProgram returns the program of the stage's steps.
func (s *Stage) DeviceProgram() *gpu.Program { return s.Program }

// Refuse returns why a device cannot train the stage, or why it cannot be imported; nil if it can.
func (s *Stage) Refuse(caps gpu.Caps) error {
	if s.Imported != nil {
		return s.Imported.err
	}
	return program.Computes(caps, s.DType)
}

// Readable reads the weights that the stage starts from, once a run, and the optimizer's state that is imported with them. NaN,
// infinity, and numbers beyond the stage's element type are errors.
func (s *Stage) Readable(ctx context.Context, read map[string]bool) error {
	once := func(what string, check func() error) error {
		key := s.Init + " " + what
		if s.Init == "" || read[key] {
			return nil
		}
		read[key] = true
		return check()
	}
	err := once(s.DType.String(), func() error { return forward.CheckInit(ctx, &s.Stage) })
	if err == nil && s.Imported != nil && s.Imported.Moments == "" {
		err = once("moments", func() error { return train.CheckMoments(ctx, s.Init) })
	}
	return err
}

// Forecast predicts how long the stage takes from a step on.
func (s *Stage) Forecast(ctx context.Context, p *blocks.Planned, from int, d *dsl.Decoded) hcl.Diagnostics {
	f := &s.Figures
	evaluations, diags := s.forecastEvaluations(ctx, from, d.Block("train"))
	s.takes = blocks.Forecast{Peak: f.Peak, Between: evaluations, FLOPs: evaluations +
		math.Max(0, float64(s.Steps-from))*(float64(f.StepFLOPs)+float64(f.RecomputeFLOPs))/float64(max(s.Ranks, 1))}
	s.takes.Predict(p.World, work, s.DType, s.Program, program.SegMicro)
	return diags
}

// DeviceRate returns the FLOP/s at which one device is predicted to train the stage; 0 if that is not known.
func (s *Stage) DeviceRate() float64 {
	f := blocks.Forecast{FLOPs: s.Figures.FLOPs}
	f.Predict(s.world, work, s.DType, s.Program, program.SegMicro)
	return f.Rate
}

// Takes returns what the steps left to run take.
func (s *Stage) Takes() *blocks.Forecast { return &s.takes }
