package main

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
)

// code is a kernel as it was compiled for a card.
type code struct {
	name         string
	registers    int // a thread
	stack        int // bytes a thread, where registers are spilled
	instructions []instruction
}

// instruction is one of machine code: 16 bytes on cards since Volta, its operation in the lowest bits.
type instruction struct{ lo, hi uint64 }

// The operations that the table tells apart, without the bits that say of what kind the operands are. Names are
// nvdisasm's.
const (
	opBRA    = 0x147
	opLDG    = 0x181
	opSTG    = 0x186
	opLDGSTS = 0x1ae
	opHMMA   = 0x03c
	opLDL    = 0x183
	opSTL    = 0x187
)

func (i instruction) op() int { return int(i.lo & 0x1ff) }

// globalBytes are the bytes that a thread reads or writes in the card's memory; 0 for other instructions.
func (i instruction) globalBytes() int {
	switch i.op() {
	case opLDG, opSTG, opLDGSTS:
		return [8]int{1, 1, 2, 2, 4, 8, 16, 16}[i.hi>>9&7]
	}
	return 0
}

// target is where a branch at index at goes, by index; -1 for other instructions.
func (i instruction) target(at int) int {
	if i.op() != opBRA {
		return -1
	}
	// The distance from the next instruction, in fours of bytes: its low byte lies apart from the others.
	words := int64(i.hi<<46|i.lo>>34<<16)>>8&^0xff | int64(i.lo>>16&0xff)
	return at + 1 + int(words*4/16)
}

// readImage reads the kernels of a gzipped cubin.
func readImage(path string) ([]code, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	list, err := readCubin(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

const elfVersion = 20 // where e_version lies in a file's header

// readCubin reads the kernels of an ELF file of machine code.
func readCubin(b []byte) (list []code, err error) {
	b = bytes.Clone(b)
	if len(b) > elfVersion {
		b[elfVersion] = byte(elf.EV_CURRENT) // a cubin has CUDA's own version there
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	info, err := attributes(f)
	if err != nil {
		return nil, err
	}
	for _, s := range f.Sections {
		name, ok := strings.CutPrefix(s.Name, ".text.")
		if !ok {
			continue
		}
		text, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		symbol := s.Info & 0xffffff
		k := code{name: name, registers: info[[2]uint32{attributeRegisters, symbol}],
			stack: info[[2]uint32{attributeFrame, symbol}]}
		for len(text) >= 16 {
			k.instructions = append(k.instructions,
				instruction{binary.LittleEndian.Uint64(text), binary.LittleEndian.Uint64(text[8:])})
			text = text[16:]
		}
		list = append(list, k)
	}
	return list, nil
}

// Records of .nv.info: a format, an attribute, a size, and for these attributes a symbol and a number.
const (
	formatSized        = 4    // EIFMT_SVAL: a value of so many bytes follows
	attributeFrame     = 0x11 // EIATTR_FRAME_SIZE: bytes of stack a thread
	attributeRegisters = 0x2f // EIATTR_REGCOUNT
)

// attributes are the numbers of .nv.info, by attribute and by the symbol of the kernel.
func attributes(f *elf.File) (map[[2]uint32]int, error) {
	s := f.Section(".nv.info")
	if s == nil {
		return nil, fmt.Errorf("the file has no section .nv.info: it is not a cubin")
	}
	b, err := s.Data()
	if err != nil {
		return nil, err
	}
	all := map[[2]uint32]int{}
	for len(b) >= 4 {
		format, attribute, n := b[0], uint32(b[1]), int(binary.LittleEndian.Uint16(b[2:]))
		b = b[4:]
		if format != formatSized {
			continue // the size is the value
		}
		if n > len(b) {
			return nil, fmt.Errorf("a record of .nv.info ends outside it")
		}
		if n == 8 {
			all[[2]uint32{attribute, binary.LittleEndian.Uint32(b)}] = int(binary.LittleEndian.Uint32(b[4:]))
		}
		b = b[n:]
	}
	return all, nil
}
