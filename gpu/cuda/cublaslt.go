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

// findCuBLASLt tries the places where cuBLASLt may lie, the likeliest first, until open opens one: the file that
// STEPFLOW_CUBLASLT names, and it alone; the loader's paths; CUDA's folders; the packages of an active virtual or
// Conda environment and of python3, where PyTorch's wheels bring it. driver is the major version of CUDA that the
// card's driver is for: it runs libraries of that version and of those before. The error lists all that was tried and
// why it failed.
func findCuBLASLt(driver int, open func(path string) error) error {
	if p := os.Getenv("STEPFLOW_CUBLASLT"); p != "" {
		if err := open(p); err != nil {
			return fmt.Errorf("cuBLASLt cannot be loaded from STEPFLOW_CUBLASLT: %w", err)
		}
		return nil
	}
	var names []string
	for _, version := range []int{13, 12} {
		if version <= max(driver, 12) {
			names = append(names, fmt.Sprintf("libcublasLt.so.%d", version))
		}
	}
	failed := []error{fmt.Errorf("no cuBLASLt can be loaded. The driver is for CUDA %d: it takes cuBLASLt of CUDA 12 or "+
		"later, but not later than itself. It comes with the CUDA toolkit, with PyTorch, and from PyPI as nvidia-cublas-cu12; name its file in "+
		"STEPFLOW_CUBLASLT. Tried were", driver)}
	for _, n := range append(names, "libcublasLt.so") {
		err := open(n)
		if err == nil {
			return nil
		}
		failed = append(failed, fmt.Errorf("  the loader's paths: %w", err))
	}
	for _, place := range cublasFolders {
		folders, err := place.folders()
		switch {
		case err != nil:
			failed = append(failed, fmt.Errorf("  %s: %w", place.name, err))
		case len(folders) == 0:
			failed = append(failed, fmt.Errorf("  %s: there is no folder of libraries", place.name))
		}
		for _, dir := range folders {
			if err = openIn(dir, names, open); err == nil {
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

// cublasFolders are the folders beyond the loader's paths.
var cublasFolders = []struct {
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
