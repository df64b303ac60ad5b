package export

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"stepflow/chat"
	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/modelcard"
	"stepflow/runtime/state"
	"stepflow/runtime/words"
)

// trained lists the data in files that the model was trained on, each once.
func (c *card) trained() (list []*data.Data) {
	for _, s := range c.chain() {
		if s.Imported != nil {
			continue
		}
		for _, n := range s.Data.InFiles() {
			if !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
	}
	return list
}

// dataSection says what the model was trained on: each data block with the attributes that choose documents.
func (c *card) dataSection(r *blocks.Run) modelcard.Section {
	t := &modelcard.Table{Head: []string{"data", "settings"}}
	for _, n := range c.trained() {
		p := r.World.Find(n.Addr)
		if p == nil {
			continue
		}
		t.Rows = append(t.Rows, settingsOf(p, "cache"))
	}
	s := modelcard.Section{Title: "Training data", Table: t}
	for _, x := range c.chain() {
		if x.Imported == nil && x.Data.Parts != nil {
			var parts []string
			for i, n := range x.Data.Parts {
				parts = append(parts, fmt.Sprintf("%s with weight %g", modelcard.Code(n.Addr.String()), x.Data.Weights[i]))
			}
			text := fmt.Sprintf("%s draws from %s.", modelcard.Code(x.Data.Addr.String()), strings.Join(parts, ", "))
			if !slices.Contains(s.Text, text) {
				s.Text = append(s.Text, text)
			}
		}
	}
	if len(t.Rows) == 0 {
		s.Text = []string{"Nothing was trained here: the weights come from elsewhere."}
	}
	return s
}

// settingsOf returns a row of a table: a block and the attributes that it sets, except some.
func settingsOf(p *blocks.Planned, except ...string) []string {
	var settings []string
	for _, name := range slices.Sorted(maps.Keys(p.Hashed)) {
		if _, secret := p.Secret[name]; !secret && !slices.Contains(except, name) {
			settings = append(settings, modelcard.Code(name+" = "+p.Hashed[name]))
		}
	}
	return []string{modelcard.Code(p.Addr.String()), strings.Join(settings, " ")}
}

// settingsSection says how each stage was trained: what it sets, and what the optimizers and adapters that it names set.
func (c *card) settingsSection(r *blocks.Run) modelcard.Section {
	t := &modelcard.Table{Head: []string{"block", "settings"}}
	seen, idle := map[addr.Addr]bool{}, slices.Collect(maps.Keys(stage.Kind.Idle))
	var add func(a addr.Addr)
	add = func(a addr.Addr) {
		p := r.World.Find(a)
		if p == nil || seen[a] {
			return
		}
		seen[a] = true
		t.Rows = append(t.Rows, settingsOf(p, idle...))
		for _, in := range slices.Sorted(maps.Keys(p.Inputs)) {
			if x, err := addr.Parse(in); err == nil && (x.Kind == "optimizer" || x.Kind == "peft") {
				add(x)
			}
		}
	}
	for _, x := range c.chain() {
		if x.Imported == nil {
			add(x.Addr)
		}
	}
	return modelcard.Section{Title: settingsTitle, Table: t}
}

// settingsTitle is the heading of the settings.
const settingsTitle = "Training settings"

// stageSection says what was trained in which order, and what it took.
func (c *card) stageSection(st map[string]*state.Block) modelcard.Section {
	s := modelcard.Section{Title: "Training", Table: &modelcard.Table{Head: []string{"stage", "layers", "trained", "tokens", "steps",
		"learning rate", "FLOPs", "memory", "loss"}}}
	var flops float64
	early := false
	for _, x := range c.chain() {
		f, name := &x.Figures, modelcard.Code(x.Addr.String())
		if x.Imported != nil {
			s.Table.Rows = append(s.Table.Rows, []string{name, strconv.Itoa(f.Layers), "imported", "", "", "", "", "", ""})
			continue
		}
		t, steps := x.Training(), f.Steps
		memory, loss, why := "", "", ""
		if b := st[x.Addr.String()]; b != nil {
			if b.Memory != nil {
				memory = dsl.FormatBytes(b.Memory.Planned)
			}
			if v, ok := b.Values["loss"].(float64); ok {
				loss = fmt.Sprintf("%.4f", v)
			}
			if why, _ = b.Values[blocks.Ended].(string); why != "" { // another step than the last made the model
				steps, early = b.Step, true
			}
		}
		took := float64(steps) * float64(f.StepFLOPs)
		flops += took
		trained := words.Count(f.Trainable)
		if f.Adapter > 0 {
			trained = words.Count(f.Adapter) + " in adapters, " + trained + " beside them"
		}
		s.Table.Rows = append(s.Table.Rows, []string{name, strconv.Itoa(f.Layers), trained + " of " +
			words.Count(f.Trainable+f.Frozen+f.Composed), words.Count(int64(steps) * t.StepTokens), strconv.Itoa(steps),
			fmt.Sprintf("%g", x.Optimizer.Peak()), fmt.Sprintf("%.3g", took), memory, loss})
		text := fmt.Sprintf("%s: batches of %s of %d tokens, %s, learning rate %s", name,
			words.Plural(t.Batch, "sequence"), t.Seq, t.Precision,
			cmp.Or(x.Schedule.Kind, "constant"))
		if t.Grow != "" {
			text += fmt.Sprintf("; it grew from %s (%s)", modelcard.Code(t.From), modelcard.Escape(t.Grow))
		} else if t.From != "" {
			text += fmt.Sprintf("; it continues %s", modelcard.Code(t.From))
		}
		if x.Tune != nil {
			text += fmt.Sprintf("; it was tuned on conversations, with the loss on %s", lossOn[x.Tune.LossOn])
		}
		if t.Adapter != "" {
			how := "which were merged"
			switch _, alone := c.form.(*adapterFolder); {
			case x.Peft != nil && x.Peft.Composes():
				how = "of which the weights were made"
			case x != c.Stage:
			case alone:
				how = "which are here"
			case c.apart():
				how = "which are left out here"
			}
			text += fmt.Sprintf("; adapters, %s: %s", how, modelcard.Escape(t.Adapter))
		}
		if why != "" {
			text += "; " + modelcard.Escape(why)
		}
		s.Text = append(s.Text, text+".")
	}
	if flops > 0 {
		text := fmt.Sprintf("In all %.3g FLOPs. Memory is the peak on the device, and loss the mean over the end of "+
			"the stage, in nats a token.", flops)
		if early {
			text += " Steps, and what they took, count up to the model that is the result of its stage."
		}
		s.Text = append(s.Text, text)
	}
	return s
}

// lossOn says which tokens count.
var lossOn = map[chat.LossOn]string{chat.Assistant: "what the assistant says", chat.Completion: "completions",
	chat.All: "all tokens"}
