package results

import (
	"os"
	"path/filepath"

	"stepflow/runtime/checkpoint"
	"stepflow/runtime/metrics"
)

// Trained returns how much training a block's folder holds, whole or damaged: the steps of its latest checkpoint, and
// the seconds that they took. The seconds are estimated if some steps have none on record, and 0 if no step has. dir is
// relative to the state's folder.
func Trained(stateDir, dir string) (steps int, seconds float64, err error) {
	root := filepath.Join(stateDir, dir)
	list, err := checkpoint.Steps(root)
	if err != nil {
		return 0, 0, err
	}
	for _, s := range list {
		entries, err := os.ReadDir(checkpoint.StepDir(root, s))
		if err != nil {
			return 0, 0, err
		}
		if len(entries) > 0 {
			steps = s
			break
		}
	}
	if steps == 0 {
		return 0, 0, nil
	}
	n := 0
	err = metrics.Each(filepath.Join(root, metrics.FileName), func(s *metrics.Step) {
		if s.Step <= steps {
			seconds += s.Seconds
			n++
		}
	})
	if err != nil {
		return steps, 0, nil // the time is for information only
	}
	if n > 0 { // steps without a line took as long as the others
		seconds *= float64(steps) / float64(n)
	}
	return steps, seconds, nil
}
