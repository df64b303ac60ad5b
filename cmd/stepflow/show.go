package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"

	"stepflow/dsl"
	"stepflow/runtime/saved"
	"stepflow/runtime/state"
)

func showCommand() command {
	step := 0
	return command{name: "show", args: "[flags] [ADDR | PLANFILE]", most: 1,
		short: "Shows the state, or a saved plan.",
		synopsis: "Shows the state: what has run, its numbers and checkpoints. ADDR narrows it to one block, and -step " +
			"to a step of a stage and the steps beside it. Of a file that plan -out saved, it shows the plan as plan did.",
		example: "stepflow show -dir pipelines/quickstart stage.seed\n" +
			"stepflow show -dir pipelines/quickstart -step 12 stage.seed\n" +
			"stepflow show -json FILE",
		flags: func(a *app, f *flag.FlagSet) {
			inspectFlags(a, f)
			f.IntVar(&step, "step", 0, "show the loss, rate and times of this step of the stage ADDR, counted from 1, and of those beside it")
		},
		run: func(a *app, args []string) int {
			if step < 0 || step > 0 && len(args) == 0 {
				return a.misuse("stepflow show: -step takes the number of a step, from 1, and needs a stage: stepflow show -step 12 stage.NAME")
			}
			if len(args) == 1 && isFile(args[0]) {
				return a.showPlan(args[0])
			}
			d, err := a.state()
			if err != nil {
				return a.fail(err)
			}
			if len(args) == 1 {
				b := d.State.Blocks[args[0]]
				if b == nil {
					if err := oneInstance(args[0], d.State.Names()); err != nil {
						return a.fail(err)
					}
					return a.fail(fmt.Errorf("the state has no block %s, and there is no such plan file.%s%s",
						args[0], instead(d.State, args[0]), aFolder(args[0])))
				}
				if step > 0 {
					if err := a.showStep(d, args[0], step); err != nil {
						return a.fail(err)
					}
					return exitOK
				}
				return a.printBlock(args[0], b)
			}
			if a.json {
				a.line(stateJSON(d.State))
				return exitOK
			}
			if len(d.State.Blocks) == 0 {
				fmt.Fprintln(a.stdout, "Nothing has run yet.")
			}
			for _, n := range d.State.Names() {
				a.printBlock(n, d.State.Blocks[n])
			}
			return exitOK
		}}
}

// isFile reports whether there is a file at a path, not a folder.
func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && !st.IsDir()
}

// showPlan shows a saved plan as plan showed it.
func (a *app) showPlan(path string) int {
	s, err := saved.Read(path)
	if err != nil {
		return a.fail(err)
	}
	if a.json {
		a.line(s.Shown.JSON)
	} else {
		fmt.Fprint(a.stdout, wrapped(s.Shown.Text, a.columns()))
	}
	return exitOK
}

func (a *app) printBlock(name string, b *state.Block) int {
	if a.json {
		a.line(blockJSON(b))
		return exitOK
	}
	a.printStatus(a.paint(bold, name), b)
	var lines [][2]string
	if b.Dir != "" {
		lines = append(lines, [2]string{"files", b.Dir})
	}
	if b.Content != "" {
		lines = append(lines, [2]string{"content", b.Content})
	}
	if m := b.Memory; m != nil {
		lines = append(lines, [2]string{"memory", fmt.Sprintf("planned %d bytes, allocated %d; vanilla %d",
			m.Planned, m.Measured, m.Vanilla)})
	}
	if text := b.RanksText(); text != "" {
		lines = append(lines, [2]string{"ranks", text})
	}
	for _, k := range slices.Sorted(maps.Keys(b.Values)) {
		if v, err := json.Marshal(b.Values[k]); err == nil {
			lines = append(lines, [2]string{k, string(v)})
		}
	}
	if b.Error != "" {
		lines = append(lines, [2]string{"error", b.Error})
	}
	width := 0
	for _, l := range lines {
		width = max(width, len(l[0]))
	}
	for _, l := range lines {
		fmt.Fprintf(a.stdout, "  %-*s  %s\n", width, l[0], l[1])
	}
	return exitOK
}

// printStatus prints how far a block is.
func (a *app) printStatus(name string, b *state.Block) {
	fmt.Fprintf(a.stdout, "%s: %s", name, b.Status)
	if b.Steps > 0 {
		fmt.Fprintf(a.stdout, ", step %d of %d", b.Step, b.Steps)
	}
	fmt.Fprintln(a.stdout)
}

// stateJSON is the state with the attributes' values in place of their texts, and without what seals the sensitive
// ones.
func stateJSON(s *state.State) map[string]any {
	m := asMap(s)
	delete(m, "salt")
	blocks, outputs := map[string]any{}, map[string]any{}
	for n, b := range s.Blocks {
		blocks[n] = blockJSON(b)
	}
	for n, o := range s.Outputs {
		outputs[n] = outputJSON(o)
	}
	m["blocks"], m["outputs"] = blocks, outputs
	return m
}

func blockJSON(b *state.Block) map[string]any {
	m := asMap(b)
	values, sensitive := map[string]any{}, map[string]bool{}
	for n, text := range b.Attrs {
		if text == dsl.Hidden {
			sensitive[n] = true
			continue
		}
		values[n], _ = dsl.Plain(dsl.Read(text))
	}
	m["attributes"], m["sensitive"] = values, sensitive
	return m
}

// asMap is a value's JSON as a map.
func asMap(v any) map[string]any {
	m := map[string]any{}
	if b, err := json.Marshal(v); err == nil {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		d.Decode(&m)
	}
	return m
}
