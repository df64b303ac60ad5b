package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"

	"stepflow/runtime/apply"
	"stepflow/runtime/plan"
	"stepflow/runtime/words"
)

// confirm asks before trained work is lost; the plan that was shown says which. An error is a no.
func (a *app) confirm(p *plan.Plan) error {
	var lost []string
	for _, l := range p.Losses() {
		would := "would run again and throw away"
		switch {
		case l.Destroyed:
			would = "would be destroyed and throw away"
		case l.May:
			would = "may run again and throw away"
		}
		lost = append(lost, fmt.Sprintf("%s %s %s (%s, in %s), because %s",
			l.Block, would, words.Plural(l.Steps, "trained step"), l.Takes(), l.Folder, l.Why))
	}
	for _, x := range p.Actions {
		if x.Replaces != "" {
			lost = append(lost, fmt.Sprintf("%s would replace %s", x.Addr, x.Replaces))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	instead := "Use -auto-approve to allow it, or another -state-dir (for an export, another path) to keep both"
	if slices.ContainsFunc(p.Losses(), func(l plan.Loss) bool { return !l.Destroyed }) {
		instead += ". A stage's steps stay until its new run has ended; to keep them, leave the stage as it was, and " +
			"continue from it in a new one"
	}
	return a.ask(lost, "run", instead)
}

// ask asks whether to go on, though things are lost. An error is a no: nothing was done, which did says in a word, and
// where nobody can be asked, instead is what to do.
func (a *app) ask(lost []string, did, instead string) error {
	in, ok := a.stdin.(*os.File)
	if a.json || ok && !isTerminal(in) {
		return fmt.Errorf("%s. Nothing was %s. %s", strings.Join(lost, ". "), did, instead)
	}
	fmt.Fprintf(a.stderr, "%s\nGo on? Only \"yes\" is taken: ", strings.Join(lost, ".\n")+".")
	answer := make(chan string, 1)
	go func() {
		s, _ := bufio.NewReader(a.stdin).ReadString('\n')
		answer <- strings.TrimSpace(s)
	}()
	select {
	case s := <-answer:
		if s == "yes" {
			return nil
		}
		return fmt.Errorf("nothing was %s", did)
	case <-a.ctx.Done():
		fmt.Fprintln(a.stderr)
		return fmt.Errorf("%w: nothing was %s", apply.ErrInterrupted, did)
	}
}

// yes asks something of a run that was interrupted already.
func (a *app) yes(question string) bool {
	fmt.Fprint(a.stderr, question)
	s, _ := bufio.NewReader(a.stdin).ReadString('\n')
	return strings.TrimSpace(s) == "yes"
}
