package kernels

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"sort"
	"strings"
)

// Sum lists the kernels' sources in a folder with their SHA-256, a line each.
func Sum(dir fs.FS) (string, error) {
	var names []string
	for _, pattern := range []string{"*.cu", "*.cuh"} {
		list, err := fs.Glob(dir, pattern)
		if err != nil {
			return "", err
		}
		names = append(names, list...)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, n := range names {
		text, err := fs.ReadFile(dir, n)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(text), n)
	}
	return b.String(), nil
}
