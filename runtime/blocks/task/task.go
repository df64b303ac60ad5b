// Package task is the task block: what a model is measured on, described in the pipeline or in a file.
package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/foreign"
	"stepflow/runtime/blocks"
	"stepflow/tasks"
)

// Kind is the task block.
var Kind = blocks.Kind{Sound: sound, Plan: plan,
	Idle: map[string]string{"file": "what the file says is part of the recipe of the evaluation"}}

// Task is a planned task block.
type Task struct {
	describe func(c *tasks.Collection) (string, error)
}

// Identity writes nothing: an evaluation hashes what it asks.
func (*Task) Identity(io.Writer) {}

// Summary is empty.
func (*Task) Summary() string { return "" }

// Describe adds the task to a collection, and returns its name there.
func (t *Task) Describe(c *tasks.Collection) (string, error) { return t.describe(c) }

// maxFile bounds a description, in bytes.
const maxFile = 4 << 20

// Load adds the task of a YAML file, by its path in the pipeline's folder, and returns its name. Files of documents that
// it names start there too, as they start at the working folder of the harness.
func Load(w *blocks.World, c *tasks.Collection, file string) (string, error) {
	name := filepath.ToSlash(file)
	read := func(name string) ([]byte, error) {
		b, err := foreign.ReadFile(w.Path(filepath.FromSlash(name)), maxFile)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("there is no file %s", foreign.Shown(name))
		}
		return b, err
	}
	return c.Load(read, name, w.Dir)
}

func sound(_ addr.Addr, d *dsl.Decoded) (diags hcl.Diagnostics) {
	if !d.Given("file") {
		return nil
	}
	for _, a := range dsl.KindOf("task").Attrs {
		if a.Name != "file" && d.Given(a.Name) {
			diags = append(diags, d.Error(a.Name, "Described twice",
				fmt.Sprintf("The file describes the task: leave %s out, or the file.", a.Name)))
		}
	}
	return diags
}

func plan(_ context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	t := &Task{}
	p.Block = t
	attr := "file"
	if file := d.Str("file"); file != "" {
		t.describe = func(c *tasks.Collection) (string, error) { return Load(p.World, c, file) }
	} else {
		attr = "doc_to_text"
		keys, places, err := described(p, d)
		if err != nil {
			return nil, blocks.Problem(d, attr, "Unusable task", err)
		}
		t.describe = func(c *tasks.Collection) (string, error) {
			return c.Describe(keys, p.Addr.String(), places, p.World.Dir)
		}
	}
	if _, err := t.describe(tasks.Builtin()); err != nil {
		return nil, blocks.Problem(d, attr, "Unusable task", err)
	}
	return map[string]cty.Value{}, nil
}

// described turns the attributes of a block into the keys of a description, with where they stand.
func described(p *blocks.Planned, d *dsl.Decoded) (keys fineweb.Object, places map[string]string, err error) {
	keys, places = fineweb.Object{{Name: "task", Value: p.Addr.Name}}, map[string]string{}
	for _, a := range dsl.KindOf("task").Attrs {
		if !d.Given(a.Name) {
			continue
		}
		v, err := Plain(d.Value(a.Name))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", a.Name, err)
		}
		keys = append(keys, fineweb.Field{Name: a.Name, Value: v})
		places[a.Name] = p.Addr.String()
	}
	if files, ok := keys.Get("data_files"); ok {
		if _, splits := files.(fineweb.Object); !splits {
			keys = measured(keys, files)
		}
	}
	return keys, places, nil
}

// measured names the split of files that are given without one.
func measured(keys fineweb.Object, files any) fineweb.Object {
	split := "test"
	for _, name := range []string{"validation_split", "test_split"} {
		if s, ok := keys.Get(name); ok {
			split, _ = s.(string)
		}
	}
	if _, ok := keys.Get("test_split"); !ok && split == "test" {
		keys = append(keys, fineweb.Field{Name: "test_split", Value: split})
	}
	for i := range keys {
		if keys[i].Name == "data_files" {
			keys[i].Value = fineweb.Object{{Name: split, Value: files}}
		}
	}
	return keys
}

// Plain turns a value of the language into one of a description.
func Plain(v cty.Value) (any, error) {
	t := v.Type()
	switch {
	case v.IsNull():
		return nil, nil
	case t == cty.String:
		return v.AsString(), nil
	case t == cty.Bool:
		return v.True(), nil
	case t == cty.Number:
		f := v.AsBigFloat()
		if n, accuracy := f.Int64(); accuracy == big.Exact {
			return n, nil
		}
		x, _ := f.Float64()
		return x, nil
	case t.IsTupleType() || t.IsListType() || t.IsSetType():
		list := fineweb.List{}
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			x, err := Plain(e)
			if err != nil {
				return nil, err
			}
			list = append(list, x)
		}
		return list, nil
	case t.IsObjectType() || t.IsMapType():
		o := fineweb.Object{}
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			x, err := Plain(e)
			if err != nil {
				return nil, err
			}
			o = append(o, fineweb.Field{Name: k.AsString(), Value: x})
		}
		return o, nil
	}
	return nil, errors.New("a value of type " + t.FriendlyName() + " is not read")
}
