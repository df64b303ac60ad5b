package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"stepflow/report"
	"stepflow/runtime/durable"
)

func reportCommand() command {
	var out string
	var compare bool
	var table tableFlags
	return command{name: "report", args: "[-o FILE] [DIR] | -compare [-o FILE] [ADDR …] DIR …", most: 100,
		short: "Writes the report of a run as one HTML file.",
		synopsis: "Writes one self-contained HTML page: curves, memory, growth, evaluations, configuration. It needs " +
			"no network to be read. With -compare: several runs side by side, also as a table; each DIR is a " +
			"pipeline's folder or a state's. One folder is enough where it holds a sweep. The runs are the stages from " +
			"which no other goes on; each ADDR names another stage, with all its instances or one of them, or a " +
			"module whose stages are compared.",
		example: "stepflow report -o report.html pipelines/quickstart\n" +
			"stepflow report -compare -o both.html step/.stepflow vanilla/.stepflow\n" +
			"stepflow report -compare -sort time -columns learning_rate,seed,loss pipelines/sweep",
		flags: func(a *app, f *flag.FlagSet) {
			common(a, f)
			f.StringVar(&out, "o", "",
				"file to write (default: report.html in the state's folder, or here with -compare)")
			f.BoolVar(&compare, "compare", false, "put runs side by side: of several folders, or of a sweep in one")
			table.flags(f)
		},
		run: func(a *app, args []string) int {
			if out != "" {
				if err := reportFile(out).Check(); err != nil {
					return a.fail(err)
				}
			}
			switch {
			case !compare && table.given():
				return a.misuse("stepflow report: -sort, -columns, -all and -csv are for -compare")
			case !compare && len(args) > 1:
				return a.misuse("stepflow report: takes one folder; -compare takes several")
			case compare:
				return a.compare(args, out, table)
			}
			page, code := a.runPage(args)
			if page == nil {
				return code
			}
			if out == "" {
				dir := page.Runs[0].Dir
				if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
					return a.fail(fmt.Errorf("nothing has run here, so there is no %s, where the report would go: "+
						"-o FILE writes what the plan tells", dir))
				}
				return a.writePage(page, filepath.Join(dir, "report.html"), durableReport)
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

// readRuns reads several runs; those of one name are told apart by their folders.
func readRuns(dirs []string) ([]*report.Run, error) {
	var runs []*report.Run
	names := map[string]int{}
	for _, d := range dirs {
		run, err := report.NewReader(d).Read()
		if err != nil {
			return nil, err
		}
		names[run.Name]++
		runs = append(runs, run)
	}
	for i, r := range runs {
		if names[r.Name] > 1 {
			r.Name = dirs[i]
		}
	}
	return runs, nil
}
