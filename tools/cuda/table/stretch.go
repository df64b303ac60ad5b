package main

import "slices"

// stretch is the part of a kernel in which it spends its time.
type stretch struct {
	instructions int
	bytes        int // that a thread moves between the card's memory and itself
	tensor       int // products on the tensor cores
}

// hot returns the stretch of a kernel: of the loops that make most products on the tensor cores the shortest; without
// such products the innermost loop that moves most bytes; without loops the piece without branches that does.
func (k *code) hot() (most stretch) {
	loops := k.loops()
	for _, l := range loops {
		s := measure(k.instructions[l[0]:l[1]])
		if s.tensor > most.tensor || s.tensor == most.tensor && s.instructions < most.instructions {
			most = s
		}
	}
	if most.tensor > 0 {
		return most
	}
	pieces := slices.DeleteFunc(slices.Clone(loops), func(l [2]int) bool {
		return slices.ContainsFunc(loops, func(in [2]int) bool { return in != l && l[0] <= in[0] && in[1] <= l[1] })
	})
	if len(pieces) == 0 {
		pieces = k.blocks()
	}
	most = stretch{}
	for _, p := range pieces {
		if s := measure(k.instructions[p[0]:p[1]]); s.bytes > most.bytes {
			most = s
		}
	}
	return most
}

// loops are the ranges of instructions from the target of a branch back to the branch. A branch to itself, which ends
// the code of a kernel, is none.
func (k *code) loops() (list [][2]int) {
	for at, i := range k.instructions {
		if to := i.target(at); to >= 0 && to < at {
			list = append(list, [2]int{to, at + 1})
		}
	}
	return list
}

// blocks are the pieces without branches.
func (k *code) blocks() (list [][2]int) {
	ends := map[int]bool{len(k.instructions): true}
	for at, i := range k.instructions {
		if to := i.target(at); to >= 0 {
			ends[at+1], ends[to] = true, true
		}
	}
	lo := 0
	for at := 1; at <= len(k.instructions); at++ {
		if ends[at] {
			list, lo = append(list, [2]int{lo, at}), at
		}
	}
	return list
}

func measure(list []instruction) (s stretch) {
	s.instructions = len(list)
	for _, i := range list {
		s.bytes += i.globalBytes()
		if i.op() == opHMMA {
			s.tensor++
		}
	}
	return s
}

// spills counts the accesses of local memory.
func (k *code) spills() (n int) {
	for _, i := range k.instructions {
		if o := i.op(); o == opLDL || o == opSTL {
			n++
		}
	}
	return n
}
