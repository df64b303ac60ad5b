package main

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"stepflow/dsl"
	"stepflow/runtime/observe"
)

// progress shows events: a live line a stage on a terminal, plain lines otherwise, JSON with -json.
type progress struct {
	app    *app
	live   bool
	open   bool // a live line is on the screen
	last   time.Time
	times  []float64 // seconds of the latest steps
	losses []float64
}

func newProgress(a *app) *progress { return &progress{app: a, live: !a.json && a.moves()} }

// lineEvery is how often a plain line is written.
const lineEvery = 5 * time.Second

func (p *progress) event(e observe.Event) {
	if p.app.json {
		p.jsonEvent(e)
		return
	}
	w := p.app.stdout
	switch e.Kind {
	case observe.StepDone:
		p.step(e)
	case observe.BlockStart:
		p.end()
		if e.Saves { // it has steps
			p.times, p.losses, p.last = nil, nil, time.Time{}
		}
		what := "running"
		if e.FromStep > 0 {
			what = fmt.Sprintf("resuming at step %d", e.FromStep)
		}
		fmt.Fprintf(w, "%s: %s\n", p.app.paint(bold, e.Addr.String()), what)
	case observe.BlockDone:
		p.end()
		fmt.Fprintf(w, "%s: %s in %s%s\n", p.app.paint(bold, e.Addr.String()), p.app.paint(green, "done"),
			duration(e.Seconds),
			values(e.Values))
		if texts, ok := e.Values["texts"].([]string); ok {
			for _, t := range texts {
				fmt.Fprintf(w, "    %q\n", t)
			}
		}
	case observe.BlockFailed:
		p.end()
	case observe.Warned:
		p.end()
		fmt.Fprintf(w, "%s: %s %s\n", e.Addr, p.app.paint(yellow, "warning:"), e.Message)
	case observe.Notice:
		p.end()
		fmt.Fprintf(w, "%s: %s\n", e.Addr, e.Message)
	}
}

// end leaves the live line.
func (p *progress) end() {
	if p.open {
		fmt.Fprintln(p.app.stdout)
		p.open = false
	}
}

func (p *progress) step(e observe.Event) {
	m := e.Step
	p.times = append(p.times, m.Seconds)
	p.losses = append(p.losses, m.Loss)
	if len(p.times) > 50 {
		p.times, p.losses = p.times[1:], p.losses[1:]
	}
	every := lineEvery
	if p.live {
		every = 100 * time.Millisecond
	}
	last := m.Step == e.Steps
	if time.Since(p.last) < every && !last {
		return
	}
	p.last = time.Now()
	sorted := append([]float64(nil), p.times...)
	sort.Float64s(sorted)
	eta := sorted[len(sorted)/2] * float64(e.Steps-m.Step)
	perSecond := float64(m.Tokens) / float64(m.Step) / sorted[len(sorted)/2]
	var loss float64
	tail := p.losses[max(0, len(p.losses)-10):]
	for _, l := range tail {
		loss += l / float64(len(tail))
	}
	text := fmt.Sprintf("step %d/%d  %s tokens  loss %.4f  lr %.2e  %s tokens/s",
		m.Step, e.Steps, count(float64(m.Tokens)), loss,
		m.LearningRate, count(perSecond))
	if m.MFU > 0 {
		text += fmt.Sprintf("  MFU %.0f %% of %sFLOP/s measured", 100*m.MFU, count(e.Peak))
	}
	text += fmt.Sprintf("  %s  ETA %s", dsl.FormatBytes(e.Memory), duration(eta))
	if !p.live {
		fmt.Fprintf(p.app.stdout, "%s: %s\n", e.Addr, text)
		return
	}
	const width = 20
	done := width * m.Step / e.Steps
	fmt.Fprintf(p.app.stdout, "\r\x1b[K  [%s%s] %s", strings.Repeat("=", done), strings.Repeat(" ", width-done), text)
	p.open = true
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

func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < 10*time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
