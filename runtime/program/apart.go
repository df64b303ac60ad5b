package program

import (
	"fmt"
	"slices"
	"strings"

	"stepflow/ops"
	"stepflow/ops/peft"
)

// Exported returns the adapters, and their configuration, as they are added to a model: the weights of the stage's result,
// or those that it started from.
func (s *Stage) Exported() (peft.Spec, []peft.Adapter) {
	if s.KeepApart {
		return *s.Peft, s.Adapters
	}
	return s.Peft.Apart(s.Adapters)
}

// KeepsAdapters reports whether the stage's result has the adapters beside the weights, which they may be merged into. They are
// of use where the weights that they were trained on exist elsewhere, and hold all that they learnt.
func (s *Stage) KeepsAdapters() bool { return len(s.Adapters) > 0 && s.Apart() == nil }

// KeepsFirst reports whether checkpoints on the way hold the first values of adapters, which an export takes out of them. A
// stage with merge = false has no use for them, but one that goes on from its checkpoint without it may.
func (s *Stage) KeepsFirst() bool {
	return len(s.Adapters) > 0 && s.Peft.Principal() && s.apartFromStart() == nil
}

// Apart returns why another program cannot add the stage's adapters to the weights that the stage started from; nil if it
// can.
func (s *Stage) Apart() error {
	switch {
	case len(s.Adapters) == 0:
		return fmt.Errorf("it has no adapters")
	case s.KeepApart: // its result holds the weights that they are added to
		return nil
	}
	return s.apartFromStart()
}

// apartFromStart is Apart for the weights that the stage started from, without those of its result.
func (s *Stage) apartFromStart() error {
	switch {
	case len(s.Composed) > 0:
		return fmt.Errorf("sltrain trains weights as a whole, so no model holds weights that its adapters could be added to")
	case s.Restarts():
		return fmt.Errorf("relora merged its adapters every %d steps and began new ones, so the last ones hold a part of what it learnt",
			s.Peft.ResetEvery)
	case s.Peft.Principal() && len(s.MergedApart()) > 0:
		return fmt.Errorf("its adapters began with singular vectors of the weights (init_lora_weights), and what these left was stored "+
			"in %v, which no model holds", s.FrozenDType)
	case s.Grows():
		return fmt.Errorf("it grows, so no model has the weights that its adapters were trained on: let a stage of its own grow")
	case s.From == nil && s.Init == "":
		return fmt.Errorf("it starts from random weights, which no model holds")
	}
	adapted := map[string]bool{}
	for _, a := range s.Adapters {
		adapted[module(a.Target)] = true
	}
	for _, p := range s.trainedBeside() {
		switch {
		case adapted[module(p)]:
			return fmt.Errorf("it trains %s beside the adapter of the same module, which PEFT does not: freeze it", p.Name)
		case p.Kind == ops.KindEmbedding && s.Model.TieWordEmbeddings:
			return fmt.Errorf("it trains %s, which is the head too (tie_word_embeddings), and PEFT would replace one of the two: "+
				"freeze \"embeddings\"", p.Name)
		}
	}
	return nil
}

// BesideAdapters lists the model's own parameters that are trained beside adapters, and that are not in the weights which
// these are added to.
func (s *Stage) BesideAdapters() []ops.Param {
	if s.KeepApart {
		return nil
	}
	return s.trainedBeside()
}

func (s *Stage) trainedBeside() []ops.Param {
	return slices.DeleteFunc(slices.Clone(s.Params), func(p ops.Param) bool { return s.Frozen[p.ID] })
}

// BesideModules lists the modules of those parameters, by the names that PEFT knows them by.
func (s *Stage) BesideModules() (list []string) {
	for _, p := range s.BesideAdapters() {
		if m := module(p); !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}

// module is the name of the module that a parameter belongs to.
func module(p ops.Param) string { return p.Name[:max(0, strings.LastIndexByte(p.Name, '.'))] }
