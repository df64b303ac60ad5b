package main

import (
	"strings"

	"stepflow/dsl"
	"stepflow/runtime/blocks"
	"stepflow/runtime/plan"
)

// machine writes what a plan takes of the machine beside the device: room on disks, and the host's memory. How much is free it
// writes only where that is too little.
func (v *planView) machine(p *plan.Plan) {
	disks := p.Disks()
	for _, d := range disks {
		on := ""
		if len(disks) > 1 {
			on = " on the disk of " + d.Folder
		}
		v.line("Disk: at most %s at a time%s, %s in the end.", dsl.FormatBytes(d.Most), on, netBytes(d.Stays))
	}
	h := p.Host()
	if h != nil {
		v.line("Host memory: %s.", h)
	}
	for _, d := range disks {
		v.tight(d.Problem())
	}
	if h != nil {
		v.tight(h.Problem())
	}
}

// takes writes what a block takes of the machine.
func (v *planView) takes(p *plan.Plan, x *plan.Action) {
	for _, r := range p.Rooms(x) {
		about := ""
		if r.Estimate {
			about = "about "
		}
		v.line("      %-11s %s%s at a time, %s in the end, in %s", "on disk", about, dsl.FormatBytes(r.Most),
			netBytes(r.Stays-r.Frees), r.Folder)
	}
	var list []string
	for _, h := range x.Phases() {
		list = append(list, h.Doing+" "+dsl.FormatBytes(h.Host(false)))
	}
	if len(list) > 0 {
		v.line("      %-11s %s; beside %s for the program", "host", strings.Join(list, ", "), dsl.FormatBytes(plan.ProcessBytes))
	}
}

// netBytes is how many bytes more there are.
func netBytes(n int64) string {
	if n < 0 {
		return dsl.FormatBytes(-n) + " less than now"
	}
	return dsl.FormatBytes(n)
}

// tight writes that there is too little room; sure says that apply refuses to begin.
func (v *planView) tight(problem string, sure bool) {
	switch problem = v.secrets.Redact(problem); {
	case problem == "":
	case sure:
		v.line("%s %s. apply does not begin.", v.paint(red, "!"), blocks.Sentence(problem))
	default:
		v.line("%s %s.", v.paint(yellow, "Warning:"), blocks.Sentence(problem))
	}
}

// addMachine adds what machine writes to a plan for machines.
func addMachine(m map[string]any, p *plan.Plan) {
	if disks := p.Disks(); len(disks) > 0 {
		m["disk"] = disks
	}
	if h := p.Host(); h != nil {
		m["host_memory"] = h
	}
}
