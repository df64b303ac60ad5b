package live

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"stepflow/dsl"
	"stepflow/foreign"
	"stepflow/runtime/metrics"
	"stepflow/runtime/words"
)

// Style is how a text is painted.
type Style int

const (
	Plain Style = iota
	Good
	Bad
	Busy
	Faint
	Title
)

// marks begin the line of a block.
var marks = map[status]struct {
	mark  string
	style Style
}{
	toCome: {" ", Plain}, running: {">", Busy}, done: {"✓", Good}, failed: {"✗", Bad}, notRun: {"-", Faint},
}

// Lines draws the board for a window: a line for the run, and above it the blocks, as many as half of the window takes.
// A low window has room for more than half, and for the run before blocks.
func (b *Board) Lines(columns, rows int) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, width := b.now(), columns-1
	const low = 6
	most := max(1, min(max(rows/2, low), rows-1)) // the cursor is below them
	shown, before, behind := b.choose(most - 1)
	names := 0
	for _, r := range shown {
		names = max(names, Width(r.name))
	}
	names = min(names, max(8, width*2/5))
	var lines []string
	if before != "" {
		lines = append(lines, b.paint(Faint, "  "+before))
	}
	for _, r := range shown {
		m := marks[r.status]
		line := b.paint(m.style, m.mark) + " " + padded(r.name, names)
		if text := fit(b.fields(r, now), width-names-4); text != "" {
			line += "  " + text
		}
		lines = append(lines, line)
	}
	if behind != "" {
		lines = append(lines, b.paint(Faint, "  "+behind))
	}
	return append(lines, b.whole(now, width))
}

// choose returns the blocks for which there are lines, in their order, and what is said of those before and behind: the
// blocks that run come first, then by turns the next to come and the last to end; stages before others.
func (b *Board) choose(lines int) (shown []*row, before, behind string) {
	var list, next, ended []*row
	for _, r := range b.rows {
		switch r.status {
		case nothing:
			continue
		case toCome:
			next = append(next, r)
		case done, failed, notRun:
			ended = append(ended, r)
		}
		list = append(list, r)
	}
	if len(list) <= lines {
		return list, "", ""
	}
	const forCounts = 2
	counting := lines > forCounts
	if counting {
		lines -= forCounts
	}
	chosen := map[*row]bool{}
	take := func(r *row) {
		if len(chosen) < lines {
			chosen[r] = true
		}
	}
	for _, r := range list {
		if r.status == running {
			take(r)
		}
	}
	slices.SortStableFunc(ended, func(x, y *row) int { return y.over().Compare(x.over()) }) // the last first
	bad := 0
	for _, r := range ended {
		if r.status == failed && bad < failedShown {
			take(r)
			bad++
		}
	}
	stagesFirst(next)
	stagesFirst(ended)
	for i := range len(list) {
		if i < len(next) {
			take(next[i])
		}
		if i < len(ended) && ended[i].status != notRun {
			take(ended[i])
		}
	}
	counts := map[status]int{}
	for _, r := range list {
		if chosen[r] {
			shown = append(shown, r)
		} else {
			counts[r.status]++
		}
	}
	if !counting {
		return shown, "", ""
	}
	before = counted("more ", counts, done, failed, notRun)
	behind = counted("more ", counts, running, toCome)
	return shown, before, behind
}

// failedShown is how many blocks that failed have lines before others that have ended.
const failedShown = 2

// over is when a block ended.
func (r *row) over() time.Time { return r.began.Add(time.Duration(r.seconds * float64(time.Second))) }

func stagesFirst(list []*row) {
	slices.SortStableFunc(list, func(x, y *row) int { return min(y.steps, 1) - min(x.steps, 1) })
}

// statusWords are what blocks are counted by.
var statusWords = map[status]string{toCome: "to come", running: "running", done: "done", failed: "failed",
	notRun: "that need them"}

// counted says how many blocks there are of some statuses.
func counted(more string, counts map[status]int, of ...status) string {
	var parts []string
	for _, s := range of {
		if counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s%s", counts[s], more, statusWords[s]))
		}
	}
	return strings.Join(parts, ", ")
}

// whole is the line of the whole run.
func (b *Board) whole(now time.Time, width int) string {
	all, counts := 0, map[status]int{}
	for _, r := range b.rows {
		if r.status != nothing {
			counts[r.status]++
			all++
		}
	}
	text := []field{{text: cut(b.name, max(8, width/3)), rank: 4, style: Title},
		{text: fmt.Sprintf("%d of %s done", counts[done], words.Plural(all, "block")), short: fmt.Sprintf("%d/%d", counts[done], all)}}
	if b.plan == nil {
		text[1].text, text[1].short = words.Plural(counts[done], "block")+" done", ""
	}
	if n := counts[failed]; n > 0 {
		text = append(text, field{text: fmt.Sprintf("%d failed", n), style: Bad})
	}
	text = append(text, field{text: span(now.Sub(b.began).Truncate(time.Second).Seconds()), rank: 2})
	switch {
	case b.stopping:
		text = append(text, field{text: "ending", style: Busy})
	case b.plan != nil && counts[toCome]+counts[running] > 0:
		eta := b.eta(now)
		text = append(text, field{text: eta, short: strings.Replace(eta, "at least ", ">", 1), rank: 1})
	}
	if b.memory > 0 {
		text = append(text, field{text: dsl.FormatBytes(b.memory), rank: 3})
	}
	for i, f := range text {
		text[i].text = b.paint(f.style, f.text)
	}
	return fit(text, width)
}

// field is a part of a line. Where there is too little room, fields become short, and then those of the highest rank
// are left out.
type field struct {
	text  string
	short string // "" for none
	rank  int
	style Style
	bar   float64 // the share of a bar that is done, and has no text
}

// narrowBar and wideBar are how many cells a bar has, between its brackets.
const narrowBar, wideBar = 8, 20

func (f *field) width() int {
	if f.text == "" {
		return narrowBar + 2
	}
	return Width(f.text)
}

// fit joins the fields that there is room for.
func fit(fields []field, width int) string {
	total := func() (n int) {
		for i := range fields {
			n += fields[i].width() + 2
		}
		return n - 2
	}
	for i, f := range fields {
		if f.short != "" && total() > width {
			fields[i].text = f.short
		}
	}
	for len(fields) > 1 && total() > width {
		least := 0
		for i := range fields {
			if fields[i].rank >= fields[least].rank {
				least = i
			}
		}
		if fields[least].rank == 0 {
			break
		}
		fields = slices.Delete(fields, least, least+1)
	}
	room := width - total()
	parts := make([]string, len(fields))
	for i, f := range fields {
		if parts[i] = f.text; f.text == "" {
			cells := min(narrowBar+max(room, 0), wideBar)
			full := max(0, min(int(f.bar*float64(cells)), cells))
			parts[i] = "[" + strings.Repeat("=", full) + strings.Repeat(" ", cells-full) + "]"
		}
	}
	return strings.Join(parts, "  ")
}

// fields are what the line of a block says.
func (b *Board) fields(r *row, now time.Time) []field {
	switch r.status {
	case running:
		if r.step != nil {
			return r.training(b.rates, now)
		}
		return b.working(r, now)
	case done:
		list := []field{{text: r.outcome, rank: 1}}
		if r.seconds > 0 {
			list = slices.Insert(list, 0, field{text: "done in " + span(r.seconds)})
		}
		return slices.DeleteFunc(list, func(f field) bool { return f.text == "" })
	case failed:
		return []field{{text: b.paint(Bad, "failed: "+r.outcome)}}
	case notRun:
		return []field{{text: b.paint(Faint, "needs what failed")}}
	}
	return b.coming(r)
}

// training is what is said of a stage that trains.
func (r *row) training(rates map[string]float64, now time.Time) []field {
	m := r.step
	seconds := r.pace.Seconds()
	share := float64(m.Step) / float64(max(r.steps, 1))
	steps := fmt.Sprint(r.steps)
	list := []field{
		{bar: share, rank: 5},
		{text: fmt.Sprintf("%3d %%", int(100*share))},
		{text: fmt.Sprintf("%*d/%s", len(steps), m.Step, steps), rank: 3},
		{text: "loss " + lossText(r.pace.Loss()), rank: 1},
	}
	if seconds > 0 {
		rate := float64(m.Tokens) / float64(max(m.Step, 1)) / seconds
		list = append(list, field{text: fmt.Sprintf("%5s tokens/s", words.Count(rate)), rank: 4})
	}
	for _, e := range r.evaluated {
		for _, x := range e.Brief() {
			list = append(list, field{text: foreign.Shown(x.Tag) + " " + lossText(x.Value), rank: 3})
		}
	}
	list = append(list, field{text: fmt.Sprintf("lr %.2e", m.LearningRate), rank: 7})
	if m.MFU > 0 && seconds > 0 { // over the same steps as the rate
		list = append(list, field{text: fmt.Sprintf("MFU %2.0f %%", 100*m.MFU*m.Seconds/seconds), rank: 6})
	}
	eta := "ETA " + span(r.left(rates, now).seconds)
	return append(list, field{text: fmt.Sprintf("%-9s", eta), rank: 2}) // as wide for seconds as for minutes
}

// lossText writes a loss, which may not be a number.
func lossText(x float64) string {
	if !metrics.Finite(x) {
		return metrics.Text(x)
	}
	return fmt.Sprintf("%.4f", x)
}

// working is what is said of a block that runs without steps, or before its first.
func (b *Board) working(r *row, now time.Time) []field {
	list := []field{{text: span(now.Sub(r.began).Truncate(time.Second).Seconds())}}
	if r.from > 0 {
		list = slices.Insert(list, 0, field{text: fmt.Sprintf("resuming at step %d of %d", r.from, r.steps), rank: 1})
	}
	if l := r.left(b.rates, now); l.seconds > 0 {
		list[len(list)-1].text += " of " + b.time(r)
	}
	return list
}

// coming is what is said of a block that has not begun.
func (b *Board) coming(r *row) (list []field) {
	text := ""
	switch {
	case r.same != "":
		text = "the same as " + r.same
	case r.deferred:
		text = "planned once what it needs is known"
	case r.steps > 0:
		text = words.Plural(r.steps-r.from, "step")
	}
	if text != "" {
		list = append(list, field{text: b.paint(Faint, text)})
	}
	if text := b.time(r); text != "" {
		list = append(list, field{text: b.paint(Faint, text), rank: 1})
	}
	return list
}

// time says how long a block takes in all; "" if that is unknown.
func (b *Board) time(r *row) string {
	if r.takes == nil {
		return ""
	}
	f := r.takes.By(b.rates)
	switch {
	case f.Seconds == 0 || f.Seconds < 1 && f.Least:
		return ""
	case f.Seconds < 1:
		return "less than 1s"
	case f.Least:
		return "at least " + span(f.Seconds)
	}
	return "about " + span(f.Seconds)
}

// headline is the number by which a block's result is known; "" for none.
func headline(values map[string]any) string {
	if loss, ok := values["loss"].(float64); ok {
		return fmt.Sprintf("loss %.4f", loss)
	}
	return ""
}

// padded brings a name to a width. Of one that is too long the end stays, which tells instances apart.
func padded(name string, width int) string {
	name = cutLeft(name, width)
	return name + strings.Repeat(" ", max(0, width-Width(name)))
}
