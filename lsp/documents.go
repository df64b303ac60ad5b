package lsp

import (
	"path/filepath"
	"slices"
)

// didOpen takes the text of a file that is opened.
func (s *session) didOpen(p didOpenParams) {
	path := pathOf(p.TextDocument.URI)
	delete(s.told, path)
	s.put(&file{uri: p.TextDocument.URI, path: path}, newText([]byte(p.TextDocument.Text), s.encoding),
		p.TextDocument.Version)
}

// didChange takes changes of a text, each of what those before it left.
func (s *session) didChange(p didChangeParams) {
	f := s.open[pathOf(p.TextDocument.URI)]
	if f == nil {
		return
	}
	t := f.text
	for _, c := range p.ContentChanges {
		t = t.replace(c.Range, c.Text)
	}
	s.put(f, t, p.TextDocument.Version)
}

// put takes a version of a text, and has its folder checked.
func (s *session) put(old *file, t *text, version int) {
	f := newFile(old.uri, old.path, t, old)
	f.version = version
	s.open[f.path] = f
	s.changed(f.dir())
}

// didClose forgets a text; what lies on disk counts again.
func (s *session) didClose(p documentParams) {
	f := s.open[pathOf(p.TextDocument.URI)]
	if f == nil {
		return
	}
	delete(s.open, f.path)
	s.changed(f.dir())
}

// didSave has the folder of a file checked again: others may read the file from disk.
func (s *session) didSave(p documentParams) { s.changed(filepath.Dir(pathOf(p.TextDocument.URI))) }

// filesParams are of messages about files that changed on disk.
type filesParams struct {
	Changes []struct {
		URI string `json:"uri"`
	} `json:"changes"`
}

func (s *session) didChangeFiles(p filesParams) {
	for _, c := range p.Changes {
		s.changed(filepath.Dir(pathOf(c.URI)))
	}
}

// foldersParams are of messages about folders of the workspace.
type foldersParams struct {
	Event struct {
		Added   []workspaceFolder `json:"added"`
		Removed []workspaceFolder `json:"removed"`
	} `json:"event"`
}

func (s *session) didChangeFolders(p foldersParams) {
	for _, f := range p.Event.Removed {
		s.roots = slices.DeleteFunc(s.roots, func(r string) bool { return r == pathOf(f.URI) })
	}
	for _, f := range p.Event.Added {
		s.roots = append(s.roots, pathOf(f.URI))
	}
}

// document returns a file that the editor has open; an error if it has not.
func (s *session) document(uri string) (*file, error) {
	if f := s.open[pathOf(uri)]; f != nil {
		return f, nil
	}
	return nil, refuse("%s is not open", uri)
}
