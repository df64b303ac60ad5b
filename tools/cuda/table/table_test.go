package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const images = "../../../gpu/cuda/kernels/images/"

// TestPageIsOfTheKernels: docs/kernels.md is what this program writes.
func TestPageIsOfTheKernels(t *testing.T) {
	list, err := readImage(images + "sm_90a.cubin.gz")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := writePage(&got, list); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../../docs/kernels.md")
	if err != nil {
		t.Fatal(err)
	}
	old := strings.Split(string(want), "\n")
	for i, line := range strings.Split(got.String(), "\n") {
		if i >= len(old) || old[i] != line {
			t.Fatalf("line %d of docs/kernels.md is no longer right: it would be\n%s\n"+
				"(go run ./tools/cuda/table > docs/kernels.md)", i+1, line)
		}
	}
}

// TestNothingSpills: on no card do the kernels keep in memory what registers should hold.
func TestNothingSpills(t *testing.T) {
	files, err := filepath.Glob(images + "*.cubin.gz")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d images, %v", len(files), err)
	}
	for _, f := range files {
		list, err := readImage(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) < 50 {
			t.Errorf("%s has %d kernels", f, len(list))
		}
		for _, k := range list {
			if k.stack > 0 || k.spills() > 0 {
				t.Errorf("%s: %s has a stack of %d bytes and accesses it %d times", filepath.Base(f), k.name, k.stack,
					k.spills())
			}
		}
	}
}

// TestInstructions compares with nvdisasm, CUDA 12.1.
func TestInstructions(t *testing.T) {
	for _, c := range []struct {
		text       string
		i          instruction
		at, target int
		bytes      int
	}{
		{"@P1 BRA from 0x210 to 0x6b0", instruction{0x0000000400241947, 0x000ff00003800000}, 0x21, 0x6b, 0},
		{"@!P1 BRA from 0x6a0 to 0x230", instruction{0xfffffff800e09947, 0x002fea000383ffff}, 0x6a, 0x23, 0},
		{"BRA from 0x850 to 0x850", instruction{0xfffffffc00fc7947, 0x000fc0000383ffff}, 0x85, 0x85, 0},
		{"LDG.E.128", instruction{0x0000000604047981, 0x000ea8000c1e1d00}, 0, -1, 16},
		{"STG.E.U16", instruction{0x0000000508007986, 0x0003e4000c101506}, 0, -1, 2},
	} {
		if to, n := c.i.target(c.at), c.i.globalBytes(); to != c.target || n != c.bytes {
			t.Errorf("%s: goes to %#x, moves %d bytes", c.text, to<<4, n)
		}
	}
}

// TestOccupancy: what limits it is the threads, the registers, the shared memory or the number of blocks.
func TestOccupancy(t *testing.T) {
	for _, c := range []struct {
		registers, threads, shared int
		want                       float64
	}{
		{32, 256, 0, 1},          // 8 blocks of 8 warps
		{36, 256, 0, 0.75},       // registers for 6 blocks
		{128, 128, 34944, 0.25},  // registers for 4 blocks
		{40, 128, 60000, 0.1875}, // shared memory for 3 blocks
		{16, 32, 0, 0.5},         // 32 blocks at most
		{255, 1024, 0, 0},        // a block does not fit
	} {
		if got := occupancy(c.registers, c.threads, c.shared); got != c.want {
			t.Errorf("%+v: %g", c, got)
		}
	}
}

// TestNoCubin: what is no machine code is an error.
func TestNoCubin(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("\x7fELF"), bytes.Repeat([]byte{1}, 1000)} {
		if list, err := readCubin(b); err == nil {
			t.Errorf("%q gives %v", b, list)
		}
	}
}
