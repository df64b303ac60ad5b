package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"stepflow/gpu/cuda"
	"stepflow/gpu/gputest"
)

const head = `# Kernels

Written by ` + "`go run ./tools/cuda/table`" + ` from the machine code for compute capability 9.0 and from the programs of two models.
**No card has confirmed any of it**: it is what the first measurement is to be compared with.

## What the compiler made of them

Registers are a thread's. Spills are accesses of memory that stands in for registers; a test fails where there are any.
Shared memory and threads are a block's, at the sizes below, or else the most that the conformance suite launches.
Occupancy is the share of a multiprocessor's threads for which there is room. The last columns are of the innermost loop
that moves most bytes or multiplies most (where there is no loop, of the piece without branches): its instructions, the
bytes that a thread moves between itself and the card's memory in one turn, or its products on the tensor cores ("mma"),
and the instructions for 16 bytes or for a product. Both sides of a branch within the loop are counted. Cells are empty
where nothing launches the kernel.

| kernel | registers | spills | shared, bytes | threads | occupancy | loop | moves | instructions each |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
`

// writePage writes docs/kernels.md.
func writePage(w io.Writer, list []code) error {
	kernels := map[string]*code{}
	for i := range list {
		kernels[list[i].name] = &list[i]
	}
	calls, err := conformance()
	if err != nil {
		return err
	}
	var steps []*step
	for _, s := range sizes {
		t, err := predict(s, kernels)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for name, c := range t.used {
			calls[name] = c
		}
		steps = append(steps, t)
	}
	io.WriteString(w, head)
	slices.SortFunc(list, func(a, b code) int { return strings.Compare(a.name, b.name) })
	for i := range list {
		fmt.Fprintln(w, list[i].line(calls[list[i].name]))
	}
	fmt.Fprintf(w, expected, bandwidth/1e12, tensorRate/1e12, copyRate*100, library*100, launchTime*1e6)
	for i, t := range steps {
		t.write(w, sizes[i])
	}
	return nil
}

// conformance returns a call of each kernel that the conformance suite launches: of those with most shared memory the
// one with most threads.
func conformance() (map[string]*cuda.Call, error) {
	calls := map[string]*cuda.Call{}
	for _, c := range append(gputest.Cases(), gputest.Wide()...) {
		p, err := gputest.Program(c, cuda.PlanCaps("H100", 80<<30), nil)
		if err != nil {
			return nil, err
		}
		l, err := load(p)
		if err != nil {
			return nil, err
		}
		r, err := l.run(0, len(p.Launches))
		if err != nil {
			return nil, err
		}
		for _, c := range r.calls {
			old := calls[c.Kernel]
			if old == nil || old.Shared < c.Shared || old.Shared == c.Shared && old.Threads < c.Threads {
				calls[c.Kernel] = c
			}
		}
	}
	return calls, nil
}

// line is a kernel's row of the table.
func (k *code) line(c *cuda.Call) string {
	shared, threads, occupied := "", "", ""
	if c != nil {
		shared, threads = fmt.Sprint(c.Shared), fmt.Sprint(c.Threads)
		occupied = fmt.Sprintf("%.0f %%", 100*occupancy(k.registers, int(c.Threads), int(c.Shared)))
	}
	s := k.hot()
	moves, each := "", ""
	switch {
	case s.tensor > 0:
		moves, each = fmt.Sprintf("%d mma", s.tensor), fmt.Sprintf("%.1f", float64(s.instructions)/float64(s.tensor))
	case s.bytes > 0:
		moves, each = fmt.Sprintf("%d bytes", s.bytes), fmt.Sprintf("%.1f", 16*float64(s.instructions)/float64(s.bytes))
	}
	return fmt.Sprintf("| `%s` | %d | %d | %s | %s | %s | %d | %s | %s |",
		k.name, k.registers, k.spills(), shared, threads, occupied, s.instructions, moves, each)
}

const expected = `
## What a training step is expected to take

These are the steps that ` + "`gpu/cuda/check.sh`" + ` measures, on an H100 SXM: models of 24 layers and a vocabulary of 32,000, trained
whole with AdamW in bf16, on sequences of 1,024 tokens. The card has %.2f TB/s, %.0f TFLOP/s of bf16, and issues four
instructions a clock and multiprocessor. It is assumed that a copy reaches %.0f %% of the first and cuBLASLt %.0f %% of
the second, and that %.0f µs pass from one launch of a graph to the next; attention has the rates that
[cuda.md](cuda.md#attention) expects. A launch takes as long as the slowest of the card's memory, its tensor cores and
the instructions that it issues, as if these never waited for each other. Bytes are those that a launch reads and writes
at least. One call does many launches of some kernels. MFU counts the model's operations, without those of padding.
`

// write is the table of a step.
func (t *step) write(w io.Writer, s size) {
	fmt.Fprintf(w, "\n### %s, %d sequences a step\n\n%d calls of kernels and of cuBLASLt, %.1f ms: %.0f tokens/s, an MFU of "+
		"%.0f %%.\n\n", s.name, s.batch, t.calls, t.time*1e3, float64(s.batch*sequence)/t.time,
		t.flops/t.time/tensorRate*100)
	fmt.Fprint(w, "| kernel of the table | launches | GB | TFLOP | ms | share | waits for |\n|---|--:|--:|--:|--:|--:|---|\n")
	row := func(name string, launches int, bytes, flops, time float64, bound string) {
		fmt.Fprintf(w, "| %s | %d | %.2f | %.2f | %.2f | %.1f %% | %s |\n", name, launches, bytes/1e9, flops/1e12, time*1e3,
			100*time/t.time, bound)
	}
	for _, r := range t.rows {
		row("`"+r.kernel+"`", r.launches, r.bytes, r.flops, r.time, r.bound)
	}
	row("from launch to launch", t.calls, 0, 0, float64(t.calls)*launchTime, "the card's scheduler")
}
