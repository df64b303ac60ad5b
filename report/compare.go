package report

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"stepflow/dsl/addr"
	"stepflow/runtime/metrics"
)

// trainingLoss is the path of the column of the loss at the end of training.
const trainingLoss = "loss"

// Compare makes a table of the runs: a row for each stage from which no other goes on, with those before it. Addresses
// choose stages instead.
func Compare(runs []*Run, addresses []string) (*Table, error) {
	t := &Table{}
	var all []*chain
	found := map[string]bool{}
	for _, r := range runs {
		by := map[string]*Block{}
		for _, b := range r.Blocks {
			by[b.Address] = b
		}
		for _, b := range ends(r, addresses) {
			for _, a := range addresses {
				found[a] = found[a] || covers(a, b.Address)
			}
			c := &chain{run: r, end: b, by: by, settings: map[string]any{}}
			c.read(b)
			all = append(all, c)
		}
	}
	for _, a := range addresses {
		if !found[a] {
			return nil, fmt.Errorf("%s is not a stage of the runs that are compared, nor a module of theirs", a)
		}
	}
	if len(all) < 2 {
		return nil, errors.New("there is one run to compare: name several folders, or one whose stages are repeated")
	}
	for _, c := range all {
		row := &Row{Address: c.end.Address, Status: c.end.Status, Values: map[string]any{}, chain: c}
		if len(runs) > 1 {
			row.Run = c.run.Name
		}
		t.Rows = append(t.Rows, row)
	}
	t.settings(all)
	t.figures(all)
	t.results(all)
	t.tasks(all)
	seeded := slices.ContainsFunc(t.Columns, func(c *Column) bool { return c.differs && strings.HasSuffix(c.Path, ".data.seed") })
	for i, c := range all {
		t.Rows[i].made = c.made(seeded)
	}
	t.means()
	return t, nil
}

// ends lists the stages of a run from which no other goes on, all or those in modules that addresses name; and each
// stage that one names itself.
func ends(r *Run, addresses []string) (list []*Block) {
	goesOn := map[string]bool{}
	for _, b := range r.Blocks {
		if trains(b) {
			goesOn[b.Stage.From] = true
		}
	}
	for _, b := range r.Blocks {
		last := !goesOn[b.Address]
		chosen := slices.ContainsFunc(addresses, func(a string) bool {
			x, err := addr.ParseAny(a)
			return err == nil && (last || !x.IsModule()) && covers(a, b.Address)
		})
		if trains(b) && (chosen || len(addresses) == 0 && last) {
			list = append(list, b)
		}
	}
	return list
}

// covers reports whether an address names a block, all its instances, or a module that it is in.
func covers(address, block string) bool {
	x, err := addr.ParseAny(address)
	y, err2 := addr.Parse(block)
	return err == nil && err2 == nil && x.Covers(y)
}

// unkeyed is an address without the keys of instances.
func unkeyed(address string) string {
	var b strings.Builder
	depth, quoted := 0, false
	for i := 0; i < len(address); i++ {
		switch c := address[i]; {
		case quoted && c == '\\':
			i++
		case depth > 0 && c == '"':
			quoted = !quoted
		case quoted:
		case c == '[':
			depth++
		case c == ']':
			depth--
		case depth == 0:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// chain is a stage with all that it is made from.
type chain struct {
	run      *Run
	end      *Block
	by       map[string]*Block
	settings map[string]any // attributes by path
}

// stages lists the stage and those that it goes on from.
func (c *chain) stages() (list []*Stage) {
	for b := c.end; trains(b) && !slices.Contains(list, b.Stage); b = c.by[b.Stage.From] {
		list = append(list, b.Stage)
	}
	return list
}

// made says which settings there are, of which stages, and on which data these were trained, unless these have seeds that
// differ: then their ids do. Runs of different folders for which it is the same were made in the same way.
func (c *chain) made(seeded bool) string {
	parts := slices.Sorted(maps.Keys(c.settings))
	at := c.end
	for range c.stages() {
		parts = append(parts, unkeyed(at.Address))
		for _, data := range slices.Sorted(maps.Keys(at.data)) {
			if !seeded {
				data += at.data[data]
			}
			parts = append(parts, data)
		}
		at = c.by[at.Stage.From]
	}
	return strings.Join(parts, "\x00")
}

// trains reports whether a block is a stage, with its plan.
func trains(b *Block) bool { return b != nil && b.Stage != nil && b.Stage.Training != nil }

// read reads the attributes of a block and of the blocks that it refers to, each block once, by the shortest path. The value of a
// reference is the type of the block that it names.
func (c *chain) read(b *Block) {
	type place struct {
		block  *Block
		prefix string
	}
	seen := map[*Block]bool{b: true}
	for queue := []place{{b, "stage."}}; len(queue) > 0; {
		at := queue[0]
		queue = queue[1:]
		for _, x := range at.block.Attrs {
			path, value := at.prefix+x[0], plainText(x[1])
			other := c.referred(value)
			switch {
			case other == nil:
				c.settings[path] = value
			default:
				if other.Type != "" {
					c.settings[path] = other.Type
				}
				if !seen[other] {
					seen[other] = true
					queue = append(queue, place{other, path + "."})
				}
			}
		}
	}
	if _, ok := c.settings[adapterPath]; !ok {
		c.settings[adapterPath] = "none" // which is a method, too
	}
}

// adapterPath is the path of the adapter of a stage.
const adapterPath = "stage.adapter"

// referred returns the block that an attribute names, or names a part of; nil if it does not name one.
func (c *chain) referred(value any) *Block {
	text, _ := value.(string)
	if b := c.by[text]; b != nil {
		return b
	}
	if i := strings.LastIndexByte(text, '.'); i > 0 {
		return c.by[text[:i]] // a split of data
	}
	return nil
}

// plainText returns an attribute as a number, or as a text without quotes.
func plainText(text string) any {
	if x, err := strconv.ParseFloat(text, 64); err == nil && metrics.Finite(x) {
		return x
	}
	if s, err := strconv.Unquote(text); err == nil {
		return s
	}
	return text
}

// settings adds the columns of attributes.
func (t *Table) settings(all []*chain) {
	paths := map[string]bool{}
	for _, c := range all {
		for p := range c.settings {
			paths[p] = true
		}
	}
	var list []*Column
	columns := map[string]bool{} // by what they would show
	for _, p := range slices.SortedFunc(maps.Keys(paths), shortestFirst) {
		c := &Column{Path: p, Group: Setting}
		shown := p[strings.LastIndexByte(p, '.')+1:]
		var first any
		for _, x := range all {
			// A setting that some have and others have not tells how these are made, not what was tried.
			v := x.settings[p]
			first = cmp.Or(first, v)
			c.differs = c.differs || v != nil && v != first
			shown += fmt.Sprintf("\x00%v", v)
		}
		if !columns[shown] {
			columns[shown] = true
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b *Column) int { return order(b.differs) - order(a.differs) })
	nameColumns(list)
	for i, x := range all {
		for _, c := range list {
			if v, ok := x.settings[c.Path]; ok {
				t.Rows[i].Values[c.Name] = v
			}
		}
	}
	t.Columns = append(t.Columns, list...)
}

// order is the place of false before true.
func order(b bool) int {
	if b {
		return 1
	}
	return 0
}

func shortestFirst(a, b string) int {
	return cmp.Or(strings.Count(a, ".")-strings.Count(b, "."), cmp.Compare(a, b))
}

// reserved are the names of columns that are not attributes.
var reserved = []string{"run", "status", "tokens", "FLOPs", "peak", "time", trainingLoss}

// nameColumns gives each column the shortest end of its path that tells it from the others; those that differ come
// first.
func nameColumns(list []*Column) {
	taken := map[string]int{}
	for _, n := range reserved {
		taken[n]++
	}
	for _, differs := range []bool{true, false} {
		unnamed := slices.DeleteFunc(slices.Clone(list), func(c *Column) bool { return c.differs != differs })
		for parts := 1; len(unnamed) > 0; parts++ {
			for _, c := range unnamed {
				taken[lastParts(c.Path, parts)]++
			}
			unnamed = slices.DeleteFunc(unnamed, func(c *Column) bool {
				n := lastParts(c.Path, parts)
				if taken[n] > 1 && n != c.Path {
					return false
				}
				c.Name = n
				return true
			})
		}
	}
}

// lastParts returns the last parts of a path.
func lastParts(path string, n int) string {
	all := strings.Split(path, ".")
	return strings.Join(all[max(len(all)-n, 0):], ".")
}

// add adds a column with a value for each chain; nil for none.
func (t *Table) add(c *Column, all []*chain, value func(*chain) any) {
	any := false
	for i, x := range all {
		if v := value(x); v != nil {
			t.Rows[i].Values[c.Name] = v
			any = true
		}
	}
	if any {
		t.Columns = append(t.Columns, c)
	}
}

// figures adds what training took: all stages of a chain together.
func (t *Table) figures(all []*chain) {
	figure := func(name string, unit Unit, value func(*Stage) float64, join func(a, b float64) float64) {
		t.add(&Column{Name: name, Path: name, Unit: unit, Group: Figure}, all, func(c *chain) any {
			sum := 0.0
			for _, s := range c.stages() {
				sum = join(sum, value(s))
			}
			if sum == 0 || !metrics.Finite(sum) {
				return nil
			}
			return sum
		})
	}
	sum := func(a, b float64) float64 { return a + b }
	figure("tokens", Tokens, func(s *Stage) float64 { return s.trains().tokens }, sum)
	figure("FLOPs", FLOPs, func(s *Stage) float64 { return s.trains().flops }, sum)
	figure("peak", Bytes, func(s *Stage) float64 { return float64(cmp.Or(s.Measured, s.Figures.Peak)) },
		func(a, b float64) float64 { return max(a, b) })
	figure("time", Seconds, func(s *Stage) float64 {
		switch {
		case s.Series == nil && s.Done > 0:
			return math.NaN() // it was trained elsewhere: a sum without it would be too small
		case s.Series == nil:
			return 0
		}
		return float64(s.Series.Seconds[len(s.Series.Seconds)-1])
	}, sum)
}

// trains is what a stage takes: as planned, or up to where it ended early.
func (s *Stage) trains() took {
	if s.Early {
		return s.Series.end()
	}
	return took{tokens: float64(s.Figures.Tokens), flops: s.Figures.FLOPs}
}

// results adds the losses: of training, and of each evaluation.
func (t *Table) results(all []*chain) {
	loss := func(b *Block) any {
		if v, ok := b.Values["loss"].(float64); ok {
			return v
		}
		return nil
	}
	t.add(&Column{Name: trainingLoss, Path: trainingLoss, Unit: Nats, Group: Result}, all,
		func(c *chain) any { return loss(c.end) })
	var names []string
	of := map[*chain]map[string]*Block{}
	for _, c := range all {
		of[c] = map[string]*Block{}
		for _, b := range c.run.Blocks {
			if b.Model == c.end.Address && loss(b) != nil {
				name := unkeyed(b.Address)
				of[c][name] = b
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	for _, n := range names {
		name := n[strings.LastIndexByte(n, '.')+1:]
		if slices.ContainsFunc(t.Columns, func(c *Column) bool { return c.Name == name }) {
			name = n
		}
		t.add(&Column{Name: name, Path: n, Unit: Nats, Group: Result}, all, func(c *chain) any {
			if b := of[c][n]; b != nil {
				return loss(b)
			}
			return nil
		})
	}
}
