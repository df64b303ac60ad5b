package tokenizer

import (
	"errors"
	"fmt"
)

// opcode is what an instruction of a program does.
type opcode uint8

const (
	opSet   opcode = iota // one character of set
	opSplit               // goes on at x, and at y if that leads nowhere
	opJump                // to x
	opLoop                // characters of set, min to max of them
	opMark                // notes the place in slot x
	// Goes to y if the place is still that of slot x: an iteration that matched nothing ends its loop.
	opMoved
	opSub   // an assertion or an atomic group
	opPlace // an assertion about the place itself
	opMatch
)

type instruction struct {
	op       opcode
	set      *runeSet
	x, y     int
	min, max int
	lazy     bool
	all      bool // of a loop: it gives nothing back
	sub      *program
	node     *node // of opSub and opPlace
}

type program struct {
	code  []instruction
	slots int
}

// first is the set of characters that a match of n may begin with, and whether it may be empty.
func (n *node) first() (*runeSet, bool) {
	switch n.kind {
	case nodeSet:
		return n.set, false
	case nodeCat:
		s := &runeSet{}
		for _, k := range n.kids {
			f, empty := k.first()
			if s = union(s, f); !empty {
				return s, false
			}
		}
		return s, true
	case nodeAlt:
		s, any := &runeSet{}, false
		for _, k := range n.kids {
			f, empty := k.first()
			s, any = union(s, f), any || empty
		}
		return s, any
	case nodeRepeat:
		f, empty := n.kids[0].first()
		return f, empty || n.min == 0
	case nodeAtomic:
		return n.kids[0].first()
	}
	return &runeSet{}, true
}

type compiler struct{ size int }

func (c *compiler) program(n *node) (*program, error) {
	p := &program{}
	if err := c.emit(p, n); err != nil {
		return nil, err
	}
	return p, c.add(p, instruction{op: opMatch})
}

func (c *compiler) add(p *program, i instruction) error {
	if c.size++; c.size > maxInstructions {
		return fmt.Errorf("it repeats too much: more than %d instructions", maxInstructions)
	}
	p.code = append(p.code, i)
	return nil
}

func (c *compiler) emit(p *program, n *node) error {
	switch n.kind {
	case nodeEmpty:
		return nil
	case nodeSet:
		return c.add(p, instruction{op: opSet, set: n.set})
	case nodeCat:
		for _, k := range n.kids {
			if err := c.emit(p, k); err != nil {
				return err
			}
		}
		return nil
	case nodeAlt:
		var ends []int
		for i, k := range n.kids {
			at := len(p.code)
			if i < len(n.kids)-1 {
				if err := c.add(p, instruction{op: opSplit, x: at + 1}); err != nil {
					return err
				}
			}
			if err := c.emit(p, k); err != nil {
				return err
			}
			if i < len(n.kids)-1 {
				ends = append(ends, len(p.code))
				if err := c.add(p, instruction{op: opJump}); err != nil {
					return err
				}
				p.code[at].y = len(p.code)
			}
		}
		for _, e := range ends {
			p.code[e].x = len(p.code)
		}
		return nil
	case nodeRepeat:
		return c.repeat(p, n)
	case nodeAtomic, nodeAhead, nodeBehind:
		if n.kind == nodeAtomic && n.kids[0].kind == nodeRepeat && n.kids[0].kids[0].kind == nodeSet &&
			!n.kids[0].lazy {
			r := n.kids[0]
			return c.add(p, instruction{op: opLoop, set: r.kids[0].set, min: r.min, max: r.max, all: true})
		}
		sub, err := c.program(n.kids[0])
		if err != nil {
			return err
		}
		i := instruction{op: opSub, sub: sub, node: n}
		if n.kind == nodeBehind {
			i.min, i.max = n.kids[0].length()
		}
		return c.add(p, i)
	}
	return c.add(p, instruction{op: opPlace, node: n})
}

func (c *compiler) repeat(p *program, n *node) error {
	body := n.kids[0]
	for body.kind == nodeCat && len(body.kids) == 1 {
		body = body.kids[0]
	}
	if body.kind == nodeSet {
		return c.add(p, instruction{op: opLoop, set: body.set, min: n.min, max: n.max, lazy: n.lazy})
	}
	for range n.min {
		if err := c.emit(p, body); err != nil {
			return err
		}
	}
	split := func(in, out int) instruction {
		if n.lazy {
			in, out = out, in
		}
		return instruction{op: opSplit, x: in, y: out}
	}
	if n.max < 0 {
		at := len(p.code)
		slot := p.slots
		p.slots++
		err := errors.Join(c.add(p, instruction{}), c.add(p, instruction{op: opMark, x: slot}), c.emit(p, body),
			c.add(p, instruction{op: opMoved, x: slot, y: len(p.code)}))
		if err != nil {
			return err
		}
		moved := len(p.code) - 1
		if err := c.add(p, instruction{op: opJump, x: at}); err != nil {
			return err
		}
		p.code[at], p.code[moved].y = split(at+1, len(p.code)), len(p.code)
		return nil
	}
	var splits []int
	for range n.max - n.min {
		splits = append(splits, len(p.code))
		if err := errors.Join(c.add(p, instruction{}), c.emit(p, body)); err != nil {
			return err
		}
	}
	for _, at := range splits {
		p.code[at] = split(at+1, len(p.code))
	}
	return nil
}
