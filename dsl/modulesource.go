package dsl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
	"stepflow/foreign"
	"stepflow/foreign/archive"
)

// folder is the folder of a module, which is read once however many instances there are.
type folder struct {
	dir      string
	real     string // dir without symbolic links
	inside   string // the folder of an archive that it may not leave; "" for none
	bodies   []*hclsyntax.Body
	diags    hcl.Diagnostics
	first    *module // that uses it
	declared bool    // an instance has reported what is wrong with its blocks
}

// sourceOf returns the source of a module.
func (c *Config) sourceOf(x *call) (*folder, *hcl.Diagnostic) {
	if x.source == nil { // reported already
		x.vague = true
		return &folder{declared: true}, nil
	}
	at := x.source.Expr.Range()
	dir, inside, problem := x.find()
	if problem != "" {
		return nil, failure(at, "No module", "%s %s", x, problem)
	}
	s := c.sources[dir]
	if s == nil {
		s = &folder{dir: dir, real: realPath(dir), inside: inside}
	}
	if problem := x.chain(s); problem != nil {
		return nil, problem
	}
	if c.sources[dir] != nil {
		return s, nil
	}
	_, files, err := c.texts.pipelineFiles(dir)
	if err != nil {
		return nil, failure(at, "No module", "%s: %v.%s", x, err, onlyFolder(dir))
	}
	s.bodies, s.diags = c.parseAll(files)
	c.sources[dir] = s
	return s, nil
}

// remote are the beginnings of addresses from which Terraform would fetch a module.
var remote = []string{"git@", "github.com/", "gitlab.com/", "bitbucket.org/", "registry.terraform.io/", "hf://"}

// text returns the source as it is written; or what is wrong with it, as the rest of a sentence.
func (x *call) text() (text, problem string) {
	v, diags := x.source.Expr.Value(nil)
	if diags.HasErrors() || v.Type() != cty.String || !v.IsKnown() || v.IsNull() || v.AsString() == "" {
		return "", "has a source that is not a text. A module is read before anything is computed, so write its path " +
			"in quotes, such as \"./modules/run\"."
	}
	text = v.AsString()
	from := func(start string) bool { return strings.HasPrefix(text, start) }
	switch {
	case slices.ContainsFunc(remote, from), strings.Contains(text, "://"), strings.Contains(text, "::"):
		return "", fmt.Sprintf("is not read from %s: modules are read from disk, so that a pipeline is the same tomorrow. "+
			"Clone or download it, and name the folder or the archive, such as \"./modules/%s\".", foreign.Shown(text), x.name)
	case !filepath.IsAbs(text) && !slices.ContainsFunc([]string{"./", "../"}, from) && text != "." && text != "..":
		return "", fmt.Sprintf("has the source %s, which reads like a module of a registry, and there is none. Write "+
			"\"./%s\" for a folder beside this file, or clone the module and name its path.", foreign.Shown(text), text)
	}
	return text, ""
}

// find returns the folder of a module, and the one that it may not leave; or what is wrong, as the rest of a sentence.
func (x *call) find() (dir, inside, problem string) {
	text, problem := x.text()
	if problem != "" {
		return "", "", problem
	}
	path, sub, _ := strings.Cut(text, "//")
	if !filepath.IsAbs(path) {
		path, inside = filepath.Join(x.in.dir, path), x.in.source.inside
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "", fmt.Sprintf("is not found: there is no folder or archive %s. A relative source starts at the folder "+
			"of the file that names it.", foreign.Shown(path))
	case err != nil:
		return "", "", fmt.Sprintf("cannot be read: %v.", err)
	case !st.IsDir():
		if path, problem = unpack(path); problem != "" {
			return "", "", problem
		}
		inside = path
	}
	if sub = strings.Trim(sub, "/"); sub != "" && !filepath.IsLocal(sub) {
		return "", "", fmt.Sprintf("has a source with the folder %s, which leads elsewhere.", foreign.Shown(sub))
	}
	dir = filepath.Join(path, sub)
	if rel, err := filepath.Rel(inside, dir); inside != "" && (err != nil || !filepath.IsLocal(rel)) {
		return "", "", "leads out of the archive that it is in. Put what it needs into the archive."
	}
	return dir, inside, ""
}

// unpack returns the folder that holds what is in an archive; or what is wrong, as the rest of a sentence.
func unpack(path string) (dir, problem string) {
	cache := foreign.CacheDir()
	switch {
	case !archive.Is(path):
		return "", fmt.Sprintf("has the source %s, which is a file. Name a folder of *.hcl files, or an archive of one: "+
			".zip, .tar, .tar.gz or .tgz.", foreign.Shown(path))
	case cache == "":
		return "", "is in an archive, and there is no folder to unpack it in: set " + foreign.CacheDirVariable + "."
	}
	dir, err := archive.Unpack(path, filepath.Join(cache, "modules"))
	if err != nil {
		return "", fmt.Sprintf("is in an archive that is not read: %v.", err)
	}
	return dir, ""
}

// chain is the error of a module that contains itself, or is inside too many; nil for others.
func (x *call) chain(f *folder) *hcl.Diagnostic {
	at := x.source.Expr.Range()
	var names []string
	for m := x.in; m != nil; m = m.caller() {
		names = append([]string{m.title()}, names...)
		if m.source.real == f.real {
			return failure(at, "Modules in a circle", "%s uses the folder %s, from which it is called itself: %s, %s. A "+
				"module cannot contain itself.", x, foreign.Shown(f.dir), strings.Join(names, ", "), x)
		}
	}
	if len(names) > addr.MaxDepth {
		return failure(at, "Too many modules", "%s is the last of more than %d modules inside each other. Call some of "+
			"them beside each other.", x, addr.MaxDepth)
	}
	return nil
}

// title is how a chain of modules names one.
func (m *module) title() string {
	if m.path == "" {
		return "the pipeline"
	}
	return m.path
}

// realPath returns a path without symbolic links, as far as that is known.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(absolute(path)); err == nil {
		return real
	}
	return absolute(path)
}

// onlyFolder hints at the only folder in a folder, as archives of a repository have; "" if there are others.
func onlyFolder(dir string) string {
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 || !list[0].IsDir() {
		return ""
	}
	return fmt.Sprintf(" It holds the folder %[1]s: write PATH//%[1]s to name it.", foreign.Shown(list[0].Name()))
}
