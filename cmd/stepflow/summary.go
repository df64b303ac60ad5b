package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/foreign"
	"stepflow/runtime/apply"
	"stepflow/runtime/blocks"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/words"
)

// summary is what a run made.
type summary struct {
	began  time.Time
	ended  map[addr.Addr]map[string]any // the values of blocks that have ended
	memory map[addr.Addr]int64          // bytes of the device that blocks had
	begun  bool                         // a block was
}

func newSummary() *summary {
	return &summary{began: time.Now(), ended: map[addr.Addr]map[string]any{}, memory: map[addr.Addr]int64{}}
}

func (s *summary) event(e observe.Event) {
	switch e.Kind {
	case observe.BlockStart:
		s.begun = true
	case observe.StepDone:
		s.memory[e.Addr] = max(s.memory[e.Addr], e.Memory)
	case observe.BlockDone:
		s.ended[e.Addr] = e.Values
	}
}

// made says what the run of a plan made, in lines; none where no block ended. whole says that it came to its end.
func (s *summary) made(p *plan.Plan, whole bool) (lines []string) {
	if len(s.ended) == 0 {
		return nil
	}
	done, took := words.Plural(len(s.ended), "block"), words.Duration(time.Since(s.began).Seconds())
	text := fmt.Sprintf("Ran %s in %s.", done, took)
	if !whole {
		text = fmt.Sprintf("Stopped after %s, with %s done.", took, done)
	}
	lines = append(lines, text+s.peak(p))
	if losses := s.losses(p); len(losses) > 0 {
		lines = append(lines, "Loss in nats a token: "+strings.Join(losses, ", ")+".")
	}
	for _, a := range p.Actions {
		if w, ok := a.Block.(blocks.Writer); ok && s.ended[a.Addr] != nil {
			lines = append(lines, "Exported to "+foreign.Shown(nearby(w.Target()))+".")
		}
	}
	return lines
}

// peak says how much memory of the device the run took, and whether that was planned.
func (s *summary) peak(p *plan.Plan) string {
	var most int64
	planned := int64(0)
	for _, a := range p.Actions {
		if m := s.memory[a.Addr]; m > most {
			most, planned = m, 0
			if f, ok := a.Block.(blocks.Forecaster); ok && f.Takes() != nil {
				planned = f.Takes().Peak
			}
		}
	}
	switch {
	case most == 0:
		return ""
	case most == planned:
		return fmt.Sprintf(" Device memory: %s at most, as planned.", dsl.FormatBytes(most))
	case planned > 0:
		return fmt.Sprintf(" Device memory: %s at most; %s were planned.", dsl.FormatBytes(most),
			dsl.FormatBytes(planned))
	}
	return fmt.Sprintf(" Device memory: %s at most.", dsl.FormatBytes(most))
}

// lossesShown is how many losses a summary tells, the lowest.
const lossesShown = 4

// losses are those of the last stages, from which no other goes on, and of evaluations.
func (s *summary) losses(p *plan.Plan) (list []string) {
	type result struct {
		of   addr.Addr
		loss float64
	}
	var all []result
	for _, a := range s.final(p) {
		if loss, ok := s.ended[a.Addr]["loss"].(float64); ok {
			all = append(all, result{a.Addr, loss})
		}
	}
	shown := all
	if len(all) > lossesShown {
		shown = slices.Clone(all)
		slices.SortStableFunc(shown, func(x, y result) int { return cmp.Compare(x.loss, y.loss) })
		shown = shown[:lossesShown]
	}
	for _, r := range shown {
		list = append(list, fmt.Sprintf("%s %.4f", foreign.Shown(r.of.String()), r.loss))
	}
	if n := len(all) - len(shown); n > 0 {
		list = append(list, fmt.Sprintf("and %d that are higher", n))
	}
	return list
}

// final are the blocks that have a loss and from which no stage goes on.
func (s *summary) final(p *plan.Plan) (list []*plan.Action) {
	from := map[string]bool{}
	for _, a := range p.Actions {
		if t, ok := a.Block.(blocks.Trains); ok && t.Training() != nil {
			from[t.Training().From] = true
		}
	}
	for _, a := range p.Actions {
		if !from[a.Addr.String()] {
			list = append(list, a)
		}
	}
	return list
}

// runs counts the runs that can be compared: the last stages.
func (s *summary) runs(p *plan.Plan) (n int) {
	for _, a := range s.final(p) {
		if _, ok := a.Block.(blocks.Trains); ok && s.ended[a.Addr] != nil {
			n++
		}
	}
	return n
}

// next are commands that show what the run made, with what each does.
func (s *summary) next(a *app, done *apply.Applied, traced bool, file string) (list [][2]string) {
	p := done.Plan
	if len(s.ended) == 0 {
		return nil
	}
	report, output := " "+quoted(p.Config.Dir), " -dir "+quoted(p.Config.Dir)
	switch {
	case a.stateDir != "":
		report = " -state-dir " + quoted(a.stateDir) + report
		output = " -state-dir " + quoted(a.stateDir)
	case filepath.Clean(p.Config.Dir) == ".":
		report, output = "", ""
	}
	program := "stepflow "
	if a.chdir != "" {
		program += quoted(a.chdir) + " "
	}
	list = append(list, [2]string{program + "report" + report, "writes the run as a page"})
	if s.runs(p) > 1 {
		list = append(list, [2]string{program + "report -compare" + report,
			fmt.Sprintf("puts its %d models side by side", s.runs(p))})
	}
	if len(p.Outputs) > 0 {
		list = append(list, [2]string{program + "output" + output, "prints the outputs again"})
	}
	switch {
	case traced && file != "":
		list = append(list, [2]string{file, "has the spans of the run, a line of JSON each"})
	case traced:
		list = append(list, [2]string{"trace " + done.TraceID, "search for this id where you look at traces"})
	}
	return list
}

// printNext prints what can be done next.
func (a *app) printNext(list [][2]string) {
	if len(list) == 0 {
		return
	}
	width := 0
	for _, l := range list {
		width = max(width, visible(l[0]))
	}
	text := "Next:\n"
	for _, l := range list {
		text += "  " + l[0] + strings.Repeat(" ", width-visible(l[0])) + "  " + l[1] + "\n"
	}
	fmt.Fprint(a.stdout, wrapped(text, a.columns()))
}

// nearby is a path as it is reached from the working directory, where it lies below that.
func nearby(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(here); err == nil {
		here = real
	}
	if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// bare is an argument that shells take as it is.
var bare = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// quoted is an argument as it is written in a shell.
func quoted(arg string) string {
	if bare.MatchString(arg) {
		return arg
	}
	return "'" + strings.ReplaceAll(foreign.Shown(arg), "'", `'\''`) + "'"
}
