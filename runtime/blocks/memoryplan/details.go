package memoryplan

import (
	"fmt"

	"stepflow/dsl"
	"stepflow/runtime/blocks"
	"stepflow/runtime/words"
)

// Details says what a plan for a device chose, and why. Other plans say all in their summary.
func (m *Split) Details(_, _ bool) (list []blocks.Line) {
	x := m.Device
	if x == nil {
		return nil
	}
	line := func(about, format string, args ...any) {
		list = append(list, blocks.Line{About: about, Text: fmt.Sprintf(format, args...)})
	}
	n := 0
	if len(x.rules) > 1 {
		line("optimizer", "%s", x.chosen().name)
	}
	for i, s := range x.Stages {
		n += s.Layers
		text := fmt.Sprintf("%s (%d new): %s", words.Plural(n, "layer"), s.Layers, dsl.FormatBytes(s.Fit.Bytes))
		text += fmt.Sprintf(", micro_batch_size = %d, update = %q", s.Fit.Micro, s.Update)
		if s.Fit.Recompute > 0 {
			text += fmt.Sprintf(", %s computed again", words.Plural(s.Fit.Recompute, "layer"))
		}
		if len(s.Freeze) > 0 {
			text += ", freeze = " + dsl.Show(blocks.Strings(s.Freeze))
		}
		if s.FrozenDType != "" {
			text += fmt.Sprintf(", frozen_dtype = %q", s.FrozenDType)
		}
		line(fmt.Sprintf("stage %d", i+1), "%s; %s of %s parameters train", text, words.Count(s.Trainable), words.Count(s.Parameters))
	}
	for _, c := range x.Choices {
		less, by := "less", c.Saved
		if by < 0 {
			less, by = "more", -by
		}
		text := fmt.Sprintf("%s: %s %s at the peak", c.What, dsl.FormatBytes(by), less)
		if c.Stage > 0 && len(x.Stages) > 1 {
			text += fmt.Sprintf(" of stage %d", c.Stage)
		}
		line("choice", "%s; %s", text, c.Cost)
	}
	list = append(list, x.left...)
	line("1 GiB more", "would buy %s", x.More)
	x.Forecast.lines(line)
	line("run", "%s tokens, %sFLOP%s", words.Count(x.Tokens), words.Count(x.FLOPs), x.takes.Time("FLOP/s", "the last stage like it"))
	switch {
	case x.Objective == "time" && x.Gap > 0:
		line("search", "ended early: another split into %s may have fewer operations, by %.2f %% at most", words.Plural(len(x.Stages), "stage"),
			100*x.Gap)
	case x.Objective == "time":
		text := ""
		if len(x.rules) > 1 {
			text = fmt.Sprintf(", and no other optimizer saves %.0f %%", 100*(asQuick-1))
		}
		line("search", "complete: no other split into %s has fewer operations%s", words.Plural(len(x.Stages), "stage"), text)
	}
	return list
}
