package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"stepflow/dsl/addr"
	"stepflow/foreign"
	"stepflow/runtime/metrics"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/runtime/words"
)

// beside is how many steps are shown before a step, and after it.
const beside = 3

// showStep shows the numbers of a step of a stage, among those of the steps beside it.
func (a *app) showStep(d *state.Dir, name string, n int) error {
	at, err := addr.Parse(name)
	if err != nil || at.Kind != "stage" {
		return fmt.Errorf("-step takes a stage, such as stage.NAME; %s is not one", foreign.Shown(name))
	}
	path := filepath.Join(d.Path, results.Folder(at), metrics.FileName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no %s here: it has not trained a step, or was imported", at, metrics.FileName)
	}
	var near []metrics.Step
	var first, last int
	found := false
	err = metrics.Each(path, func(s *metrics.Step) {
		if last = s.Step; first == 0 {
			first = s.Step
		}
		if s.Step >= n-beside && s.Step <= n+beside {
			near = append(near, *s)
			found = found || s.Step == n
		}
	})
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%s has no step %d: its %s goes from step %d to %d", at, n, path, first, last)
	}
	if a.json {
		a.line(map[string]any{"address": at.String(), "step": n, "steps": near})
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "step\tloss\tgradient norm\tlearning rate\ttokens/s\ttime\twaiting for data\t")
	for _, s := range near {
		mark, end := "", ""
		if s.Step == n {
			mark = "* "
		}
		if s.Skipped {
			end = " skipped, since it is not finite"
		}
		fmt.Fprintf(w, "%s%d\t%.4f\t%.4g\t%.3g\t%s\t%s\t%s\t%s\n", mark, s.Step, s.Loss, s.GradNorm, s.LearningRate,
			words.Count(s.TokensPerSec), brief(s.Seconds), brief(s.DataWait), end)
	}
	return w.Flush()
}

// brief is a time with three digits, however short it is.
func brief(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	unit := time.Nanosecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
