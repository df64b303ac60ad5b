package tasks

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/fineweb"
	"stepflow/foreign"
)

// Dataset says where the documents of a task are.
type Dataset struct {
	Path  string              // on the Hugging Face hub, "ORG/NAME"
	Name  string              // of a part of it; "" for the only one
	Files map[string][]string // globs by split, instead of Path
	Dir   string              // where relative ones start
	Where string              // where the task is described
}

// arguments reads dataset_kwargs.
func (d *Dataset) arguments(v any) error {
	return each(v, map[string]func(any) error{
		"data_files":        d.files,
		"trust_remote_code": func(any) error { return nil },
	})
}

// files reads data_files: globs, or globs by split. Without splits they are those of the split "train", as the datasets
// library has it.
func (d *Dataset) files(v any) error {
	d.Files = map[string][]string{}
	o, ok := v.(fineweb.Object)
	if !ok {
		o = fineweb.Object{{Name: "train", Value: v}}
	}
	for _, f := range o {
		var list []string
		if err := texts(&list, f.Value); err != nil {
			return fmt.Errorf("%s: %w", foreign.Shown(f.Name), err)
		}
		if len(list) == 0 {
			return fmt.Errorf("%s: it is empty", foreign.Shown(f.Name))
		}
		d.Files[f.Name] = list
	}
	return nil
}

// formats of the datasets library, whose name a dataset_path may be, with data_files beside it.
var formats = []string{"json", "parquet"}

// Source is where the documents of a split are.
func (d *Dataset) Source(split string) (s fineweb.Source, err error) {
	if d.Files != nil {
		s.Patterns, s.Dir = d.Files[split], d.Dir
		if s.Patterns == nil {
			return s, fmt.Errorf("%s: data_files names no files of the split %q", d.Where, foreign.Shown(split))
		}
		return s, nil
	}
	if slices.Contains(formats, d.Path) {
		return s, fmt.Errorf("%s: dataset_path is %q, so that data_files must name the files", d.Where, d.Path)
	}
	if slices.Contains([]string{"text", "csv", "arrow"}, d.Path) {
		return s, fmt.Errorf("%s: a dataset in %s is not read: write it as parquet or JSON lines", d.Where, d.Path)
	}
	if strings.Count(d.Path, "/") != 1 || strings.HasPrefix(d.Path, ".") || filepath.IsAbs(d.Path) {
		return s, fmt.Errorf("%s: dataset_path %q is not ORG/NAME of the Hugging Face hub; data_files names other files", d.Where,
			foreign.Shown(d.Path))
	}
	name := d.Name
	if name == "" {
		name = "default"
	}
	// The hub converts every dataset to parquet, in a branch of one layout.
	s.Patterns = []string{fmt.Sprintf("hf://datasets/%s@~parquet/%s/%s/*.parquet", d.Path, name, split)}
	return s, nil
}

// maxDocuments bounds the documents of a split, and maxDocumentBytes their texts: they are held in memory.
const (
	maxDocuments     = 4 << 20
	maxDocumentBytes = 2 << 30
)

// Documents are those of a split, opened.
type Documents struct {
	Rows *fineweb.Records
}

// OpenDocuments finds the files of a source.
func OpenDocuments(ctx context.Context, s fineweb.Source) (*Documents, error) {
	r, err := fineweb.OpenRecords(ctx, s)
	if err != nil {
		return nil, err
	}
	return &Documents{Rows: r}, nil
}

// Close closes the files.
func (d *Documents) Close() error { return d.Rows.Close() }

// First are the first documents, all where n is 0.
func (d *Documents) First(n int) (list []*Document, err error) {
	size := 0
	for row, err := range d.Rows.All() {
		if err != nil {
			return nil, err
		}
		list = append(list, &Document{Fields: row.Fields, Number: len(list), Where: row.File + ", " + row.Place})
		if size += sizeOf(row.Fields); size > maxDocumentBytes || len(list) > maxDocuments {
			return nil, fmt.Errorf("%s: a task holds its documents in memory, and these are more than %d, or %d GiB", row.File,
				maxDocuments, maxDocumentBytes>>30)
		}
		if len(list) == n {
			break
		}
	}
	if len(list) == 0 {
		return nil, errors.New("it holds no documents")
	}
	return list, nil
}

// sizeOf is about how many bytes a value takes.
func sizeOf(v any) (n int) {
	switch v := v.(type) {
	case string:
		return 16 + len(v)
	case fineweb.List:
		for _, x := range v {
			n += sizeOf(x)
		}
	case fineweb.Object:
		for _, f := range v {
			n += 32 + sizeOf(f.Value)
		}
	}
	return n + 16
}

// Given are documents that a description holds itself; nil where there are none.
func Given(list []fineweb.Object) (all []*Document) {
	for i, o := range list {
		all = append(all, &Document{Fields: o, Number: i, Where: fmt.Sprintf("sample %d of fewshot_config", i+1)})
	}
	return all
}

// WithFiles is the task with other files: globs, in which {split}, {dataset_name} and {task} stand for what it has there,
// or an object of globs by split. A glob without {split} is of the documents that are measured.
func (t *Task) WithFiles(v any, dir string) (*Task, error) {
	d := Dataset{}
	if o, ok := v.(fineweb.Object); ok {
		if err := d.files(o); err != nil {
			return nil, err
		}
		return t.With(t.filled(d.Files), dir), nil
	}
	var list []string
	if err := texts(&list, v); err != nil {
		return nil, err
	}
	files := map[string][]string{t.Eval(): list}
	for _, split := range []string{t.Training, t.Validation, t.Test, t.Shots.Split} {
		if split != "" && split != t.Eval() && strings.Contains(strings.Join(list, ""), "{split}") {
			files[split] = list
		}
	}
	return t.With(t.filled(files), dir), nil
}

// filled puts names for what stands for them in globs.
func (t *Task) filled(files map[string][]string) map[string][]string {
	name := t.Data.Name
	if name == "" {
		name = "default"
	}
	all := map[string][]string{}
	for split, list := range files {
		r := strings.NewReplacer("{split}", split, "{dataset_name}", name, "{task}", t.Name)
		for _, s := range list {
			all[split] = append(all[split], r.Replace(s))
		}
	}
	return all
}
