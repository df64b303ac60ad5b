package mlflow

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// Tags of our own.
const (
	tagLineage = "stepflow.lineage" // of the state
	tagAddress = "stepflow.address" // of a stage; a parent has none
	tagRecipe  = "stepflow.recipe"
	tagVersion = "stepflow.version"
	tagDevice  = "stepflow.device"
	tagTrace   = "stepflow.trace_id"
	tagError   = "stepflow.error"
)

// parentTags are those of the run of the pipeline.
func (t *Tracker) parentTags() []pair {
	list := []pair{{tagLineage, t.state.Lineage}, {tagVersion, t.pipeline.Version},
		{"mlflow.source.name", t.pipeline.Name}, {"mlflow.source.type", "LOCAL"}}
	if t.user != "" {
		list = append(list, pair{"mlflow.user", t.user})
	}
	return list
}

// childTags are those of the run of a stage.
func (t *Tracker) childTags(name string, b *state.Block) []pair {
	return append(t.parentTags(), pair{"mlflow.parentRunId", t.parent.id}, pair{tagAddress, name},
		pair{tagRecipe, b.Recipe})
}

// stageTags are what is known of a stage when it has ended.
func stageTags(b *state.Block) (list []pair) {
	trace := tracing.Reference(b.Trace).TraceID()
	for _, p := range []pair{{tagDevice, b.Device}, {tagTrace, trace}, {tagError, b.Error}} {
		if p.Value != "" {
			list = append(list, p)
		}
	}
	return list
}

// sortedPairs lists a map by its keys.
func sortedPairs(prefix string, m map[string]string) (list []pair) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, pair{prefix + k, plain(m[k])})
	}
	return list
}

// plain is a value as the language writes it, without quotes if it is a string.
func plain(text string) string {
	if s, err := strconv.Unquote(text); err == nil {
		return s
	}
	return text
}

func (t *Tracker) parentParams() []pair { return sortedPairs("", t.pipeline.Variables) }

// same reports whether a parent was made with the variables of now.
func (t *Tracker) same(r *remote) bool {
	there := map[string]string{}
	for _, p := range r.Data.Params {
		there[p.Key] = p.Value
	}
	for _, p := range t.parentParams() {
		if was, ok := there[key(p.Key)]; ok && was != value(t.pipeline.Redact(p.Value)) {
			return false
		}
	}
	return true
}

// stageParams are the attributes of a stage and, below their kind, those of the nearest blocks of each kind that it goes
// back to. Two of a kind that are as near have their names in them.
func (t *Tracker) stageParams(name string, b *state.Block) []pair {
	list := sortedPairs("", b.Attrs)
	a, err := addr.Parse(name)
	if err != nil {
		return list
	}
	if a.Key != "" {
		list = append(list, pair{"each.key", plain(a.Key)})
	}
	seen, settled := map[string]bool{name: true}, map[string]bool{"stage": true}
	at := slices.Sorted(maps.Keys(b.Inputs))
	for len(at) > 0 {
		near := map[string][]addr.Addr{}
		var next []string
		for _, n := range at {
			x, err := addr.Parse(n)
			block, planned := t.blocks[n]
			if err != nil || !planned || seen[n] {
				continue
			}
			seen[n] = true
			near[x.Kind] = append(near[x.Kind], x)
			next = append(next, block.Inputs...)
		}
		for _, kind := range slices.Sorted(maps.Keys(near)) {
			if settled[kind] {
				continue
			}
			settled[kind] = true
			for _, x := range near[kind] {
				prefix := kind + "."
				if len(near[kind]) > 1 {
					prefix += x.Name + "."
					if x.Key != "" {
						prefix += plain(x.Key) + "."
					}
				}
				list = append(list, pair{prefix + "type", x.Type})
				list = append(list, sortedPairs(prefix, t.blocks[x.String()].Attrs)...)
			}
		}
		at = next
	}
	return list
}

// statusOf is how the run of a stage stands.
func statusOf(b *state.Block, over bool) string {
	switch {
	case b.Status == state.Done:
		return string(Finished)
	case b.Status == state.Failed:
		return string(Failed)
	case over:
		return string(Killed)
	}
	return running
}

// stageEnd are the values of a stage that do not belong to a step.
func (t *Tracker) stageEnd(name string, b *state.Block) []metric {
	t.mu.Lock()
	list := slices.Clone(t.seams[name])
	t.mu.Unlock()
	if b.Status != state.Done {
		return list
	}
	at, step := integer(b.Updated.UnixMilli()), integer(b.Step)
	list = append(list, numbers("result/", b.Values, at, step)...)
	if m := b.Memory; m != nil {
		for _, x := range []struct {
			name  string
			bytes int64
		}{{"planned", m.Planned}, {"measured", m.Measured}, {"vanilla", m.Vanilla}} {
			if x.bytes > 0 {
				list = append(list, metric{"memory/" + x.name + "_bytes", number(x.bytes), at, step})
			}
		}
	}
	return list
}

// numbers are the values that are numbers; those below a name have it before theirs.
func numbers(prefix string, values map[string]any, at, step integer) (list []metric) {
	words, _ := values[blocks.NotFinite].(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(values)) {
		switch v := values[k].(type) {
		case float64:
			list = append(list, metric{prefix + k, number(v), at, step})
		case map[string]any:
			if k != blocks.NotFinite {
				list = append(list, numbers(prefix+k+"/", v, at, step)...)
			}
		case nil:
			if word, ok := words[k].(string); ok {
				if x, err := strconv.ParseFloat(word, 64); err == nil {
					list = append(list, metric{prefix + k, number(x), at, step})
				}
			}
		}
	}
	return list
}

// evaluations sends what evaluations measured to the run of the stage that they measured.
func (t *Tracker) evaluations(ctx context.Context) error {
	for _, name := range t.state.Names() {
		a, err := addr.Parse(name)
		b := t.state.Blocks[name]
		if err != nil || a.Kind != "evaluate" || b.Status != state.Done {
			continue
		}
		model := plain(b.Attrs["model"])
		r, step, at := t.parent, 0, addr.Addr{}
		if s := t.state.Blocks[model]; s != nil {
			if s.Content != b.Inputs[model] { // it is trained anew
				continue
			}
			r, step = t.runs[runKey(model, s.Recipe)], s.Step
			if at, err = addr.Parse(model); err != nil {
				continue
			}
		}
		if r == nil || r.deleted || r.refused != nil {
			continue
		}
		list := numbers(evaluationName(a, at), b.Values, integer(b.Updated.UnixMilli()), integer(step))
		if err := t.refusable(ctx, r, t.send(ctx, r, list, nil)); err != nil {
			return err
		}
	}
	return nil
}

// evaluationName is what the values of an evaluation begin with: its address, without the module and the key that it has
// in common with what it measures, so that the runs of a sweep have the same names.
func evaluationName(a, model addr.Addr) string {
	if a.Module == model.Module {
		a.Module = ""
	}
	k := a.Key
	a.Key = ""
	if k == "" || k == model.Key {
		return a.String() + "/"
	}
	return a.String() + "/" + plain(k) + "/"
}

// finish sends the pipeline's outputs and how it ended. Runs of earlier ones whose process ended without a word are
// ended too.
func (t *Tracker) finish(ctx context.Context) error {
	t.mu.Lock()
	outcome := string(t.outcome)
	t.mu.Unlock()
	for _, r := range append(slices.Collect(maps.Values(t.runs)), t.others...) {
		if b := t.state.Blocks[r.address]; r.status == running && !r.deleted && (b == nil || b.Recipe != r.recipe) {
			if err := t.refusable(ctx, r, t.status(ctx, r, string(Killed), time.Now())); err != nil {
				return err
			}
		}
	}
	values := map[string]any{}
	for n, o := range t.state.Outputs {
		if x, ok := o.Value.(float64); ok && !o.Sensitive {
			values[n] = x
		}
	}
	if t.parent.refused != nil || t.parent.deleted {
		return nil
	}
	// The time of the last change, so that they are sent once.
	err := t.send(ctx, t.parent, numbers("", values, integer(t.changed()), 0), nil)
	if err == nil && (t.parent.status != outcome || t.parent.ended < t.changed()) {
		err = t.status(ctx, t.parent, outcome, time.Now())
	}
	return t.refusable(ctx, t.parent, err)
}
