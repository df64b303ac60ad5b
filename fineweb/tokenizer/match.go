package tokenizer

import (
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"stepflow/foreign"
)

// ErrTooCostly reports a text on which a tokenizer.json takes too long or makes too much: a pattern whose search tries
// ways in a number that grows exponentially with the text, or a normalizer that puts in more and more.
var ErrTooCostly = errors.New("the tokenizer costs too much on a text")

// Bounds of the work on a text, in steps of a matcher, of which a second has some hundred million. Patterns that are of
// use take tens of steps a byte.
const (
	stepsOnce    = 1 << 28
	stepsPerByte = 1 << 10
	maxFrames    = 1 << 22 // ways not taken yet
)

// expression is a pattern, ready to search for: a backtracking matcher with its stack on the heap.
type expression struct {
	source string
	prog   *program
	first  *runeSet // the characters that a match may begin with; nil if it may be empty
}

func compile(source string) (*expression, error) {
	if len(source) > maxPattern {
		return nil, fmt.Errorf("a pattern of %d bytes; the most is %d", len(source), maxPattern)
	}
	n, err := parsePattern(source)
	if err != nil {
		return nil, fmt.Errorf("pattern %s: %w", foreign.Shown(source), err)
	}
	c := &compiler{}
	prog, err := c.program(n)
	if err != nil {
		return nil, fmt.Errorf("pattern %s: %w", foreign.Shown(source), err)
	}
	e := &expression{source: source, prog: prog}
	if first, empty := n.first(); !empty {
		e.first = first
	}
	return e, nil
}

// frame is a way that was not taken yet.
type frame struct {
	pc, at int
	kind   frameKind
	least  int // of a loop: the place it may give back to; of a slot: what was in it
}

type frameKind uint8

const (
	frameWay  frameKind = iota
	frameLoop           // the loop's matches end at at; it may give back to least
	frameLazy           // the loop's matches end at at; it may take one more, least more times (-1 for any number)
	frameSlot           // slot pc held least
)

type matcher struct {
	text  string
	stack []frame
	slots []int
	steps int // left
}

var matchers = sync.Pool{New: func() any { return &matcher{} }}

var errSteps = errors.New("no steps are left")

// run matches a program from at on; end is where it must end, or -1. It returns where it ends, -1 if it does not match.
func (m *matcher) run(p *program, at, end int) (int, error) {
	base := len(m.stack)
	slots := len(m.slots)
	for range p.slots {
		m.slots = append(m.slots, -1)
	}
	defer func() { m.stack, m.slots = m.stack[:base], m.slots[:slots] }()
	text := m.text
	pc := 0
	for {
		if m.steps--; m.steps < 0 || len(m.stack) > maxFrames {
			return -1, errSteps
		}
		in := &p.code[pc]
		ok := true
		switch in.op {
		case opSet:
			if n := in.set.at(text, at); n > 0 {
				at += n
			} else {
				ok = false
			}
			pc++
		case opSplit:
			m.stack = append(m.stack, frame{pc: in.y, at: at})
			pc = in.x
		case opJump:
			pc = in.x
		case opLoop:
			at, ok = m.loop(in, pc, at)
			pc++
		case opMark:
			m.stack = append(m.stack, frame{pc: slots + in.x, kind: frameSlot, least: m.slots[slots+in.x]})
			m.slots[slots+in.x] = at
			pc++
		case opMoved:
			if pc++; m.slots[slots+in.x] == at {
				pc = in.y
			}
		case opSub:
			to, err := m.sub(in, at)
			if err != nil {
				return -1, err
			}
			if ok = to >= 0; ok {
				at = to
			}
			pc++
		case opPlace:
			ok = m.place(in.node, at)
			pc++
		case opMatch:
			if end < 0 || at == end {
				return at, nil
			}
			ok = false
		}
		if !ok {
			var err error
			if pc, at, err = m.back(p, base); pc < 0 {
				return -1, err
			}
		}
	}
}

// loop takes as many characters as it may, and notes what it may give back, or take later. It returns where they end;
// ok is false if they are too few.
func (m *matcher) loop(in *instruction, pc, at int) (to int, ok bool) {
	from, n := at, 0
	most := in.max
	if in.lazy {
		most = in.min
	}
	least := at
	for n != most {
		w := in.set.at(m.text, at)
		if w == 0 {
			break
		}
		at += w
		if n++; n == in.min {
			least = at
		}
	}
	m.steps -= at - from
	switch {
	case n < in.min:
		return at, false
	case in.lazy && in.max != in.min:
		left := -1
		if in.max >= 0 {
			left = in.max - in.min
		}
		m.stack = append(m.stack, frame{pc: pc, at: at, kind: frameLazy, least: left})
	case !in.all && !in.lazy && at > least:
		m.stack = append(m.stack, frame{pc: pc + 1, at: at, kind: frameLoop, least: least})
	}
	return at, true
}

// back goes to the last way that was not taken, of those above base; pc is -1 if there is none.
func (m *matcher) back(p *program, base int) (pc, at int, err error) {
	for len(m.stack) > base {
		if m.steps--; m.steps < 0 {
			return -1, 0, errSteps
		}
		top := len(m.stack) - 1
		f := &m.stack[top]
		switch f.kind {
		case frameSlot:
			m.slots[f.pc] = f.least
			m.stack = m.stack[:top]
		case frameWay:
			m.stack = m.stack[:top]
			return f.pc, f.at, nil
		case frameLoop:
			_, w := utf8.DecodeLastRuneInString(m.text[:f.at])
			f.at -= w
			if f.at <= f.least {
				m.stack = m.stack[:top]
			}
			return f.pc, f.at, nil
		case frameLazy:
			w := p.code[f.pc].set.at(m.text, f.at)
			if w == 0 {
				m.stack = m.stack[:top]
				continue
			}
			f.at += w
			if f.least > 0 {
				if f.least--; f.least == 0 {
					m.stack = m.stack[:top]
				}
			}
			return f.pc + 1, f.at, nil
		}
	}
	return -1, 0, nil
}

// at is the length of the character at a place of a text, 0 if it is not of the set.
func (s *runeSet) at(text string, i int) int {
	if i >= len(text) {
		return 0
	}
	if c := text[i]; c < utf8.RuneSelf {
		return int(s.ascii[c>>6] >> (c & 63) & 1)
	}
	r, n := utf8.DecodeRuneInString(text[i:])
	if !s.has(r) {
		return 0
	}
	return n
}

// sub runs an assertion or an atomic group, and returns the place after it, -1 if it does not hold.
func (m *matcher) sub(in *instruction, at int) (int, error) {
	switch in.node.kind {
	case nodeAtomic:
		return m.run(in.sub, at, -1)
	case nodeAhead:
		end, err := m.run(in.sub, at, -1)
		if (end >= 0) == in.node.not {
			return -1, err
		}
		return at, err
	}
	held, from := false, at
	for n := 0; n <= in.max && !held; n++ {
		if m.steps--; m.steps < 0 {
			return -1, errSteps
		}
		if n >= in.min {
			end, err := m.run(in.sub, from, at)
			if err != nil {
				return -1, err
			}
			held = end >= 0
		}
		if from == 0 {
			break
		}
		_, w := utf8.DecodeLastRuneInString(m.text[:from])
		from -= w
	}
	if held == in.node.not {
		return -1, nil
	}
	return at, nil
}

func (m *matcher) place(n *node, at int) bool {
	end := at == len(m.text)
	switch n.kind {
	case nodeLine:
		return at == 0 || !end && m.text[at-1] == '\n'
	case nodeLineEnd:
		return end || m.text[at] == '\n'
	case nodeText:
		return at == 0
	case nodeTextEnd:
		return end
	case nodeTextEnd2:
		return end || at == len(m.text)-1 && m.text[at] == '\n'
	case nodeWord:
		word := words()
		before := false
		if at > 0 {
			r, _ := utf8.DecodeLastRuneInString(m.text[:at])
			before = word.has(r)
		}
		return (before != (word.at(m.text, at) > 0)) != n.not
	}
	return false
}

// words is \w of Oniguruma outside of classes, and what \b goes by: of Latin-1, ² ³ ¹ ¼ ½ ¾ belong to it, too.
var words = sync.OnceValue(func() *runeSet {
	return union(table("[:word:]"), setOf([]runeRange{{0xb2, 0xb3}, {0xb9, 0xb9}, {0xbc, 0xbe}}))
})

// each visits the matches in a text, from the first to the last. An empty match directly after another match does not
// count.
func (e *expression) each(text string, visit func(from, to int)) error {
	m := matchers.Get().(*matcher)
	m.text, m.steps = text, stepsOnce+stepsPerByte*len(text)
	defer func() {
		m.text = ""
		if cap(m.stack) > 1<<16 { // a long text's
			m.stack = nil
		}
		matchers.Put(m)
	}()
	for at, last := 0, -1; at <= len(text); {
		if e.first != nil {
			if at == len(text) {
				break
			}
			if e.first.at(text, at) == 0 {
				_, w := utf8.DecodeRuneInString(text[at:])
				at += w
				continue
			}
		}
		end, err := m.run(e.prog, at, -1)
		if err != nil {
			return fmt.Errorf("%w: its pattern %s takes too many steps where the text reads \"%s\"",
				ErrTooCostly, foreign.Shown(e.source), foreign.ShownStart(text[at:], 40))
		}
		if end < 0 || end == at && last == at {
			if at == len(text) {
				break
			}
			_, w := utf8.DecodeRuneInString(text[at:])
			at += w
			continue
		}
		visit(at, end)
		at, last = end, end
	}
	return nil
}
