package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"path/filepath"

	"stepflow/report"
	"stepflow/runtime/durable"
)

func reportCommand() command {
	var out string
	var compare bool
	return command{name: "report", args: "[-o FILE] [DIR] | -compare [-o FILE] DIR DIR …", most: 100,
		short: "Writes the report of a run as one HTML file.",
		synopsis: "Writes one self-contained HTML page: curves, memory, growth, evaluations, configuration. It needs " +
			"no network to be read. With -compare: several runs side by side; each DIR is a pipeline's folder or a " +
			"state's.",
		example: "stepflow report -o report.html pipelines/quickstart\n" +
			"stepflow report -compare -o both.html step/.stepflow vanilla/.stepflow",
		flags: func(a *app, f *flag.FlagSet) {
			common(a, f)
			f.StringVar(&out, "o", "",
				"file to write (default: report.html in the state's folder, or here with -compare)")
			f.BoolVar(&compare, "compare", false, "put the runs of several folders side by side")
		},
		run: func(a *app, args []string) int {
			if out != "" {
				if err := reportFile(out).Check(); err != nil {
					return a.fail(err)
				}
			}
			switch {
			case compare && len(args) < 2:
				return a.misuse("stepflow report: -compare takes two folders or more")
			case !compare && len(args) > 1:
				return a.misuse("stepflow report: takes one folder; -compare takes several")
			case compare:
				page, err := comparePage(args)
				if err != nil {
					return a.fail(err)
				}
				return a.writePage(page, cmp.Or(out, "report.html"), writeReport)
			}
			page, code := a.runPage(args)
			if page == nil {
				return code
			}
			if out == "" {
				return a.writePage(page, filepath.Join(page.Runs[0].Dir, "report.html"), durableReport)
			}
			return a.writePage(page, out, writeReport)
		}}
}

// runPage is the page of the run of one pipeline; nil if there is none, and the exit code then.
func (a *app) runPage(args []string) (page *report.Page, code int) {
	dir := dirArg(args)
	if a.stateDir != "" {
		dir = a.stateDir
	}
	r := report.NewReader(dir) // as the last run was planned, where nothing can be planned now
	switch p, ok := a.plan(args, false); {
	case ok:
		r = report.PlanReader(report.FromPlan(p, version()))
	case a.ctx.Err() != nil:
		return nil, exitInterrupted
	}
	page, err := a.pageOf(r)
	switch {
	case errors.Is(err, report.ErrNoRun):
		return nil, exitError // the diagnostics said why
	case err != nil:
		return nil, a.fail(err)
	}
	return page, exitOK
}

// writePage writes a page and says where.
func (a *app) writePage(page *report.Page, out string, write func(string, []byte) (bool, error)) int {
	html, err := page.HTML()
	if err != nil {
		return a.fail(err)
	}
	stream, err := write(out, html)
	if err != nil {
		return a.fail(err)
	}
	if stream { // perhaps the standard output
		return exitOK
	}
	abs, err := filepath.Abs(out)
	if err != nil {
		return a.fail(err)
	}
	fmt.Fprintf(a.stdout, "%s\n", abs)
	return exitOK
}

// reportFile is the file that a report is written to: it replaces another report, and nothing else.
func reportFile(path string) durable.UserFile {
	return durable.UserFile{Path: path, Ours: report.Is,
		Refusal: "exists and is not a report of stepflow; choose another name, or remove it"}
}

func writeReport(path string, html []byte) (stream bool, err error) {
	return reportFile(path).Write(html)
}

// durableReport writes to the state's own folder, in which links are not followed.
func durableReport(path string, html []byte) (stream bool, err error) {
	return false, durable.WriteFile(path, html)
}

// pageOf is the page of one run.
func (a *app) pageOf(r *report.Reader) (*report.Page, error) {
	run, err := r.Read()
	if err != nil {
		return nil, err
	}
	return report.NewPage(run.Name, run), nil
}

// comparePage reads several runs; those of one name are told apart by their folders.
func comparePage(dirs []string) (*report.Page, error) {
	p := report.NewPage("Comparison")
	names := map[string]int{}
	for _, d := range dirs {
		run, err := report.NewReader(d).Read()
		if err != nil {
			return nil, err
		}
		names[run.Name]++
		p.Runs = append(p.Runs, run)
	}
	for i, r := range p.Runs {
		if names[r.Name] > 1 {
			r.Name = dirs[i]
		}
	}
	return p, nil
}
