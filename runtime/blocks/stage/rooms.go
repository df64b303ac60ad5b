package stage

import (
	"os"
	"path/filepath"

	"stepflow/gpu"
	"stepflow/runtime/blocks"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/train"
)

var (
	_ blocks.Storing = (*Stage)(nil)
	_ blocks.Hosted  = (*Stage)(nil)
)

// smallFiles is more than the files of a checkpoint take whose size depends on nothing large: the note, the manifest, the
// configuration of the model and of its adapters.
const smallFiles = 16 << 10

// small is about what the files of a checkpoint take that hold no tensors.
func (s *Stage) small() int64 { return smallFiles + train.StateSize(&s.Stage) + s.Tokenizer.FileSize() }

// saved returns the bytes of a checkpoint, or of the result. Those of the files that hold tensors are exact.
func (s *Stage) saved(result bool) int64 {
	n := s.small()
	for _, size := range train.Sizes(&s.Stage, result) {
		n = gpu.Sum(n, size)
	}
	return n
}

// metricsBytes is about what a step writes to the files of metrics, for other programs too.
const metricsBytes = 800

// Rooms returns what the stage writes: checkpoints while it runs, those that keep leaves and one that is written beside
// them, and the result; and the numbers of its steps.
func (s *Stage) Rooms(from int) []blocks.Room {
	r := blocks.Room{Folder: s.world.Folder(s.Addr)}
	if s.Imported != nil {
		r.Most = s.importedBytes()
		r.Stays = r.Most
		return []blocks.Room{r}
	}
	step, result := s.saved(false), s.saved(true)
	r.Once = max(step, result)
	r.All = gpu.Sum(gpu.Product(int64(s.onTheWay(from)), step), result)
	r.Most = gpu.Sum(gpu.Product(int64(s.checkpoints()), step), r.Once)
	r.Unsure = gpu.Product(int64(s.checkpoints())+1, s.small())
	stay := min(s.KeepEnded-1, s.onTheWay(0))
	if stay > 0 && s.Best != nil {
		stay++ // the best one before them, which they hold
	}
	r.Stays = min(r.Most, gpu.Sum(result, gpu.Product(int64(stay), step)))
	numbers := gpu.Product(int64(s.Steps-from), metricsBytes)
	return []blocks.Room{r, {Folder: r.Folder, Most: numbers, Stays: numbers, Estimate: true}}
}

// importedBytes is what a result takes that comes from elsewhere.
func (s *Stage) importedBytes() int64 {
	n := s.small()
	for _, p := range s.Params {
		n = gpu.Sum(n, gpu.Product(p.Elems(), s.DType.Size()))
	}
	if s.Imported.Moments == "" {
		if st, err := os.Stat(filepath.Join(s.Imported.Folder, checkpoint.OptimizerFile)); err == nil {
			n = gpu.Sum(n, st.Size())
		}
	}
	return n
}

// Phases returns what the stage takes of the host's memory.
func (s *Stage) Phases(from int) []blocks.Phase {
	if s.Imported != nil {
		return []blocks.Phase{{Doing: "importing", Heap: train.ImportBytes(&s.Stage)}}
	}
	documents := s.Data.Documents()
	for _, e := range s.Evaluations {
		if e.Data != nil {
			documents += e.Data.Documents() + train.KeptBytes(e.takes.Sequences*int64(s.Seq))
		}
	}
	list := append(train.Phases(&s.Stage, from), blocks.Phase{Doing: "training", Arena: s.Program.ArenaBytes})
	if s.Best != nil {
		list = append(list, train.Restoring(&s.Stage))
	}
	if s.startProgram != nil && from == 0 {
		list = append(list, train.BeforePhase(&s.Stage, s.startProgram))
	}
	for i := range list {
		list[i].Held += documents
	}
	return list
}
