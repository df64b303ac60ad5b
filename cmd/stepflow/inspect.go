package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/gpu/cuda"
	"stepflow/runtime"
	"stepflow/runtime/durable"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// state opens the state of the pipeline that -dir names, for reading.
func (a *app) state() (*state.Dir, error) {
	path, err := a.statePath()
	if err != nil {
		return nil, err
	}
	d, err := state.Read(path)
	if err == nil && d.Lost {
		return nil, fmt.Errorf("%s is lost, though there are results beside it: \"stepflow state rebuild\" makes it again; so does apply", filepath.Join(path, state.FileName))
	}
	return d, err
}

// statePath is the folder of the state that -state-dir or -dir names.
func (a *app) statePath() (string, error) {
	if a.stateDir != "" {
		return a.stateDir, nil
	}
	dir := a.dir
	if st, err := os.Stat(dir); err == nil && !st.IsDir() {
		dir = filepath.Dir(dir)
	}
	return state.Default(dir)
}

func showCommand() command {
	return command{name: "show", args: "[flags] [ADDR]", most: 1, flags: inspectFlags,
		short:    "Shows the state: what has run.",
		synopsis: "Shows the state: what has run, its numbers and checkpoints. ADDR narrows it to one block.",
		example:  "stepflow show -dir pipelines/quickstart stage.seed",
		run: func(a *app, args []string) int {
			d, err := a.state()
			if err != nil {
				return a.fail(err)
			}
			if len(args) == 1 {
				b := d.State.Blocks[args[0]]
				if b == nil {
					return a.fail(fmt.Errorf("the state has no block %s.%s", args[0], dsl.Suggest(args[0], d.State.Names())))
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

// inspectFlags are those of commands whose argument is something else than the pipeline.
func inspectFlags(a *app, f *flag.FlagSet) {
	f.BoolVar(&a.json, "json", false, "write JSON for machines")
	f.StringVar(&a.stateDir, "state-dir", "", "folder of state, checkpoints and caches (default: .stepflow in the pipeline's folder)")
	f.StringVar(&a.dir, "dir", ".", "folder of the pipeline")
}

func (a *app) printBlock(name string, b *state.Block) int {
	if a.json {
		a.line(blockJSON(b))
		return exitOK
	}
	fmt.Fprintf(a.stdout, "%s: %s", a.paint(bold, name), b.Status)
	if b.Steps > 0 {
		fmt.Fprintf(a.stdout, ", step %d of %d", b.Step, b.Steps)
	}
	fmt.Fprintln(a.stdout)
	if b.Dir != "" {
		fmt.Fprintf(a.stdout, "  files    %s\n", b.Dir)
	}
	if b.Content != "" {
		fmt.Fprintf(a.stdout, "  content  %s\n", b.Content)
	}
	if m := b.Memory; m != nil {
		fmt.Fprintf(a.stdout, "  memory   planned %d bytes, allocated %d; vanilla %d\n", m.Planned, m.Measured, m.Vanilla)
	}
	for _, k := range slices.Sorted(maps.Keys(b.Values)) {
		v, err := json.Marshal(b.Values[k])
		if err == nil {
			fmt.Fprintf(a.stdout, "  %-8s %s\n", k, v)
		}
	}
	if b.Error != "" {
		fmt.Fprintf(a.stdout, "  error    %s\n", b.Error)
	}
	return exitOK
}

// stateJSON is the state with the attributes' values in place of their texts, and without what seals the sensitive ones.
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
		values[n], _ = runtime.Plain(dsl.Read(text))
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

func outputCommand() command {
	var raw bool
	return command{name: "output", args: "[flags] [NAME]", most: 1,
		short: "Prints the outputs of the last apply.",
		flags: func(a *app, f *flag.FlagSet) {
			inspectFlags(a, f)
			f.BoolVar(&raw, "raw", false, "print a string, number or bool as it is: no quotes, no newline")
		},
		synopsis: "Prints the outputs of the last apply, or one of them.",
		example:  "stepflow output -dir pipelines/quickstart -raw perplexity",
		run: func(a *app, args []string) int {
			d, err := a.state()
			if err != nil {
				return a.fail(err)
			}
			switch {
			case raw && a.json:
				return a.fail(errors.New("-raw and -json exclude each other: -raw prints a text as it is, -json a value with quotes"))
			case raw && len(args) == 0:
				return a.fail(errors.New("-raw prints one output: name it"))
			case len(args) == 1:
				o, ok := d.State.Outputs[args[0]]
				if !ok {
					return a.fail(fmt.Errorf("there is no output %q.%s", args[0], dsl.Suggest(args[0], slices.Sorted(maps.Keys(d.State.Outputs)))))
				}
				return a.printOutput(args[0], o, raw)
			case a.json:
				out := map[string]any{}
				for n, o := range d.State.Outputs {
					out[n] = outputJSON(o)
				}
				a.line(out)
				return exitOK
			}
			for _, n := range slices.Sorted(maps.Keys(d.State.Outputs)) {
				fmt.Fprintf(a.stdout, "%s = %s\n", n, runtime.OutputText(d.State.Outputs[n]))
			}
			return exitOK
		}}
}

// printOutput prints one output: raw as it is, without a newline, as JSON, or in the language's syntax.
func (a *app) printOutput(name string, o state.Output, raw bool) int {
	if o.Sensitive {
		return a.fail(fmt.Errorf("output %q is sensitive, so its value is not kept: sensitive values are neither printed nor stored", name))
	}
	switch {
	case a.json:
		a.line(o.Value)
	case !raw:
		fmt.Fprintln(a.stdout, runtime.OutputText(o))
	default:
		switch o.Value.(type) {
		case string:
			fmt.Fprint(a.stdout, o.Value)
		case float64, bool, json.Number:
			fmt.Fprint(a.stdout, runtime.OutputText(o))
		default:
			return a.fail(fmt.Errorf("output %q is not a string, number or bool: -raw prints only these; use -json", name))
		}
	}
	return exitOK
}

// outputJSON is an output as Terraform writes it.
func outputJSON(o state.Output) map[string]any {
	m := map[string]any{"sensitive": o.Sensitive, "type": o.Type, "value": o.Value}
	if len(o.Type) == 0 {
		delete(m, "type") // of an older state
	}
	if o.Description != "" {
		m["description"] = o.Description
	}
	return m
}

func stateCommand() command {
	return command{name: "state", args: "list | check | rebuild | rm ADDR …", most: 100, flags: inspectFlags,
		short:    "Lists, checks or forgets the blocks in the state.",
		synopsis: "Lists the blocks in the state, checks the state, makes a lost or damaged state again from the results on disk, or forgets blocks: their files are removed and they run again.",
		example:  "stepflow state list -dir pipelines/quickstart\nstepflow state rm -dir pipelines/quickstart evaluate.perplexity.final",
		run: func(a *app, args []string) int {
			switch {
			case len(args) == 1 && args[0] == "list":
				d, err := a.state()
				if err != nil {
					return a.fail(err)
				}
				for _, n := range d.State.Names() {
					fmt.Fprintln(a.stdout, n)
				}
				return exitOK
			case len(args) == 1 && args[0] == "check":
				d, err := a.state()
				if err != nil {
					return a.fail(err)
				}
				if err := runtime.CheckState(d); err != nil {
					return a.fail(err)
				}
				fmt.Fprintf(a.stdout, "%d blocks, all as recorded.\n", len(d.State.Blocks))
				return exitOK
			case len(args) == 1 && args[0] == "rebuild":
				return a.rebuild()
			case len(args) >= 2 && args[0] == "rm":
				return a.forget(args[1:])
			}
			fmt.Fprintln(a.stderr, "stepflow state: write state list, state check, state rebuild or state rm ADDR …")
			return exitUsage
		}}
}

// rebuild makes the state again from what is on disk. What the state file held before is kept beside it.
func (a *app) rebuild() int {
	path, err := a.statePath()
	if err != nil {
		return a.fail(err)
	}
	if _, err := os.Stat(path); err != nil {
		return a.fail(fmt.Errorf("there is no state to rebuild: %w", err))
	}
	d, kept, err := state.Replace(path)
	if err != nil {
		return a.fail(err)
	}
	defer d.Close()
	skipped, err := runtime.RebuildState(d)
	if err == nil {
		err = d.Save()
	}
	if err != nil {
		return a.fail(err)
	}
	for _, n := range d.State.Names() {
		b := d.State.Blocks[n]
		fmt.Fprintf(a.stdout, "%s: %s", n, b.Status)
		if b.Steps > 0 {
			fmt.Fprintf(a.stdout, ", step %d of %d", b.Step, b.Steps)
		}
		fmt.Fprintln(a.stdout)
	}
	for _, s := range skipped {
		fmt.Fprintf(a.stderr, "%s left out %s\n", a.paint(yellow, "Warning:"), s)
	}
	fmt.Fprintf(a.stdout, "The state has %s again. Outputs come back with the next apply.\n", plural(len(d.State.Blocks), "block"))
	if kept != "" {
		fmt.Fprintf(a.stdout, "What the state file held is kept in %s.\n", kept)
	}
	return exitOK
}

// forget checks all names before it removes the first.
func (a *app) forget(names []string) int {
	read, err := a.state()
	if err != nil {
		return a.fail(err)
	}
	missing := func(s *state.State) error {
		for _, n := range names {
			if s.Blocks[n] == nil {
				return fmt.Errorf("the state has no block %s.%s Nothing was removed", n, dsl.Suggest(n, s.Names()))
			}
		}
		return nil
	}
	if err := missing(read.State); err != nil {
		return a.fail(err)
	}
	d, err := state.Open(read.Path)
	if err != nil {
		return a.fail(err)
	}
	defer d.Close()
	if err := missing(d.State); err != nil { // another process may have removed one meanwhile
		return a.fail(err)
	}
	if err := runtime.Forget(d, names); err != nil {
		return a.fail(err)
	}
	for _, n := range names {
		fmt.Fprintf(a.stdout, "removed %s\n", n)
	}
	return exitOK
}

func devicesCommand() command {
	return command{name: "devices", args: "[-json]", short: "Lists the devices this binary can use.", synopsis: "Lists the devices this binary can use, with memory.", example: "stepflow devices",
		flags: func(a *app, f *flag.FlagSet) { f.BoolVar(&a.json, "json", false, "write JSON for machines") },
		run: func(a *app, _ []string) int {
			d, err := a.openDevice()
			if err != nil {
				return a.fail(err)
			}
			defer d.Close()
			c := d.Caps()
			peak, half := d.PeakFLOPs(gpu.F32), d.PeakFLOPs(gpu.BF16)
			if a.json {
				list := []map[string]any{{"device": c.Kind, "name": c.Name, "memory_bytes": c.Memory, "threads": c.Threads, "peak_flops": peak, "peak_flops_bf16": half, "bandwidth": d.Bandwidth(), "precision": []string{"fp32", "bf16"}}}
				cards, err := cuda.Find()
				for i, c := range cards {
					list = append(list, map[string]any{"device": fmt.Sprintf("cuda:%d", i), "name": c.Name, "memory_bytes": c.Total, "compute_capability": fmt.Sprintf("%d.%d", c.Major, c.Minor), "driver": c.Driver, "usable": c.Usable()})
				}
				if err != nil {
					list = append(list, map[string]any{"device": "cuda", "error": err.Error()})
				}
				a.line(list)
				return exitOK
			}
			fmt.Fprintf(a.stdout, "cpu   %s, %d threads, %s; measured: %sFLOP/s in fp32, %sFLOP/s in bf16, %sB/s\n", c.Name, c.Threads, dsl.FormatBytes(c.Memory), count(peak), count(half), count(d.Bandwidth()))
			cards, err := cuda.Find()
			for i, c := range cards {
				fmt.Fprintf(a.stdout, "cuda:%d  %s\n", i, describe(c))
			}
			if err != nil {
				fmt.Fprintf(a.stdout, "cuda  none: %v\n", err)
			}
			return exitOK
		}}
}

// describe tells a card, and why if it can't be used.
func describe(c cuda.Card) string {
	s := fmt.Sprintf("%s, compute capability %d.%d, %s, %d multiprocessors, driver for CUDA %s", c.Name, c.Major, c.Minor, dsl.FormatBytes(c.Total), c.Processors, c.Driver)
	if !c.Usable() {
		s += "; not usable: stepflow's kernels need compute capability 8.0"
	}
	return s
}

func schemaCommand() command {
	var markdown, names bool
	return command{name: "schema", args: "[-json | -markdown | -tracing]", short: "Prints the language: blocks, attributes and functions.", synopsis: "Prints the language: every block, attribute and function. As JSON for editors, or as the reference page; or the names of spans, attributes and metrics.", example: "stepflow schema -json",
		flags: func(a *app, f *flag.FlagSet) {
			f.BoolVar(&a.json, "json", false, "write JSON for machines")
			f.BoolVar(&markdown, "markdown", false, "write the reference page")
			f.BoolVar(&names, "tracing", false, "write the page of traces, metrics and logs")
		},
		run: func(a *app, _ []string) int {
			switch {
			case a.json:
				a.line(dsl.SchemaJSON())
			case names:
				fmt.Fprint(a.stdout, tracing.Page())
			default:
				fmt.Fprint(a.stdout, dsl.Reference())
			}
			return exitOK
		}}
}

func sampleCommand() command {
	out, perGroup := "data", 32
	return command{name: "sample", args: "go-docs [-o DIR]", most: 1,
		short:    "Writes sample data.",
		synopsis: "Writes sample data. go-docs: the documentation comments of the Go standard library, one document a package, as parquet with FineWeb-Edu's columns.",
		example:  "stepflow sample go-docs -o pipelines/quickstart/data",
		flags: func(_ *app, f *flag.FlagSet) {
			f.StringVar(&out, "o", "data", "folder to write to")
			f.IntVar(&perGroup, "rows", 32, "rows in a row group")
		},
		run: func(a *app, args []string) int {
			if len(args) != 1 || args[0] != "go-docs" || perGroup < 1 {
				fmt.Fprintln(a.stderr, "stepflow sample: the only sample is go-docs: stepflow sample go-docs -o DIR")
				return exitUsage
			}
			path := filepath.Join(out, "go-docs.parquet")
			file := durable.UserFile{Path: path, Ours: fineweb.Encoded, Refusal: "exists and is not a sample of stepflow; choose another folder, or remove it"}
			if _, err := os.Stat(path); err == nil {
				if err := file.Check(); err != nil {
					return a.fail(err)
				}
			}
			root, err := exec.Command("go", "env", "GOROOT").Output()
			if err != nil {
				return a.fail(fmt.Errorf("the sample is made of the Go standard library's documentation, and go env GOROOT failed: %w", err))
			}
			rows, err := fineweb.GoDocs(strings.TrimSpace(string(root)))
			if err != nil {
				return a.fail(err)
			}
			if err := durable.MkdirAll(out, 0o777); err != nil {
				return a.fail(err)
			}
			var b bytes.Buffer
			if err := fineweb.EncodeParquet(&b, rows, perGroup); err != nil {
				return a.fail(err)
			}
			if _, err := file.Write(b.Bytes()); err != nil {
				return a.fail(err)
			}
			n := 0
			for _, r := range rows {
				n += len(r.Text)
			}
			fmt.Fprintf(a.stdout, "%s: %d documents, %s of text\n", path, len(rows), dsl.FormatBytes(int64(n)))
			return exitOK
		}}
}

func versionCommand() command {
	return command{name: "version", short: "Prints the version.", synopsis: "Prints the version.", run: func(a *app, _ []string) int {
		fmt.Fprintf(a.stdout, "stepflow %s\n", version())
		return exitOK
	}}
}

func completionCommand() command {
	return command{name: "completion", args: "bash|zsh|fish", most: 1, short: "Prints a completion script for a shell.", synopsis: "Prints a completion script for a shell.", example: "source <(stepflow completion bash)",
		run: func(a *app, args []string) int {
			var names []string
			for _, c := range commands {
				names = append(names, c.name)
			}
			words := strings.Join(names, " ")
			switch strings.Join(args, " ") {
			case "bash":
				fmt.Fprintf(a.stdout, "_stepflow() {\n  local cur=${COMP_WORDS[COMP_CWORD]}\n  if [ \"$COMP_CWORD\" = 1 ]; then COMPREPLY=($(compgen -W %q -- \"$cur\")); else COMPREPLY=($(compgen -f -- \"$cur\")); fi\n}\ncomplete -o filenames -F _stepflow stepflow\n", words)
			case "zsh":
				fmt.Fprintf(a.stdout, "#compdef stepflow\n_stepflow() { if (( CURRENT == 2 )); then compadd %s; else _files; fi }\ncompdef _stepflow stepflow\n", words)
			case "fish":
				for _, c := range commands {
					fmt.Fprintf(a.stdout, "complete -c stepflow -n __fish_use_subcommand -a %s -d %q\n", c.name, c.short)
				}
			default:
				fmt.Fprintln(a.stderr, "stepflow completion: name a shell: bash, zsh or fish")
				return exitUsage
			}
			return exitOK
		}}
}
