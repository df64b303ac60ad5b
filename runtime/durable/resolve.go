package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxLinks bounds how far symbolic links are followed.
const maxLinks = 40

// Resolve returns the absolute path without symbolic links that a path stands for. What the path names need not be there,
// nor what a link leads to.
func Resolve(path string) (string, error) { return resolve(path, maxLinks) }

// Missing reports whether an error of looking at a path says that nothing is there, not even because a file is where a
// folder would have to be.
func Missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func resolve(path string, links int) (string, error) {
	if links == 0 {
		return "", fmt.Errorf("%s: too many symbolic links", path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if err == nil || !Missing(err) {
		return real, err
	}
	dir, err := resolve(filepath.Dir(path), links)
	if err != nil {
		return "", err
	}
	to, err := os.Readlink(path)
	if err != nil { // nothing is there
		return filepath.Join(dir, filepath.Base(path)), nil
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(dir, to)
	}
	return resolve(to, links-1)
}

// Within reports whether path is dir or lies in it; both are without links.
func Within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// LeadsInto reports whether a path leads to dir, which is without links, or to something in it.
func LeadsInto(path, dir string) bool {
	real, err := Resolve(path)
	return err == nil && Within(real, dir)
}
