package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"strings"

	"stepflow/dsl"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/durable"
	"stepflow/runtime/look"
	"stepflow/runtime/plan"
	"stepflow/runtime/words"
)

func profileCommand() command {
	var out string
	steps, top := 5, 12
	return command{name: "profile", args: "[flags] [STAGE]", most: 1,
		short: "Measures the steps of a stage.",
		synopsis: "Runs a few training steps of a stage and shows where time and memory go. By kernel, layer and " +
			"phase, against the device's measured rates; and what holds memory at the peak. It needs no data and no " +
			"earlier stage: tokens and weights are random, and reading data is not measured. Without STAGE: the " +
			"stage that needs the most memory.",
		example: "stepflow profile -dir pipelines/quickstart -o trace.json stage.final",
		flags: func(a *app, f *flag.FlagSet) {
			common(a, f)
			f.StringVar(&a.dir, "dir", ".", "folder of the pipeline")
			f.StringVar(&out, "o", "",
				"write the step in Chrome's trace format, for ui.perfetto.dev or chrome://tracing; packed if the "+
					"name ends in .gz")
			f.IntVar(&steps, "steps", steps, "steps to measure")
			f.IntVar(&top, "top", top, "tensors to list at the peak of memory")
			f.IntVar(&a.threads, "threads", 0, "threads of the CPU device; 0 for one a processor")
		},
		run: func(a *app, args []string) int {
			if steps < 1 || top < 0 {
				return a.misuse("stepflow profile: -steps is at least 1, -top at least 0")
			}
			if out != "" {
				if err := traceFile(out).Check(); err != nil {
					return a.fail(err)
				}
			}
			p, ok := a.plan([]string{a.dir}, false)
			if !ok {
				return exitError
			}
			picked, err := pickStage(p, args)
			if err != nil {
				return a.fail(err)
			}
			d, err := a.openDevice()
			if err != nil {
				return a.fail(err)
			}
			defer d.Close()
			r, err := look.ProfileStage(a.ctx, picked, d, steps)
			if err != nil {
				return a.fail(fmt.Errorf("%s: %w", picked.Addr, err))
			}
			if out != "" {
				if err := writeTrace(r, out); err != nil {
					return a.fail(err)
				}
			}
			if a.json {
				a.line(r)
			} else {
				a.printProfile(r, top)
			}
			return exitOK
		}}
}

// pickStage finds the planned stage that the argument names, or the largest.
func pickStage(p *plan.Plan, args []string) (*stage.Stage, error) {
	var names []string
	var largest *stage.Stage
	for _, x := range p.Actions {
		s, ok := x.Block.(*stage.Stage)
		if !ok {
			continue
		}
		if len(args) == 1 && (args[0] == x.Addr.String() || args[0] == x.Addr.Name && x.Addr.Key == "") {
			return s, nil
		}
		names = append(names, x.Addr.String())
		if largest == nil || s.Figures.Peak > largest.Figures.Peak {
			largest = s
		}
	}
	switch {
	case len(args) == 1:
		if err := oneInstance(args[0], names); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("the pipeline has no planned stage %s.%s It has: %s",
			args[0], dsl.Suggest(args[0], names),
			strings.Join(names, ", "))
	case largest == nil:
		return nil, fmt.Errorf("the pipeline has no planned stage")
	}
	return largest, nil
}

func writeTrace(p *look.Profile, path string) error {
	var b bytes.Buffer
	var w io.Writer = &b
	if strings.HasSuffix(path, ".gz") {
		z := gzip.NewWriter(&b)
		defer z.Close()
		w = z
	}
	if err := p.WriteChromeTrace(w); err != nil {
		return err
	}
	if z, ok := w.(*gzip.Writer); ok {
		if err := z.Close(); err != nil {
			return err
		}
	}
	_, err := traceFile(path).Write(b.Bytes())
	return err
}

// traceFile is the file that a profile is written to: it replaces another profile, and nothing else.
func traceFile(path string) durable.UserFile {
	return durable.UserFile{Path: path, Ours: look.IsChromeTrace,
		Refusal: "exists and is not a profile of stepflow; choose another name, or remove it"}
}

func (a *app) printProfile(p *look.Profile, top int) {
	w := a.stdout
	fmt.Fprintf(w, "%s on %s, %s: %.2f ms a step of %d tokens, the median of %d; %.1f GFLOP/s, %.0f %% of the %.1f "+
		"measured; large copies run at %.1f GB/s\n",
		p.Stage, p.Device, p.Precision, 1e3*p.Seconds, p.Tokens, p.Steps, float64(p.FLOPs)/p.Seconds/1e9,
		100*float64(p.FLOPs)/p.Seconds/p.Peak, p.Peak/1e9, p.Bandwidth/1e9)
	for _, g := range []struct {
		name string
		rows []look.Share
	}{{"kernel", p.Kernels}, {"layer", p.Layers}, {"phase", p.Phases}} {
		fmt.Fprintf(w, "\n%-28s %6s %10s %7s %12s %10s %8s  %s\n",
			g.name, "calls", "ms", "share", "GFLOP/s", "GB/s", "bound",
			"of the roofline (beyond 100 %: from the cache)")
		for _, r := range g.rows {
			fmt.Fprintf(w, "%-28s %6d %10.3f %6.1f%% %12.1f %10.1f %8s  %3.0f %%\n",
				r.Name, r.Calls, 1e3*r.Seconds, 100*r.Of, r.GFLOPs(),
				r.GBs(), r.Bound, 100*r.Roofline)
		}
	}
	m := p.Memory
	fmt.Fprintf(w, "\nmemory at the peak: %s of %s, at %s (%s)\n",
		dsl.FormatBytes(m.Bytes), dsl.FormatBytes(m.Arena), m.Operation, m.Segment)
	rest, n := int64(0), 0
	for i, x := range m.Alive {
		if i >= top {
			rest += x.Bytes
			n++
			continue
		}
		fmt.Fprintf(w, "  %10s  %-12s %s %s\n", dsl.FormatBytes(x.Bytes), x.Kind, x.Name, x.Type)
	}
	if n > 0 {
		fmt.Fprintf(w, "  %10s  in %s; -top N lists more\n", dsl.FormatBytes(rest), words.Plural(n, "smaller tensor"))
	}
}
