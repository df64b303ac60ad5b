package dsl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"stepflow/foreign"
)

// readFunc returns a function that reads a file, relative to dir, and returns its bytes as text writes them.
func readFunc(dir string, text func([]byte) (string, error)) function.Function {
	return textFunc(func(path string) (string, error) {
		b, err := foreign.ReadFile(inDir(dir, path), maxText)
		if err != nil {
			return "", fmt.Errorf("reading the file: %w", err)
		}
		s, err := text(b)
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", path, err)
		}
		return s, nil
	})
}

func inDir(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func fileExistsFunc(dir string) function.Function {
	return pure(cty.Bool, func(args []cty.Value) (cty.Value, error) {
		st, err := os.Stat(inDir(dir, args[0].AsString()))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return cty.False, nil
		case err != nil:
			return cty.NilVal, function.NewArgError(0, err)
		case !st.Mode().IsRegular():
			return cty.NilVal, function.NewArgErrorf(0, "%s is not a regular file", args[0].AsString())
		}
		return cty.True, nil
	}, param("path", cty.String))
}
