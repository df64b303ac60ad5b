package train

import (
	"path/filepath"
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/runtime/program"
)

// values are all named buffers of a program that training keeps from step to step.
func (t *trainer) values(tb testing.TB) map[string][]float32 {
	tb.Helper()
	all := map[string][]float32{}
	for _, b := range t.stage.Program.Buffers {
		if b.Role == gpu.RoleWeight || b.Role == gpu.RoleAdapter || b.Role == gpu.RoleOptimizer {
			v, err := t.get(b.Name)
			must(tb, err)
			all[b.Name] = v
		}
	}
	return all
}

// sameBits compares all that two trainers keep.
func sameBits(t *testing.T, what string, a, b *trainer) {
	t.Helper()
	other := b.values(t)
	for name, v := range a.values(t) {
		if !slices.Equal(v, other[name]) {
			t.Errorf("%s: %s differs", what, name)
		}
	}
}

// resumes trains a stage twice as many steps on one batch as half. The loss is to fall by more than fall, and a run that goes
// on from a checkpoint halfway to make the bits of the one that was not interrupted. It returns the checkpoint and the losses.
func resumes(t *testing.T, d gpu.Device, what string, half int, fall float32, stage func() *program.Stage) (dir string, losses []float32) {
	t.Helper()
	whole, rest := begun(t, d, stage(), ""), begun(t, d, stage(), "")
	losses = whole.losses(t, half)
	dir = filepath.Join(t.TempDir(), "checkpoint")
	_, err := whole.save(dir, nil, false)
	must(t, err)
	asPlanned(t, what, whole, dir, false)
	must(t, rest.restore(t.Context(), stored{dir: dir}))
	sameBits(t, what+", restored", whole, rest)
	losses = append(losses, whole.losses(t, half)...)
	rest.losses(t, half)
	sameBits(t, what+", resumed", whole, rest)
	if first, last := losses[0], losses[2*half-1]; !(last < first-fall) {
		t.Errorf("%s: the loss was %v, and is %v after %d steps on one batch", what, first, last, 2*half)
	}
	return dir, losses
}
