package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"stepflow/cmd/stepflow/live"
	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/foreign"
	"stepflow/runtime/blocks"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/words"
)

// progress shows what happens in a run: lines of text and, on a terminal, how far the run is below them; JSON with
// -json.
type progress struct {
	app   *app
	board *live.Board // nil where the output is no terminal
	foot  *live.Foot
	steps map[addr.Addr]*stepLines // of the blocks that run
}

// stepLines are the lines that tell of a block's steps where the output is no terminal.
type stepLines struct {
	live.Pace
	began, last time.Time
	evaluated   map[string]time.Time // when there was a line of an evaluation, by its name
}

// newProgress begins to show the run of a plan, nil for one that is made on the way. end ends that.
func newProgress(a *app, name string, p *plan.Plan) *progress {
	v := &progress{app: a, steps: map[addr.Addr]*stepLines{}}
	out, ok := a.stdout.(*output)
	if !ok || a.json || !a.moves() {
		return v
	}
	if columns, _ := out.size(); columns == 0 {
		return v
	}
	v.board = live.NewBoard(name, p, a.parallelism > 1, a.style)
	v.foot = live.NewFoot(live.Terminal{Write: out.raw, Size: out.size, Reflows: reflows(),
		Foreground: func() bool { return live.Foreground(int(out.file.Fd()), a.group) }}, func(columns, rows int) []string {
		if a.ctx.Err() != nil {
			v.board.Stopping()
		}
		return v.board.Lines(columns, rows)
	})
	for _, o := range v.outputs() {
		o.foot.Store(v.foot)
	}
	return v
}

// styleColors are the colours of what is drawn while a run goes on.
var styleColors = map[live.Style]color{live.Good: green, live.Bad: red, live.Busy: yellow, live.Faint: dim, live.Title: bold}

func (a *app) style(s live.Style, text string) string {
	if c, ok := styleColors[s]; ok {
		return a.paint(c, text)
	}
	return text
}

// outputs are those that write to the terminal of the standard output.
func (p *progress) outputs() []*output {
	out := p.app.stdout.(*output)
	list := []*output{out}
	if other, ok := p.app.stderr.(*output); ok && other.sameFile(out) {
		list = append(list, other)
	}
	return list
}

// end ends what is drawn, and leaves the text.
func (p *progress) end() {
	if p.foot == nil {
		return
	}
	p.foot.Close()
	for _, o := range p.outputs() {
		o.foot.Store(nil)
	}
	p.foot = nil
}

// planned takes in what is to be done with a block, once the run has come to it.
func (p *progress) planned(a *plan.Action) {
	if p.board != nil {
		p.board.Planned(a)
	}
}

func (p *progress) event(e observe.Event) {
	if p.app.json {
		p.jsonEvent(e)
		return
	}
	if p.board != nil {
		p.board.Event(e)
	}
	name := foreign.Shown(e.Addr.String())
	switch e.Kind {
	case observe.StepDone:
		if p.board == nil {
			p.step(e)
		}
	case observe.Evaluated:
		if p.board == nil {
			p.evaluation(e)
		}
	case observe.BlockStart:
		p.steps[e.Addr] = &stepLines{began: time.Now(), evaluated: map[string]time.Time{}}
		what := "running"
		if e.FromStep > 0 {
			what = fmt.Sprintf("resuming at step %d", e.FromStep)
		}
		if p.board == nil || e.FromStep > 0 { // the board shows what runs
			p.line("%s: %s", p.app.paint(bold, name), what)
		}
	case observe.BlockDone:
		delete(p.steps, e.Addr)
		p.line("%s: %s in %s%s%s", p.app.paint(bold, name), p.app.paint(green, "done"),
			words.Duration(e.Seconds), values(e.Values), texts(e.Values))
	case observe.BlockFailed:
		delete(p.steps, e.Addr)
	case observe.Warned:
		p.line("%s: %s %s", name, p.app.paint(yellow, "warning:"), foreign.ShownText(e.Message))
	case observe.Notice:
		p.line("%s: %s", name, foreign.ShownText(e.Message))
	}
}

// line writes a line, which a terminal breaks between words.
func (p *progress) line(format string, args ...any) {
	fmt.Fprintln(p.app.stdout, wrapped(fmt.Sprintf(format, args...), p.app.columns()))
}

// texts are the lines of what a block generated.
func texts(values map[string]any) string {
	var b strings.Builder
	list, _ := values["texts"].([]string)
	for _, t := range list {
		fmt.Fprintf(&b, "\n    %q", t)
	}
	return b.String()
}

// every is the time between lines of a block's steps: 5 seconds, and where the block takes long, a hundredth of the time
// that it has run for, but 5 minutes at most.
func (s *stepLines) every(now time.Time) time.Duration {
	return min(max(5*time.Second, now.Sub(s.began)/100), 5*time.Minute)
}

// due reports whether a line of a block's steps is written now.
func (s *stepLines) due(now time.Time) bool { return now.Sub(s.last) >= s.every(now) }

// step writes a line of a step, now and then.
func (p *progress) step(e observe.Event) {
	m, s := e.Step, p.steps[e.Addr]
	s.Add(m)
	now := time.Now()
	if !s.due(now) && m.Step != e.Steps {
		return
	}
	s.last = now
	seconds := s.Seconds()
	text := fmt.Sprintf("step %d/%d  %s tokens  loss %.4f  lr %.2e  %s tokens/s",
		m.Step, e.Steps, words.Count(m.Tokens), s.Loss(), m.LearningRate,
		words.Count(float64(m.Tokens)/float64(m.Step)/seconds))
	if m.MFU > 0 && e.Peak > 0 { // over the same steps as the rate
		text += fmt.Sprintf("  MFU %.0f %% of %sFLOP/s measured", 100*m.MFU*m.Seconds/seconds, words.Count(e.Peak))
	}
	if e.Memory > 0 { // it is not known of a job
		text += "  " + dsl.FormatBytes(e.Memory)
	}
	fmt.Fprintf(p.app.stdout, "%s: %s  ETA %s\n", foreign.Shown(e.Addr.String()), text,
		words.Duration(seconds*float64(e.Steps-m.Step)))
}

// evaluation writes a line of an evaluation between steps, now and then, and of the last.
func (p *progress) evaluation(e observe.Event) {
	x, s := e.Evaluation, p.steps[e.Addr]
	now := time.Now()
	if now.Sub(s.evaluated[x.Name]) < s.every(now) && x.Step != e.Steps {
		return
	}
	s.evaluated[x.Name] = now
	p.line("%s: step %d/%d  evaluate %q%s", foreign.Shown(e.Addr.String()), x.Step, e.Steps, x.Name, values(blocks.Writable(x.Numbers())))
}

func (p *progress) jsonEvent(e observe.Event) {
	m := map[string]any{"type": string(e.Kind), "@timestamp": time.Now().UTC().Format(time.RFC3339Nano)}
	m["address"] = e.Addr.String()
	if e.Message != "" {
		m["message"] = e.Message
	}
	if e.Step != nil && e.Kind == observe.StepDone {
		m["metrics"], m["steps"], m["memory_bytes"] = e.Step, e.Steps, e.Memory
	}
	if e.Evaluation != nil {
		m["evaluation"], m["steps"] = e.Evaluation, e.Steps
	}
	if e.Seam != nil {
		m["seam"] = e.Seam
	}
	if e.Values != nil {
		m["values"], m["seconds"] = e.Values, e.Seconds
	}
	p.app.line(m)
}

// values lists the numbers a block gave.
func values(v map[string]any) string {
	var parts []string
	words, _ := v["not_finite"].(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(v)) {
		if f, ok := v[k].(float64); ok {
			parts = append(parts, fmt.Sprintf("%s %.6g", k, f))
		}
		if word, ok := words[k]; ok {
			parts = append(parts, fmt.Sprintf("%s %v", k, word))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "; " + strings.Join(parts, ", ")
}
