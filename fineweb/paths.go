package fineweb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/fineweb/glob"
	"stepflow/fineweb/web"
	"stepflow/foreign"
)

const slash = string(filepath.Separator)

// matchPaths lists the files on disk that a pattern matches, a relative one from dir on. Only what the pattern itself
// says is a pattern: neither dir nor the name of a file or folder that is there is read as one, whatever characters
// they have.
func matchPaths(ctx context.Context, dir, pattern string) ([]web.Entry, error) {
	from, given := dir, pattern
	if pattern == "" {
		return nil, errors.New("a source is empty: name files, such as data/*.parquet")
	}
	if dir == "" {
		dir = "."
	}
	rest, within := strings.CutPrefix(filepath.Clean(pattern), filepath.Clean(dir)+slash)
	switch {
	case filepath.IsAbs(pattern) && within:
		pattern = rest
	case filepath.IsAbs(pattern):
		dir, pattern = slash, strings.TrimLeft(filepath.Clean(pattern), slash)
	default:
		pattern = filepath.Clean(pattern)
	}
	if full := filepath.Join(dir, pattern); exists(full) {
		if st, err := os.Stat(full); err == nil && st.IsDir() {
			return nil, isFolder(given, full)
		}
		return []web.Entry{{Address: full}}, nil
	}
	for { // down the folders that are there
		first, more, ok := strings.Cut(pattern, slash)
		if !ok || first != ".." && !exists(filepath.Join(dir, first)) {
			break
		}
		dir, pattern = filepath.Join(dir, first), more
	}
	p, err := glob.Parse(filepath.ToSlash(pattern))
	if err != nil {
		return nil, err
	}
	if base := p.Base(); base != "" && !exists(filepath.Join(dir, filepath.FromSlash(base))) {
		return nil, noFile(from, given)
	}
	w := &walk{quiet: p.Loose(), seen: map[string]string{}}
	if err := w.down(ctx, dir, p.Start(), foldersAbove(dir)); err != nil {
		return nil, err
	}
	if len(w.files) == 0 && w.folder != "" {
		name, _ := lies(w.folder)
		return nil, fmt.Errorf("%s matches folders only: name the files in them, as in %s",
			foreign.Shown(given), foreign.Shown(filepath.Join(given, name)))
	}
	if len(w.files) == 0 {
		return nil, noFile(from, given)
	}
	return w.files, nil
}

// isFolder says that a path leads to a folder, and how the files that lie in it are named.
func isFolder(given, path string) error {
	name, deep := lies(path)
	here, below := foreign.Shown(filepath.Join(given, name)), foreign.Shown(filepath.Join(given, "**", name))
	if deep {
		return fmt.Errorf("%s is a folder: name the files in its folders, as in %s", foreign.Shown(given), below)
	}
	return fmt.Errorf("%s is a folder: name its files, as in %s, or in %s with those of all folders in it",
		foreign.Shown(given), here, below)
}

// lies is a pattern of the files in a folder that are of a format which is read, most of them if there are several;
// deep if they lie in folders inside it only. Of a large tree the beginning is looked at.
func lies(dir string) (pattern string, deep bool) {
	const most = 10_000
	seen := 0
	counts := [2]map[string]int{{}, {}}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if seen++; seen > most || e == nil {
			return fs.SkipAll
		}
		switch hidden := strings.ContainsRune("._", rune(e.Name()[0])) && path != dir; {
		case hidden && e.IsDir():
			return fs.SkipDir
		case hidden || err != nil || e.IsDir():
			return nil
		}
		if FormatOf(path) != "" {
			inside := 0
			if filepath.Dir(path) != filepath.Clean(dir) {
				inside = 1
			}
			plain := plainName(e.Name())
			counts[inside]["*"+filepath.Ext(plain)+e.Name()[len(plain):]]++
		}
		return nil
	})
	for i, count := range counts {
		best := ""
		for _, p := range slices.Sorted(maps.Keys(count)) {
			if count[p] > count[best] {
				best = p
			}
		}
		if best != "" {
			return best, i == 1
		}
	}
	return "*.parquet", false
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// foldersAbove are the folders that a folder is in.
func foldersAbove(dir string) (list []fs.FileInfo) {
	real, err := filepath.Abs(dir)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	for err == nil && filepath.Dir(real) != real {
		real = filepath.Dir(real)
		if st, err := os.Stat(real); err == nil {
			list = append(list, st)
		}
	}
	return list
}

// walk goes down folders, links to them included.
type walk struct {
	quiet  bool // about hidden files
	files  []web.Entry
	folder string            // one that matches as a file would; "" for none
	seen   map[string]string // folders, by what they are and what may match in them
}

func (w *walk) down(ctx context.Context, dir string, at glob.Matching, above []fs.FileInfo) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	for _, a := range above {
		if os.SameFile(a, st) { // a link to a folder that it is in
			return nil
		}
	}
	key := at.Key() + inode(dir, st)
	if before, twice := w.seen[key]; twice {
		w.files = append(w.files, web.Entry{Address: dir, Aside: "is the folder " + foreign.Shown(before) +
			" under another name"})
		return nil
	}
	w.seen[key] = dir
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	above = append(above[:len(above):len(above)], st)
	links := func(e fs.DirEntry) fs.FileMode { return e.Type() & fs.ModeSymlink }
	// A folder's own name before others.
	slices.SortStableFunc(list, func(a, b fs.DirEntry) int { return cmp.Compare(links(a), links(b)) })
	for _, e := range list {
		path := filepath.Join(dir, e.Name())
		folder := e.IsDir()
		if links(e) != 0 {
			st, err := os.Stat(path)
			folder = err == nil && st.IsDir()
		}
		if folder {
			if at.File(e.Name()) == glob.Yes && w.folder == "" {
				w.folder = path
			}
			if next := at.Into(e.Name()); next.Leads() {
				if err := w.down(ctx, path, next, above); err != nil {
					return err
				}
			}
			continue
		}
		switch at.File(e.Name()) {
		case glob.Yes:
			w.files = append(w.files, web.Entry{Address: path})
		case glob.Hidden:
			if !w.quiet {
				w.files = append(w.files, web.Entry{Address: path, Aside: glob.Aside})
			}
		}
	}
	return nil
}

// noFile says that a pattern matches nothing.
func noFile(dir, pattern string) error {
	hint := glob.Hint(filepath.ToSlash(pattern))
	if dir == "" || filepath.IsAbs(pattern) {
		return fmt.Errorf("%s matches no file%s", foreign.Shown(pattern), hint)
	}
	return fmt.Errorf("%s matches no file (looked in %s)%s", foreign.Shown(pattern), foreign.Shown(dir), hint)
}

// sameFile is the same for all names of a file: on disk, paths, links and spellings; of an address, spellings.
func sameFile(name string) string {
	if !IsRemote(name) {
		if st, err := os.Stat(name); err == nil {
			return inode(name, st)
		}
		return name
	}
	if web.Is(name) {
		return web.Same(name)
	}
	return name
}
