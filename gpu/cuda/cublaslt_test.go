package cuda

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// put makes an empty library.
func put(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// cuBLASLt is found where it lies, and the newest that the driver can run.
func TestFindCuBLASLt(t *testing.T) {
	dir := t.TempDir()
	wheel := put(t, filepath.Join(dir, "venv/lib/python3.12/site-packages/nvidia/cublas/lib/libcublasLt.so.12"))
	newest := put(t, filepath.Join(dir, "venv/lib/python3.12/site-packages/nvidia/cu13/lib/libcublasLt.so.13"))
	home := put(t, filepath.Join(dir, "home/lib64/libcublasLt.so.12"))
	packages := put(t, filepath.Join(dir, "packages/nvidia/cublas/lib/libcublasLt.so.12"))
	python := put(t, filepath.Join(dir, "bin/python3"))
	script := "#!/bin/sh\necho\necho zip\necho " + filepath.Join(dir, "packages") + "\n"
	if err := os.WriteFile(python, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(python, 0o755); err != nil {
		t.Fatal(err)
	}
	venv := map[string]string{"VIRTUAL_ENV": filepath.Join(dir, "venv")}
	for _, x := range []struct {
		name   string
		driver int
		env    map[string]string
		opens  []string
		want   string
	}{
		{"named", 12, map[string]string{"STEPFLOW_CUBLASLT": "/x/lt.so"}, []string{"/x/lt.so", "libcublasLt.so.12"},
			"/x/lt.so"},
		{"loader", 12, nil, []string{"libcublasLt.so.12", "libcublasLt.so.13"}, "libcublasLt.so.12"},
		{"loader, a newer driver", 13, nil, []string{"libcublasLt.so.12", "libcublasLt.so.13"}, "libcublasLt.so.13"},
		{"toolkit", 12, map[string]string{"CUDA_HOME": filepath.Join(dir, "home")}, []string{home, wheel}, home},
		{"environment", 12, venv, []string{wheel, newest}, wheel},
		{"environment, a newer driver", 13, venv, []string{newest}, newest},
		{"python3", 12, nil, []string{packages}, packages},
	} {
		t.Run(x.name, func(t *testing.T) {
			names := []string{"STEPFLOW_CUBLASLT", "CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX", "VIRTUAL_ENV"}
			for _, name := range names {
				t.Setenv(name, x.env[name])
			}
			t.Setenv("PATH", filepath.Dir(python)+":/bin:/usr/bin")
			var opened string
			err := findCuBLASLt(x.driver, func(path string) error {
				for _, p := range x.opens {
					if p == path {
						opened = path
						return nil
					}
				}
				return errors.New(path + ": cannot open")
			})
			if err != nil || opened != x.want {
				t.Errorf("opened %q, not %q: %v", opened, x.want, err)
			}
		})
	}
}

// An error names every place and why it gave nothing.
func TestCuBLASLtNotFound(t *testing.T) {
	dir := t.TempDir()
	broken := put(t, filepath.Join(dir, "venv/lib/python3.12/site-packages/nvidia/cublas/lib/libcublasLt.so.12"))
	if err := os.MkdirAll(filepath.Join(dir, "home/lib64"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("STEPFLOW_CUBLASLT", "")
	t.Setenv("CUDA_HOME", filepath.Join(dir, "home"))
	t.Setenv("VIRTUAL_ENV", filepath.Join(dir, "venv"))
	t.Setenv("CONDA_PREFIX", "")
	t.Setenv("PATH", dir)
	err := findCuBLASLt(12, func(path string) error { return errors.New(path + ": file too short") })
	for _, part := range []string{"for CUDA 12", "STEPFLOW_CUBLASLT", "libcublasLt.so.12: file too short",
		broken + ": file too short", "CUDA_HOME: " + filepath.Join(dir, "home/lib64") + " has no libcublasLt.so.12",
		"CONDA_PREFIX: it is not set", "python3's packages: ", "executable file not found"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v\ndoes not say %q", err, part)
		}
	}
	t.Setenv("STEPFLOW_CUBLASLT", "/x/lt.so")
	err = findCuBLASLt(12, func(path string) error { return errors.New(path + ": no such file") })
	if err == nil || !strings.HasSuffix(err.Error(), "STEPFLOW_CUBLASLT: /x/lt.so: no such file") {
		t.Errorf("a named file: %v", err)
	}
}
