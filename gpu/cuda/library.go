package cuda

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// wanted is a library of NVIDIA's that is looked for when it is needed.
type wanted struct {
	name     string
	variable string   // of the environment, which names its file
	files    []string // its names, the best first; one without a version is tried in the loader's paths
	missing  string   // what to say where it is nowhere
}

// find tries the places where a library may lie, the likeliest first, until open opens one: the file that its variable
// names, and it alone; the loader's paths; CUDA's folders; the packages of an active virtual or Conda environment and of
// python3, where PyTorch's wheels bring it. The error lists all that was tried and why it failed.
func (w wanted) find(open func(path string) error) error {
	if p := os.Getenv(w.variable); p != "" {
		if err := open(p); err != nil {
			return fmt.Errorf("%s cannot be loaded from %s: %w", w.name, w.variable, err)
		}
		return nil
	}
	failed := []error{errors.New(w.missing)}
	unversioned, _, _ := strings.Cut(w.files[0], ".so.")
	for _, n := range append(w.files[:len(w.files):len(w.files)], unversioned+".so") {
		err := open(n)
		if err == nil {
			return nil
		}
		failed = append(failed, fmt.Errorf("  the loader's paths: %w", err))
	}
	for _, place := range libraryFolders {
		folders, err := place.folders()
		switch {
		case err != nil:
			failed = append(failed, fmt.Errorf("  %s: %w", place.name, err))
		case len(folders) == 0:
			failed = append(failed, fmt.Errorf("  %s: there is no folder of libraries", place.name))
		}
		for _, dir := range folders {
			if err = openIn(dir, w.files, open); err == nil {
				return nil
			}
			failed = append(failed, fmt.Errorf("  %s: %w", place.name, err))
		}
	}
	return errors.Join(failed...)
}

// openIn opens the first of the names that lies in a folder and can be opened.
func openIn(dir string, names []string, open func(path string) error) error {
	var errs []string
	for _, n := range names {
		path := filepath.Join(dir, n)
		_, err := os.Stat(path)
		if err == nil {
			if err = open(path); err == nil {
				return nil
			}
			errs = append(errs, err.Error())
		}
	}
	if len(errs) == 0 {
		return fmt.Errorf("%s has no %s", dir, strings.Join(names, " and no "))
	}
	return errors.New(strings.Join(errs, "; "))
}

// libraryFolders are the folders beyond the loader's paths.
var libraryFolders = []struct {
	name    string
	folders func() ([]string, error)
}{
	{"CUDA_HOME", below("CUDA_HOME", toolkit)},
	{"CUDA_PATH", below("CUDA_PATH", toolkit)},
	{"/usr/local/cuda*", func() ([]string, error) { return toolkit("/usr/local/cuda*"), nil }},
	{"/opt/cuda", func() ([]string, error) { return toolkit("/opt/cuda"), nil }},
	{"CONDA_PREFIX", below("CONDA_PREFIX", environment)},
	{"VIRTUAL_ENV", below("VIRTUAL_ENV", environment)},
	{"python3's packages", pythonFolders},
}

// below returns a function that lists the folders of libraries of what a variable of the environment names.
func below(variable string, list func(root string) []string) func() ([]string, error) {
	return func() ([]string, error) {
		root := os.Getenv(variable)
		if root == "" {
			return nil, errors.New("it is not set")
		}
		return list(root), nil
	}
}

// toolkit lists the folders of libraries of an installed toolkit, or of those that a pattern matches.
func toolkit(root string) (list []string) {
	for _, sub := range []string{"lib64", "lib", "targets/*/lib"} {
		found, _ := filepath.Glob(filepath.Join(root, sub))
		list = append(list, found...)
	}
	return list
}

// environment lists the folders of libraries of a virtual or Conda environment.
func environment(root string) []string {
	found, _ := filepath.Glob(filepath.Join(root, "lib/python3*/site-packages/nvidia/*/lib"))
	return append(toolkit(root), found...)
}

// pythonFolders lists the folders of libraries in the packages of python3. An interpreter that hangs is given up.
func pythonFolders() (list []string, err error) {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	out, err := exec.CommandContext(ctx, "python3", "-c", `import sys; print("\n".join(sys.path))`).Output()
	if err != nil {
		return nil, fmt.Errorf("asking for its path: %w", err)
	}
	for _, dir := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		if filepath.IsAbs(dir) {
			found, _ := filepath.Glob(filepath.Join(dir, "nvidia/*/lib"))
			list = append(list, found...)
		}
	}
	return list, nil
}
