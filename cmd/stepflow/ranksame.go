package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/dsl"
	"stepflow/gpu/group"
	"stepflow/gpu/ranks"
	"stepflow/runtime/apply"
	"stepflow/runtime/plan"
)

// planned is what a rank tells the others when it has planned.
type planned struct {
	OK    bool
	Text  string // what it printed
	Facts []group.Fact
}

// planTogether plans on every rank, and returns whether all have the same plan. Rank 0 says what is wrong; what others have to
// say is said if rank 0 does not say the same. What the plan does not say of the run is in facts.
func (a *app) planTogether(args []string, facts ...group.Fact) (*plan.Plan, bool) {
	if a.ranks == nil {
		return a.plan(args, true)
	}
	said := &a.stderr
	if a.json {
		said = &a.stdout
	}
	to := *said
	kept := &tee{Writer: to}
	if a.mine != nil {
		a.mine.hold()
	} else {
		*said = kept
	}
	p, ok := a.plan(args, true)
	*said = to
	mine := planned{OK: ok, Text: kept.kept.String()}
	if a.mine != nil {
		mine.Text = a.mine.release()
	}
	var err error
	if ok {
		mine.Facts, err = a.facts(p)
	}
	mine.Facts = append(mine.Facts, facts...)
	if err := a.agree(err); err != nil {
		a.fail(err)
		return p, false
	}
	all, err := ranks.Gather(a.ranks, mine)
	if err != nil {
		a.fail(err)
		return p, false
	}
	a.together = !a.samePlan(all)
	return p, !a.together
}

// samePlan reports whether all ranks have planned the same.
func (a *app) samePlan(all []planned) bool {
	said := map[string]bool{}
	var failed []int
	for r, x := range all {
		if x.OK {
			continue
		}
		failed = append(failed, r)
		a.sayOf(r, x.Text, said)
	}
	if len(failed) > 0 {
		if all[0].OK {
			a.fail(fmt.Errorf("rank 0 has a plan, and not %s: see above", a.ranks.Names(failed)))
		}
		return false
	}
	facts := make([][]group.Fact, len(all))
	for r, x := range all {
		facts[r] = x.Facts
	}
	var errs, warnings []error
	for _, d := range reasons(a.ranks.Differences(facts)) {
		switch {
		case !d.Mixed:
			errs = append(errs, fmt.Errorf("the ranks do not run the same: %s", d.Text))
		case a.allowMixed:
			warnings = append(warnings, fmt.Errorf("results may differ in their last bits from those of one kind: %s", d.Text))
		default:
			errs = append(errs, fmt.Errorf("the ranks run on different kinds, and results have the same bits on one kind only: %s. "+
				"-allow-mixed runs on them all the same", d.Text))
		}
	}
	if a.ranks.Number() == 0 {
		for _, w := range warnings {
			a.warn(w)
		}
	}
	if len(errs) > 0 {
		a.fail(errors.Join(errs...))
	}
	return len(errs) == 0
}

// sayOf has rank 0 write what a rank printed, where no rank before it printed the same.
func (a *app) sayOf(rank int, text string, said map[string]bool) {
	once := func(key string) bool {
		was := said[key]
		said[key] = true
		return !was && rank > 0 && a.ranks.Number() == 0
	}
	if a.json { // lines say their rank
		for line := range strings.Lines(text) {
			if once(unranked(line)) {
				fmt.Fprint(a.stdout, line)
			}
		}
		return
	}
	if once(strings.Join(strings.Fields(string(styles.ReplaceAll([]byte(text), nil))), " ")) {
		for line := range strings.Lines(text) {
			fmt.Fprintf(a.stderr, "%s%s", rankPrefix(rank, a.ranks.Members[rank].Host), line)
		}
	}
}

// unranked is a line of JSON without the rank that wrote it.
func unranked(line string) string {
	var m map[string]any
	if json.Unmarshal([]byte(line), &m) != nil {
		return line
	}
	delete(m, "rank")
	delete(m, "host")
	b, err := json.Marshal(m)
	if err != nil {
		return line
	}
	return string(b)
}

// reasons leaves out the blocks of a plan that differ because something before them does.
func reasons(all []group.Difference) []group.Difference {
	at := slices.IndexFunc(all, func(d group.Difference) bool { return strings.HasSuffix(d.Name, blockFact) })
	if at < 0 {
		return all
	}
	rest := slices.DeleteFunc(slices.Clone(all), func(d group.Difference) bool { return strings.HasSuffix(d.Name, blockFact) })
	if slices.ContainsFunc(rest, func(d group.Difference) bool { return !d.Mixed }) {
		return rest
	}
	return append(rest, all[at]) // the first: others are made from it
}

// blockFact ends the names of facts that are blocks.
const blockFact = " (the files it reads, or what it is made from)"

// facts are what must be the same on all ranks.
func (a *app) facts(p *plan.Plan) ([]group.Fact, error) {
	hash := func(s string) string {
		h := hmac.New(sha256.New, []byte(a.ranks.Members[0].Salt)) // values may be secret
		io.WriteString(h, s)
		return hex.EncodeToString(h.Sum(nil))
	}
	binary, err := executableHash()
	if err != nil {
		return nil, err
	}
	list := []group.Fact{{Name: "the version of stepflow", Value: version(), Shown: true}, {Name: "the executable file", Value: binary},
		{Name: "the blocks selected", Value: a.selection.Flags(), Shown: true}}
	for _, name := range slices.Sorted(maps.Keys(p.Config.Files)) {
		short := name
		if rel, err := filepath.Rel(p.Config.Dir, name); err == nil {
			short = rel
		}
		list = append(list, group.Fact{Name: "the file " + short, Value: hash(string(p.Config.Files[name].Bytes))})
	}
	for _, name := range slices.Sorted(maps.Keys(p.Config.Variables)) {
		v := p.Config.Variables[name]
		f := group.Fact{Name: "the variable " + name, Value: dsl.Show(v.Value), Shown: true}
		if v.Value.ContainsMarked() || len(f.Value) > 80 {
			plain, _ := v.Value.UnmarkDeep()
			f.Value, f.Shown = hash(plain.GoString()), false
		}
		list = append(list, f)
	}
	name := p.Caps.Name
	if at := strings.LastIndex(name, ", "); p.Caps.Kind == "cpu" && at >= 0 {
		name = name[at+2:] // the instruction set, on which the bits depend
	}
	list = append(list, group.Fact{Name: "the device", Value: p.Caps.Kind + ", " + name, Shown: true, Mixed: true},
		group.Fact{Name: "the kind of device", Value: p.Caps.Kind, Shown: true})
	if p.State != nil {
		list = append(list, group.Fact{Name: "the state in " + filepath.Base(p.StateDir),
			Value: fmt.Sprintf("serial %d", p.State.Serial), Shown: true})
	}
	for _, x := range p.Actions {
		if x.Recipe != "" {
			list = append(list, group.Fact{Name: x.Addr.String() + blockFact, Value: x.Recipe})
		}
	}
	return list, nil
}

// executableHash is a hash of the program that runs.
func executableHash() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// agree shares an error: where one rank has one, all end, and rank 0 says it.
func (a *app) agree(mine error) error {
	if a.ranks == nil {
		return mine
	}
	type word struct {
		Text        string
		Interrupted bool
	}
	var w word
	if mine != nil {
		w = word{a.secrets.Error(mine).Error(), errors.Is(mine, apply.ErrInterrupted)}
	}
	all, err := ranks.Gather(a.ranks, w)
	if err != nil {
		return err
	}
	errs, said := []error{mine}, map[string]bool{all[0].Text: true}
	for r, w := range all {
		if w.Interrupted {
			errs = append(errs, apply.ErrInterrupted)
			break
		}
		if w.Text != "" && !said[w.Text] {
			said[w.Text] = true
			errs = append(errs, fmt.Errorf("%s: %s", a.ranks.Members[r], w.Text))
		}
	}
	if a.ranks.Number() > 0 && all[0].Text != "" {
		errs = append(errs, fmt.Errorf("%s: %s", a.ranks.Members[0], all[0].Text))
	}
	err = errors.Join(errs...)
	a.together = err != nil
	return err
}
