package dsl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"stepflow/fineweb/glob"
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

// mostNames bounds the files and folders that fileset looks at.
const mostNames = 100_000

// fileSetFunc returns a function that lists the files below a folder whose paths in it match a pattern.
func fileSetFunc(dir string) function.Function {
	return pure(cty.Set(cty.String), func(args []cty.Value) (cty.Value, error) {
		pattern, err := glob.Parse(args[1].AsString())
		if err != nil {
			return cty.NilVal, function.NewArgError(1, err)
		}
		names, err := filesBelow(os.DirFS(inDir(dir, args[0].AsString())), pattern)
		if err != nil {
			return cty.NilVal, function.NewArgError(0, err)
		}
		if len(names) == 0 {
			return cty.SetValEmpty(cty.String), nil
		}
		return cty.SetVal(names), nil
	}, param("folder", cty.String), param("pattern", cty.String))
}

func filesBelow(folder fs.FS, pattern *glob.Pattern) (names []cty.Value, err error) {
	looked := 0
	err = fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		if looked++; looked > mostNames {
			return fmt.Errorf("more than %d files and folders lie below it: name a folder that is closer", mostNames)
		}
		if err == nil && d.Type().IsRegular() && pattern.Match(name) == glob.Yes {
			names = append(names, cty.StringVal(name))
		}
		return err
	})
	return names, err
}
