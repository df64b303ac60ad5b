package main

import (
	_ "embed"
	"flag"
	"fmt"
	"html/template"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"stepflow/dsl"
	"stepflow/runtime"
	"stepflow/runtime/durable"
	"stepflow/runtime/metrics"
	"stepflow/runtime/state"
)

//go:embed report.html
var reportHTML string

func reportCommand() command {
	var out string
	return command{name: "report", args: "[-o FILE] [DIR]", most: 1,
		synopsis: "Writes one self-contained HTML page: loss curves, memory, the graph, evaluations, configuration. It needs no network to be read.",
		example:  "stepflow report -o report.html pipelines/quickstart",
		flags: func(a *app, f *flag.FlagSet) {
			common(a, f)
			f.StringVar(&out, "o", "", "file to write (default: report.html in the state's folder)")
		},
		run: func(a *app, args []string) int {
			p, ok := a.plan(args, false)
			if !ok {
				return exitError
			}
			d, err := state.Read(p.StateDir)
			if err != nil {
				return a.fail(err)
			}
			page, err := newReport(p, d)
			if err != nil {
				return a.fail(err)
			}
			html, err := page.render()
			if err != nil {
				return a.fail(err)
			}
			if out == "" {
				out = filepath.Join(p.StateDir, "report.html")
			}
			if err := durable.WriteFile(out, html); err != nil {
				return a.fail(err)
			}
			abs, err := filepath.Abs(out)
			if err != nil {
				return a.fail(err)
			}
			fmt.Fprintf(a.stdout, "%s\n", abs)
			return exitOK
		}}
}

// report is what the template shows.
type report struct {
	Title, Time, Version, Device string
	Note                         string
	Stages                       []stageRow
	LossByTokens, LossByFLOPs    template.HTML
	Memory, Graph                template.HTML
	Legend, MemoryLegend         []legend
	Evaluations                  []evalRow
	Samples                      []sampleRow
	Variables, Outputs           [][3]string
	Blocks                       []blockRow
	Warnings                     []string
}

type stageRow struct {
	Name, Status, Layers, Trainable, Frozen, Tokens, FLOPs, Planned, Measured, Vanilla, Saving, Loss, Speed, Merge string
}

type evalRow struct {
	Name, Model, Loss, Stderr, Perplexity, BitsPerByte, Tokens, Unigram, Guess string
}

type sampleRow struct {
	Name  string
	Texts []string
}

type blockRow struct {
	Name, Verb, Why string
	Attrs           [][2]string
}

type legend struct {
	Class, Name string
}

func newReport(p *runtime.Plan, d *state.Dir) (*report, error) {
	r := &report{Title: filepath.Base(absolute(p.Config.Dir)), Time: time.Now().Format("2006-01-02 15:04"), Version: version(), Device: p.Caps.Name}
	var curves []series
	ends := map[string]point{} // by stage: tokens and FLOPs seen when it ended
	for _, a := range p.Actions {
		name := a.Addr.String()
		b := d.State.Blocks[name]
		row := blockRow{Name: name, Verb: string(a.Verb), Why: a.Why}
		for _, n := range slices.Sorted(maps.Keys(a.Attrs)) {
			row.Attrs = append(row.Attrs, [2]string{n, a.Attrs[n]})
		}
		r.Blocks = append(r.Blocks, row)
		for _, w := range a.Warnings {
			r.Warnings = append(r.Warnings, name+": "+w)
		}
		if b != nil && b.Error != "" {
			r.Warnings = append(r.Warnings, name+": "+b.Error)
		}
		switch {
		case a.Stage != nil:
			steps, err := metrics.Read(filepath.Join(d.Path, a.Dir(), metrics.FileName))
			if err != nil {
				return nil, err
			}
			from := point{}
			if a.Stage.From != nil {
				from = ends[a.Stage.From.Addr.String()]
			}
			s := series{name: name, from: from, steps: steps, grown: a.Stage.Grow != nil}
			curves = append(curves, s)
			ends[name] = s.end()
			r.Stages = append(r.Stages, stageOf(a, b, steps))
		case a.Evaluate != nil && b != nil && b.Status == state.Done:
			r.addEvaluation(a, b)
		}
	}
	r.LossByTokens, r.Legend = lossChart(curves, false)
	r.LossByFLOPs, _ = lossChart(curves, true)
	r.Memory, r.MemoryLegend = memoryChart(p, d)
	r.Graph = graphChart(p, d)
	for _, n := range slices.Sorted(maps.Keys(p.Config.Variables)) {
		v := p.Config.Variables[n]
		r.Variables = append(r.Variables, [3]string{n, dsl.Show(v.Value), v.Source})
	}
	for _, n := range slices.Sorted(maps.Keys(d.State.Outputs)) {
		o := d.State.Outputs[n]
		v := "(sensitive)"
		if o.Value == nil && !o.Sensitive {
			continue
		}
		if !o.Sensitive {
			v = fmt.Sprint(o.Value)
			if f, ok := o.Value.(float64); ok {
				v = fmt.Sprintf("%.6g", f)
			}
		}
		r.Outputs = append(r.Outputs, [3]string{n, v, o.Description})
	}
	if len(d.State.Blocks) == 0 {
		r.Note = "Nothing has run yet: the figures below are planned."
	}
	return r, nil
}

func absolute(p string) string {
	if abs, err := filepath.Abs(p); err == nil {
		return abs
	}
	return p
}

func stageOf(a *runtime.Action, b *state.Block, steps []metrics.Step) stageRow {
	f := a.Stage.Figures
	row := stageRow{Name: a.Addr.String(), Status: string(a.Verb), Layers: fmt.Sprint(f.Layers), Trainable: count(float64(f.Trainable + f.Adapter)), Frozen: count(float64(f.Frozen)),
		Tokens: count(float64(f.Tokens)), FLOPs: count(f.FLOPs), Planned: dsl.FormatBytes(f.Peak), Measured: "not run", Vanilla: dsl.FormatBytes(a.Stage.Vanilla.Peak),
		Saving: fmt.Sprintf("%.1f %%", 100*(1-float64(f.Peak)/float64(a.Stage.Vanilla.Peak)))}
	if b == nil {
		return row
	}
	row.Status = b.Status
	if b.Memory != nil {
		row.Measured = dsl.FormatBytes(b.Memory.Measured)
		if b.Memory.Measured == b.Memory.Planned {
			row.Measured = "equal to the byte"
		}
	}
	if l, ok := b.Values["loss"].(float64); ok {
		row.Loss = fmt.Sprintf("%.4f", l)
	}
	if m, ok := b.Values["merge_difference"].(float64); ok && len(a.Stage.Adapters) > 0 {
		row.Merge = fmt.Sprintf("%.1e", m)
	}
	var seconds float64
	for _, s := range steps {
		seconds += s.Seconds
	}
	if seconds > 0 {
		row.Speed = count(float64(int64(len(steps))*a.Stage.StepTokens())/seconds) + "/s"
	}
	return row
}

func (r *report) addEvaluation(a *runtime.Action, b *state.Block) {
	name := a.Addr.String()
	if texts, ok := b.Values["texts"].([]any); ok {
		row := sampleRow{Name: name}
		for _, t := range texts {
			row.Texts = append(row.Texts, fmt.Sprint(t))
		}
		r.Samples = append(r.Samples, row)
		return
	}
	num := func(k, format string) string {
		if f, ok := b.Values[k].(float64); ok {
			return fmt.Sprintf(format, f)
		}
		return ""
	}
	r.Evaluations = append(r.Evaluations, evalRow{Name: name, Model: a.Attrs["model"], Loss: num("loss", "%.4f"), Stderr: num("stderr", "%.4f"), Perplexity: num("perplexity", "%.2f"),
		BitsPerByte: num("bits_per_byte", "%.4f"), Tokens: num("tokens", "%.0f"), Unigram: num("unigram_entropy", "%.4f"), Guess: num("random_guess", "%.4f")})
}
