package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxLinks bounds how far symbolic links are followed.
const maxLinks = 40

// Resolve returns the absolute path without symbolic links that a path stands for. What the path names need not be there,
// nor what a link leads to.
func Resolve(path string) (string, error) { return resolve(path, maxLinks) }

func resolve(path string, links int) (string, error) {
	if links == 0 {
		return "", fmt.Errorf("%s: too many symbolic links", path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
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
