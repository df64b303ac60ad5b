package report

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/guptarohit/asciigraph"

	"stepflow/dsl"
	"stepflow/foreign"
	"stepflow/runtime/metrics"
)

// Watch shows a run in a terminal until q is pressed, or until it ends if that was asked for. When ctx ends it leaves
// the terminal as it was and gives the context's error.
func Watch(ctx context.Context, r *Reader, untilEnd bool) error {
	final, err := tea.NewProgram(&watcher{reader: r, untilEnd: untilEnd, width: 80}, tea.WithContext(ctx),
		tea.WithoutSignalHandler()).Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	return final.(*watcher).err
}

// watcher is the model of the dashboard.
type watcher struct {
	reader   *Reader
	untilEnd bool
	run      *Run
	err      error
	width    int
}

type tick struct{}

func (w *watcher) read() tea.Msg { return tick{} }

func (w *watcher) Init() tea.Cmd { return w.read }

func (w *watcher) Update(m tea.Msg) (tea.Model, tea.Cmd) {
	switch m := m.(type) {
	case tea.WindowSizeMsg:
		w.width = m.Width
	case tea.KeyPressMsg:
		if k := m.String(); k == "q" || k == "ctrl+c" || k == "esc" {
			return w, tea.Quit
		}
	case tick:
		if w.run, w.err = w.reader.Read(); w.err != nil || w.untilEnd && !w.run.Running {
			return w, tea.Quit
		}
		return w, tea.Tick(time.Second, func(time.Time) tea.Msg { return tick{} })
	}
	return w, nil
}

func (w *watcher) View() tea.View {
	if w.run == nil {
		return tea.NewView("reading …")
	}
	v := tea.NewView(Dashboard(w.run, w.width, true) + "\nq leaves; the run goes on\n")
	v.AltScreen = !w.untilEnd
	return v
}

// Dashboard is a run as text of a width in columns: blocks, the stage that runs with its loss, and what went wrong.
func Dashboard(r *Run, width int, color bool) string {
	style := func(c string) lipgloss.Style {
		s := lipgloss.NewStyle()
		if color {
			s = s.Foreground(lipgloss.Color(c))
		}
		return s
	}
	colors := map[string]string{"done": "2", "up to date": "2", "failed": "1", "running": "3", "interrupted": "3"}
	var b strings.Builder
	state := "not running"
	if r.Running {
		state = "running"
	}
	fmt.Fprintf(&b, "%s  %s, on %s\n\n", style("6").Bold(color).Render(foreign.Shown(r.Name)), state,
		foreign.Shown(r.Device))
	names := 0
	for _, x := range r.Blocks {
		names = max(names, len(x.Address))
	}
	var current *Block
	for _, x := range r.Blocks {
		line := fmt.Sprintf("%-*s  %s", names, foreign.Shown(x.Address),
			style(colors[x.Status]).Render(fmt.Sprintf("%-11s", foreign.Shown(x.Status))))
		if s := x.Stage; s != nil {
			const bar = 20
			n := int(bar * share(s.Done, s.Steps))
			line += fmt.Sprintf("  [%s%s] %d/%d", strings.Repeat("=", n), strings.Repeat(" ", bar-n), s.Done, s.Steps)
			if s.Series != nil && s.Series.Mean != nil {
				line += fmt.Sprintf("  loss %.4f", *s.Series.Mean)
				current = x
				for _, e := range s.Series.Evaluations {
					if e.Brief {
						line += fmt.Sprintf("  %s %.4f", foreign.Shown(e.Title()), e.Last)
					}
				}
			}
		} else if l, ok := x.Values["loss"].(float64); ok {
			line += fmt.Sprintf("  loss %.4f", l)
		}
		b.WriteString(line + "\n")
	}
	if current != nil {
		b.WriteString("\n" + stageView(current, width))
	}
	for _, x := range r.Blocks {
		for _, warn := range x.Warnings {
			fmt.Fprintf(&b, "%s %s: %s\n", style("3").Render("warning"), foreign.Shown(x.Address), foreign.Shown(warn))
		}
		if x.Error != "" {
			fmt.Fprintf(&b, "%s %s: %s\n", style("1").Render("error"), foreign.Shown(x.Address), foreign.Shown(x.Error))
		}
	}
	if r.Note != "" {
		b.WriteString(foreign.Shown(r.Note) + "\n")
	}
	return b.String()
}

// farthest is how far from 0 a loss is drawn.
const farthest = 1e6

// share is how much of a stage is done, from 0 to 1.
func share(done, steps int) float64 {
	if steps <= 0 {
		return 0
	}
	return max(0, min(float64(done)/float64(steps), 1))
}

// stageView draws a stage's loss and says how fast it goes.
func stageView(x *Block, width int) string {
	s := x.Stage.Series
	var loss []float64
	for _, v := range s.Trend.Mean {
		if metrics.Finite(float64(v)) {
			loss = append(loss, max(-farthest, min(float64(v), farthest)))
		}
	}
	var b strings.Builder
	if len(loss) > 1 {
		fmt.Fprintf(&b, "%s\n", asciigraph.Plot(loss, asciigraph.Height(10),
			asciigraph.Width(max(min(width-14, 110), 20)), asciigraph.Precision(3),
			asciigraph.Caption("loss of "+foreign.Shown(x.Address)+", nats a token")))
	}
	n := len(s.Seconds)
	left := float64(s.Seconds[n-1]) / float64(s.Step[n-1]-s.Step[0]+s.Every) * float64(max(0, x.Stage.Steps-s.Step[n-1]))
	fmt.Fprintf(&b, "%.0f tokens/s, MFU %.0f %%, learning rate %.2e, %s of device memory",
		s.Speed.Mean[n-1], 100*s.MFU[n-1], s.LR[n-1], dsl.FormatBytes(max(x.Stage.Measured, x.Stage.Figures.Peak)))
	if x.Status == "running" && left < math.MaxInt64/1e9 {
		fmt.Fprintf(&b, ", %s to go", (time.Duration(left) * time.Second).String())
	}
	if s.Skipped > 0 {
		fmt.Fprintf(&b, ", skipped steps: %d", s.Skipped)
	}
	return b.String() + "\n"
}
