// Command nvrtc compiles the kernels with NVIDIA's run-time compiler, which needs neither a card nor a
// driver: machine code for the cards we name, and PTX for those that come later.
//
//	nvrtc -lib libnvrtc.so.12 [-only IMAGE] [-o DIR] gpu/cuda/kernels
//
// What it writes to images is embedded in stepflow-cuda. NVRTC does not give the same bytes twice, so
// sources.sum tells what the images were made of, and a test compares that with what is there.
package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebitengine/purego"

	"stepflow/gpu/cuda/kernels"
)

// targets lists the images. A cubin runs on later minor versions of its architecture too, so sm_80 serves
// 8.6 and 8.7; PTX is compiled by the driver for whatever comes.
var targets = []struct{ arch, file string }{
	{"sm_80", "sm_80.cubin"},
	{"sm_89", "sm_89.cubin"},
	{"sm_90a", "sm_90a.cubin"},
	{"compute_80", "compute_80.ptx"},
}

func main() {
	lib := flag.String("lib", "libnvrtc.so.12", "NVRTC's library")
	out := flag.String("o", "", "folder to write to; default: images in that of the kernels")
	verbose := flag.Bool("v", false, "print registers, shared memory and spills of every kernel")
	only := flag.String("only", "", "make this image alone")
	flag.Parse()
	if err := run(*lib, flag.Arg(0), *only, *out, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "nvrtc:", err)
		os.Exit(1)
	}
}

func run(lib, dir, only, out string, verbose bool) error {
	if out == "" {
		out = filepath.Join(dir, "images")
	}
	c, err := open(lib)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.cu"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no kernels in %q", dir)
	}
	source := ""
	for _, f := range files {
		source += fmt.Sprintf("#include %q\n", filepath.Base(f))
	}
	headers := map[string]string{}
	for _, f := range append(files, filepath.Join(dir, "common.cuh")) {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		headers[filepath.Base(f)] = string(b)
	}
	for _, t := range targets {
		if only != "" && t.file != only {
			continue
		}
		image, log, err := c.compile(source, headers, t.arch, verbose)
		if log != "" {
			fmt.Fprintln(os.Stderr, log)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t.arch, err)
		}
		if err := pack(filepath.Join(out, t.file+".gz"), image); err != nil {
			return err
		}
		fmt.Printf("%-16s %d bytes\n", t.file, len(image))
	}
	sum, err := kernels.Sum(os.DirFS(dir))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "sources.sum"), []byte(sum), 0o644)
}

func pack(path string, b []byte) error {
	var z bytes.Buffer
	w, _ := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if _, err := w.Write(b); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, z.Bytes(), 0o644)
}

// compiler is NVRTC's functions, as in nvrtc.h.
type compiler struct {
	create      func(prog *uintptr, src, name string, n int32, headers, names **byte) int32
	build       func(prog uintptr, n int32, options **byte) int32
	destroy     func(prog *uintptr) int32
	logSize     func(prog uintptr, n *uint64) int32
	log         func(prog uintptr, b *byte) int32
	ptxSize     func(prog uintptr, n *uint64) int32
	ptx         func(prog uintptr, b *byte) int32
	cubinSize   func(prog uintptr, n *uint64) int32
	cubin       func(prog uintptr, b *byte) int32
	errorString func(code int32) string
}

func open(lib string) (*compiler, error) {
	h, err := purego.Dlopen(lib, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, fmt.Errorf("%w; make cuda-kernels installs it in a venv", err)
	}
	c := &compiler{}
	for name, f := range map[string]any{
		"nvrtcCreateProgram": &c.create, "nvrtcCompileProgram": &c.build, "nvrtcDestroyProgram": &c.destroy,
		"nvrtcGetProgramLogSize": &c.logSize, "nvrtcGetProgramLog": &c.log, "nvrtcGetPTXSize": &c.ptxSize,
		"nvrtcGetPTX":       &c.ptx,
		"nvrtcGetCUBINSize": &c.cubinSize, "nvrtcGetCUBIN": &c.cubin, "nvrtcGetErrorString": &c.errorString,
	} {
		purego.RegisterLibFunc(f, h, name)
	}
	return c, nil
}

// cstrings makes an array of C strings; keep holds them while it is in use.
func cstrings(list []string) (array **byte, keep []*byte) {
	for _, s := range list {
		b := append([]byte(s), 0)
		keep = append(keep, &b[0])
	}
	if len(keep) == 0 {
		return nil, nil
	}
	return &keep[0], keep
}

func (c *compiler) compile(
	source string, headers map[string]string, arch string, verbose bool,
) (image []byte, log string, err error) {
	fail := func(code int32) error {
		if code == 0 {
			return nil
		}
		return fmt.Errorf("NVRTC: %s", c.errorString(code))
	}
	var names, texts []string
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		names, texts = append(names, name), append(texts, headers[name])
	}
	namesC, keep1 := cstrings(names)
	textsC, keep2 := cstrings(texts)
	var prog uintptr
	if err := fail(c.create(&prog, source, "kernels.cu", int32(len(names)), textsC, namesC)); err != nil {
		return nil, "", err
	}
	defer c.destroy(&prog)
	options := []string{"--gpu-architecture=" + arch, "--std=c++17", "--fmad=true",
		"--device-as-default-execution-space"} // for lambdas with parameters of any type
	if verbose {
		options = append(options, "--ptxas-options=-v")
	}
	optionsC, keep3 := cstrings(options)
	code := c.build(prog, int32(len(options)), optionsC)
	_, _, _ = keep1, keep2, keep3
	var n uint64
	if c.logSize(prog, &n) == 0 && n > 1 {
		b := make([]byte, n)
		c.log(prog, &b[0])
		log = strings.TrimRight(string(b), "\x00\n ")
	}
	if err := fail(code); err != nil {
		return nil, log, err
	}
	size, get := c.cubinSize, c.cubin
	if strings.HasPrefix(arch, "compute_") {
		size, get = c.ptxSize, c.ptx
	}
	if err := fail(size(prog, &n)); err != nil {
		return nil, log, err
	}
	image = make([]byte, n)
	return image, log, fail(get(prog, &image[0]))
}
