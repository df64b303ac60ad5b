package plan

import (
	"errors"
	"fmt"

	"stepflow/dsl"
	"stepflow/runtime/blocks"
	"stepflow/runtime/program"
)

// Machine is what a machine has for a run, in bytes.
type Machine struct {
	Memory    int64                                         // or the limit of the container; 0 if it is not known
	Available int64                                         // of it now, beside what other processes take
	Swap      int64                                         // that the system may use besides, slowly
	Free      func(folder string) (bytes int64, known bool) // on the disk of a folder
}

// Host is the memory of the host that a run takes at most, and the part of the run that takes it.
type Host struct {
	Bytes   int64  `json:"bytes"`
	Address string `json:"address"`
	program.Phase
	// Total is the machine's memory, and Available what other processes leave of it, where either is too little; else 0.
	Total     int64 `json:"machine_bytes,omitempty"`
	Available int64 `json:"available_bytes,omitempty"`

	shared bool
	least  int64 // what it takes even if the collector always runs at once
	swap   int64 // of the machine
}

// ProcessBytes is what the process takes whatever it runs: its code, Go's runtime, the telemetry, buffers of the CPU device.
const ProcessBytes = 128 << 20

// Host returns what the run takes of the host's memory; nil if nothing is to run. On the CPU, the memory of the device is
// the host's.
func (p *Plan) Host() *Host {
	var h *Host
	shared := p.Caps.Kind == "cpu"
	for _, a := range p.Actions {
		if a.Remote() { // it takes the memory of another machine
			continue
		}
		for _, x := range a.Phases() {
			if n := ProcessBytes + x.Host(shared); h == nil || n > h.Bytes {
				h = &Host{Bytes: n, Address: a.Addr.String(), Phase: x, shared: shared, least: n - x.Garbage()}
			}
		}
	}
	if m := p.machine; h != nil && m != nil {
		h.swap = m.Swap
		if h.Bytes > m.Memory {
			h.Total = m.Memory
		}
		if h.Bytes > m.Available {
			h.Available = m.Available
		}
	}
	return h
}

// Phases returns the parts of a block's run with what they take of the host's memory; nil if it does not run.
func (a *Action) Phases() []program.Phase {
	if x, ok := a.Block.(blocks.Hosted); ok && a.Verb.Works() && !a.Skip {
		return x.Phases(a.FromStep)
	}
	return nil
}

// String says how much it is, and when.
func (h *Host) String() string {
	text := fmt.Sprintf("at most %s, in %s: %s", dsl.FormatBytes(h.Bytes), h.Address, h.Doing)
	if h.shared && h.Arena > 0 {
		text += fmt.Sprintf("; %s of it are the device's", dsl.FormatBytes(h.Arena))
	}
	return text
}

// Problem says that the machine has too little memory, and what to do; "" if it has enough. sure says that it has too little
// in all, rather than beside what others take of it now.
func (h *Host) Problem() (text string, sure bool) {
	do := "Lower what the block takes: micro_batch_size, activation_checkpointing, fewer layers at a time"
	if !h.shared || 2*h.Arena < h.Bytes {
		do = "That depends on the largest tensor and on the documents that are read, not on the batch: run it on a machine with more memory"
	}
	takes := fmt.Sprintf("%s takes %s of the machine's memory (%s)", h.Address, dsl.FormatBytes(h.Bytes), h.Doing)
	switch {
	case h.Total > 0:
		return fmt.Sprintf("%s, which is %s. %s", takes, dsl.FormatBytes(h.Total), do), h.least > h.Total+h.swap
	case h.Available > 0:
		return fmt.Sprintf("%s, of which %s are available now: end other programs, or it may be ended by the system", takes,
			dsl.FormatBytes(h.Available)), false
	}
	return "", false
}

// Room returns an error if the machine has too little room for the run: on a disk, or in memory. What is only estimated is a
// warning, which the plan shows.
func (p *Plan) Room() error {
	for _, d := range p.Disks() {
		if err := tooLittle(d.Problem()); err != nil {
			return err
		}
	}
	if h := p.Host(); h != nil {
		return tooLittle(h.Problem())
	}
	return nil
}

// tooLittle is the error of a problem that a run is sure to have.
func tooLittle(problem string, sure bool) error {
	if sure {
		return errors.New(problem)
	}
	return nil
}
