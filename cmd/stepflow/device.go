package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/cuda"
	"stepflow/runtime/durable"
	"stepflow/runtime/plan"
	"stepflow/runtime/words"
)

// which reads -device: a kind, and the number of a card.
func (a *app) which() (kind string, card int, err error) {
	kind, n, numbered := strings.Cut(a.device, ":")
	if kind == "" {
		kind = "cpu"
	}
	if kind != "cpu" && kind != "cuda" {
		return "", 0, fmt.Errorf("there is no device %q; use cpu, cuda, or cuda:1 for the second card", a.device)
	}
	if numbered {
		if card, err = strconv.Atoi(n); err != nil || card < 0 || kind == "cpu" {
			return "", 0, fmt.Errorf("there is no device %q; cards are cuda:0, cuda:1 and so on", a.device)
		}
	}
	return kind, card, nil
}

// openDevice opens the device that -device names, once. STEPFLOW_CPU_ISA names an instruction set of the
// CPU other than the fastest.
func (a *app) openDevice() (gpu.Device, error) {
	if a.opened != nil {
		return a.opened, nil
	}
	kind, card, err := a.which()
	if err != nil {
		return nil, err
	}
	var d gpu.Device
	if kind == "cuda" {
		if card, err = a.cardOf(card); err != nil {
			return nil, err
		}
		d, err = openCUDA(a, card)
	} else {
		d, err = cpu.Open(a.deviceThreads(), os.Getenv("STEPFLOW_CPU_ISA"))
	}
	if err == nil && a.ranks != nil {
		err = d.Join(a.ranks)
	}
	if err == nil {
		a.opened = d
	}
	return d, err
}

// caps gives what planning needs to know of the device. A card need not be there if its memory is told.
func (a *app) caps() (c gpu.Caps, err error) {
	kind, _, err := a.which()
	if err != nil {
		return c, err
	}
	var memory int64
	if a.deviceMemory != "" {
		if memory, err = dsl.ParseMemory(a.deviceMemory); err == nil && memory <= 0 {
			err = fmt.Errorf("%q leaves nothing to run in", a.deviceMemory)
		}
		if err != nil {
			return c, fmt.Errorf("-device-memory: %w", err)
		}
	}
	if kind == "cuda" {
		if memory > 0 {
			return describedCard(a.capability, memory)
		}
		d, err := a.openDevice()
		if err != nil {
			return c, fmt.Errorf("%w. To plan for a card that is elsewhere, describe it with -device-memory and "+
				"-compute-capability", err)
		}
		return d.Caps(), nil
	}
	c = cpu.PlanCaps(os.Getenv("STEPFLOW_CPU_ISA"))
	if memory > 0 {
		c.Memory = memory
	}
	return c, nil
}

// machine is this machine; nil for a plan for a card that is described, and is elsewhere.
func (a *app) machine() *plan.Machine {
	if kind, _, err := a.which(); err != nil || kind == "cuda" && a.opened == nil {
		return nil
	}
	m := &plan.Machine{Free: durable.Free}
	m.Memory, m.Available = cpu.Memory()
	m.Swap = cpu.Swap()
	return m
}

// describedCard is a card that need not be there, by its compute capability and memory.
func describedCard(capability string, memory int64) (gpu.Caps, error) {
	v, err := strconv.ParseFloat(capability, 64)
	if err != nil || v < 8 {
		return gpu.Caps{}, fmt.Errorf("-compute-capability: %q: a card needs 8.0 (A100), 8.6, 8.9 (Ada), 9.0 (H100) "+
			"or later", capability)
	}
	if memory <= cuda.Reserve {
		return gpu.Caps{}, fmt.Errorf("-device-memory: a card's context and libraries take %s beside the run: %s "+
			"leaves nothing for it",
			dsl.FormatBytes(cuda.Reserve), dsl.FormatBytes(memory))
	}
	return cuda.PlanCaps("CUDA, compute capability "+capability, memory), nil
}

func devicesCommand() command {
	return command{name: "devices", args: "[-json]", short: "Lists the devices this binary can use.",
		synopsis: "Lists the devices this binary can use, with memory.", example: "stepflow devices",
		flags: func(a *app, f *flag.FlagSet) { f.BoolVar(&a.json, "json", false, "write JSON for machines") },
		run: func(a *app, _ []string) int {
			d, err := a.openDevice()
			if err != nil {
				return a.fail(err)
			}
			defer d.Close()
			c := d.Caps()
			peak, half := d.PeakFLOPs(gpu.F32), d.PeakFLOPs(gpu.BF16)
			if a.json {
				list := []map[string]any{{"device": c.Kind, "name": c.Name, "memory_bytes": c.Memory,
					"threads": c.Threads, "peak_flops": peak,
					"peak_flops_bf16": half, "bandwidth": d.Bandwidth(), "precision": []string{"fp32", "bf16"}}}
				cards, err := cuda.Find()
				for i, c := range cards {
					list = append(list, map[string]any{"device": fmt.Sprintf("cuda:%d", i), "name": c.Name,
						"memory_bytes":       c.Total,
						"compute_capability": fmt.Sprintf("%d.%d", c.Major, c.Minor), "driver": c.Driver,
						"usable": c.Usable()})
				}
				if err != nil {
					list = append(list, map[string]any{"device": "cuda", "error": err.Error()})
				}
				a.line(list)
				return exitOK
			}
			fmt.Fprintf(a.stdout, "cpu   %s, %d threads, %s; measured: %sFLOP/s in fp32, %sFLOP/s in bf16, %sB/s\n",
				c.Name, c.Threads,
				dsl.FormatBytes(c.Memory), words.Count(peak), words.Count(half), words.Count(d.Bandwidth()))
			cards, err := cuda.Find()
			for i, c := range cards {
				fmt.Fprintf(a.stdout, "cuda:%d  %s\n", i, describe(c))
			}
			if err != nil {
				fmt.Fprintf(a.stdout, "cuda  none: %v\n", err)
			}
			return exitOK
		}}
}

// describe is a card in words, with the reason if it cannot be used.
func describe(c cuda.Card) string {
	s := fmt.Sprintf("%s, compute capability %d.%d, %s, %d multiprocessors, driver for CUDA %s",
		c.Name, c.Major, c.Minor,
		dsl.FormatBytes(c.Total), c.Processors, c.Driver)
	if !c.Usable() {
		s += "; not usable: stepflow's kernels need compute capability 8.0"
	}
	return s
}
