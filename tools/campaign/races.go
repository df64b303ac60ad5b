//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func races() []act {
	return []act{
		{name: "race: applies", do: raceApplies},
		{name: "race: apply and other commands", do: raceOthers},
	}
}

// raceApplies starts two or three at a time.
func raceApplies(t *trial) error {
	if _, err := t.choose(true); err != nil {
		return err
	}
	had := t.kept()
	var list []*proc
	for range 2 + t.rng.IntN(2) {
		list = append(list, t.start(t.applyArgs(), nil))
		time.Sleep(time.Duration(t.rng.IntN(100)) * time.Millisecond)
	}
	done := 0
	for _, p := range list {
		p.wait()
		if err := p.sane(); err != nil {
			return err
		}
		if p.code == 0 {
			done++
			if err := t.redone(p, expectation{had: had}); err != nil {
				return err
			}
		} else if s := p.said(); !strings.Contains(s, "in use") && !strings.Contains(s, "plan again") {
			return fmt.Errorf("an apply that came second ends with %d: %s", p.code, first(s))
		}
	}
	if done == 0 {
		return errors.New("no apply of several came through")
	}
	return t.settle(expectation{had: t.kept()})
}

// raceOthers runs commands beside an apply.
func raceOthers(t *trial) error {
	if _, err := t.choose(true); err != nil {
		return err
	}
	had := t.kept()
	p := t.start(t.applyArgs(), nil)
	for range 2 + t.rng.IntN(5) {
		args := [][]string{
			{"plan", "-json", "w"},
			{"report", "-o", "report.html", "w"},
			{"watch", "-once", "w"},
			{"state", "rm", "-dir", "w", "evaluate.perplexity.final"},
			{"state", "check", "-dir", "w"},
			{"state", "list", "-dir", "w"},
			{"output", "-json", "-dir", "w"},
			{"show", "-dir", "w"},
			{"fmt", "w"},
		}[t.rng.IntN(9)]
		time.Sleep(time.Duration(t.rng.IntN(80)) * time.Millisecond)
		q := t.run(args...)
		if err := q.sane(); err != nil {
			return err
		}
		if q.code != 0 && strings.TrimSpace(q.said()+q.stdout()) == "" {
			return fmt.Errorf("stepflow %s ends with %d and says nothing", strings.Join(args, " "), q.code)
		}
	}
	p.wait()
	if err := p.sane(); err != nil {
		return err
	}
	if s := p.said(); p.code != 0 && !strings.Contains(s, "in use") && !strings.Contains(s, "plan again") {
		return fmt.Errorf("apply beside other commands ends with %d: %s", p.code, first(s))
	}
	if err := t.redone(p, expectation{had: had}); err != nil {
		return err
	}
	os.Remove(filepath.Join(t.dir, "report.html"))
	return t.settle(expectation{had: t.kept()})
}
