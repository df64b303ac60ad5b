package tasks

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"stepflow/fineweb"
	"stepflow/foreign"
)

// Bounds of a description: its bytes, its values, how deep they nest, and how many files are read for it.
const (
	maxYAML     = 4 << 20
	maxValues   = 1 << 16
	maxYAMLDeep = 32
	maxFiles    = 100
)

// reader reads a file of a description by its slashed path.
type reader func(name string) ([]byte, error)

// load reads the settings of a YAML file, with those of the files that it includes below its own.
func load(read reader, name string) (*settings, error) {
	l := loader{read: read}
	return l.load(name, nil)
}

// loader reads files that include others, which may include the same one again.
type loader struct {
	read  reader
	files int
}

func (l *loader) load(name string, above []string) (*settings, error) {
	if slices.Contains(above, name) {
		return nil, fmt.Errorf("%s includes itself", foreign.Shown(name))
	}
	if l.files++; l.files > maxFiles {
		return nil, fmt.Errorf("%s: more than %d files are included; one that is included twice counts twice", foreign.Shown(name),
			maxFiles)
	}
	b, err := l.read(name)
	if err != nil {
		return nil, err
	}
	s, err := parseYAML(b, name)
	if err != nil {
		return nil, err
	}
	include, ok := s.object.Get("include")
	if !ok {
		return s, nil
	}
	var files []string
	if err := texts(&files, include); err != nil {
		return nil, s.wrong("include", err)
	}
	merged := &settings{at: map[string]string{}, where: s.where}
	for _, f := range files {
		if !path.IsAbs(f) {
			f = path.Join(path.Dir(name), f)
		}
		below, err := l.load(f, append(slices.Clone(above), name))
		if err != nil {
			return nil, s.wrong("include", err)
		}
		merged.merge(below)
	}
	merged.merge(s)
	merged.drop("include")
	return merged, nil
}

// merge adds the settings of o, which win.
func (s *settings) merge(o *settings) {
	for _, f := range o.object {
		s.drop(f.Name)
		s.object = append(s.object, f)
	}
	maps.Copy(s.at, o.at)
}

func (s *settings) drop(name string) {
	s.object = slices.DeleteFunc(s.object, func(f fineweb.Field) bool { return f.Name == name })
}

// parseYAML reads a file of one mapping.
func parseYAML(b []byte, name string) (*settings, error) {
	shown := foreign.Shown(name)
	if len(b) > maxYAML {
		return nil, fmt.Errorf("%s has %d bytes; the most is %d", shown, len(b), maxYAML)
	}
	var doc, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(b))
	err := d.Decode(&doc)
	if err == nil {
		if err = d.Decode(&more); err == nil {
			return nil, fmt.Errorf("%s, line %d: a second document begins after ---, and a file describes one task", shown, more.Line)
		}
	}
	if err != io.EOF {
		return nil, fmt.Errorf("%s: %s", shown, foreign.Shown(strings.TrimPrefix(err.Error(), "yaml: ")))
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: it is not a mapping of keys, as a task is", shown)
	}
	y := yamlValues{left: maxValues, bytes: maxYAML}
	root := doc.Content[0]
	v, err := y.value(root, maxYAMLDeep)
	if err != nil {
		return nil, fmt.Errorf("%s, %w", shown, err)
	}
	s := &settings{object: v.(fineweb.Object), at: map[string]string{}, where: shown}
	for i := 0; i+1 < len(root.Content); i += 2 {
		s.at[root.Content[i].Value] = fmt.Sprintf("%s, line %d", shown, root.Content[i].Line)
	}
	return s, nil
}

// yamlValues makes values of YAML as PyYAML does, of which so many may still come, with so many bytes of text. An alias
// counts as what it stands for.
type yamlValues struct {
	left, bytes int
}

// yamlTags are the tags of nodes that are not scalars.
var yamlTags = map[yaml.Kind]string{yaml.SequenceNode: "!!seq", yaml.MappingNode: "!!map"}

func (y *yamlValues) value(n *yaml.Node, depth int) (any, error) {
	fail := func(format string, args ...any) (any, error) {
		return nil, fmt.Errorf("line %d: %w", n.Line, fmt.Errorf(format, args...))
	}
	if y.left--; y.left < 0 {
		return fail("it holds more than %d values", maxValues)
	}
	if y.bytes -= len(n.Value); y.bytes < 0 {
		return fail("its values have more than %d bytes, each alias counted as what it stands for", maxYAML)
	}
	if depth == 0 {
		return fail("its values nest more than %d deep", maxYAMLDeep)
	}
	if n.Tag == "!function" {
		return function(n.Value), nil
	}
	if kind := yamlTags[n.Kind]; strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") || kind != "" && n.Tag != kind {
		return fail("the tag %s is not read", foreign.Shown(n.Tag))
	}
	switch n.Kind {
	case yaml.AliasNode:
		return y.value(n.Alias, depth-1)
	case yaml.SequenceNode:
		list := fineweb.List{}
		for _, c := range n.Content {
			v, err := y.value(c, depth-1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		o, seen := fineweb.Object{}, map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			switch {
			case k.Tag == "!!merge":
				return fail("the merge key << is not read")
			case k.Kind != yaml.ScalarNode:
				return fail("a key of a mapping is a text, and here it is not")
			case seen[k.Value]:
				return fail("the key %s stands twice", foreign.ShownStart(k.Value, 60))
			}
			seen[k.Value] = true
			y.bytes -= len(k.Value)
			x, err := y.value(v, depth-1)
			if err != nil {
				return nil, err
			}
			o = append(o, fineweb.Field{Name: k.Value, Value: x})
		}
		return o, nil
	}
	v, err := scalar(n)
	if err != nil {
		return fail("%w", err)
	}
	return v, nil
}

// scalar reads a value by YAML 1.1, in which yes and no are true and false.
func scalar(n *yaml.Node) (any, error) {
	if n.Style == 0 {
		switch strings.ToLower(n.Value) {
		case "yes", "on":
			return true, nil
		case "no", "off":
			return false, nil
		}
	}
	switch n.Tag {
	case "!!str":
		return n.Value, nil
	case "!!null":
		return nil, nil
	case "!!bool":
		var b bool
		err := n.Decode(&b)
		return b, err
	case "!!int":
		var i int64
		err := n.Decode(&i)
		return i, err
	case "!!float":
		var f float64
		err := n.Decode(&f)
		return f, err
	}
	return nil, fmt.Errorf("a value of type %s is not read", foreign.Shown(n.Tag))
}
