package fineweb

import (
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"stepflow/fineweb/hub"
	"stepflow/fineweb/web"
)

// Files are known by their names below a root: the deepest folder that holds all that the patterns may match. So moving
// the folder, or the machine that has it, changes neither the ids of text files' documents nor the identity of the
// data, and two files of one name in different folders are two.

// located is a path, from dir on where it is relative, or an address as a path with slashes: of the hub without the
// revision, of a server without the query.
func located(dir, name string) string {
	switch {
	case hub.Is(name):
		if r, file, err := hub.Parse(name); err == nil {
			return "hf://" + r.Kind + "/" + r.Name + "/" + file
		}
	case web.Is(name):
		if u, err := url.Parse(name); err == nil {
			return u.Scheme + "://" + u.Host + path.Clean("/"+u.Path)
		}
	case !IsRemote(name):
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return filepath.ToSlash(filepath.Clean(name))
	}
	return name
}

// rootOf finds the root, once: what is opened again by the files' names has it already.
func (s *Source) rootOf(files []string) string {
	if s.rooted {
		return s.root
	}
	named := map[string]bool{}
	for _, f := range files {
		named[located("", f)] = true
	}
	root, begun := "", false
	for _, p := range s.Patterns {
		at := located(s.Dir, p)
		if i := strings.IndexAny(at, `*?[`); i >= 0 && !named[at] && !(web.Is(p)) {
			at = at[:i]
		}
		at = at[:strings.LastIndexByte(at, '/')+1]
		for begun && !strings.HasPrefix(at, root) {
			root = root[:strings.LastIndexByte(strings.TrimSuffix(root, "/"), '/')+1]
		}
		if !begun {
			root, begun = at, true
		}
	}
	return root
}

// below is a file's name below the root, without the suffix that says how it is compressed.
func (s *Source) below(name string) string {
	at := located("", name)
	if rest, ok := strings.CutPrefix(at, s.root); ok && rest != "" {
		at = rest
	}
	return plainName(at)
}
