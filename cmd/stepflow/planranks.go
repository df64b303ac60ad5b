package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"stepflow/dsl"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/plan"
	"stepflow/runtime/program"
	"stepflow/runtime/scaling"
	"stepflow/runtime/words"
)

// imagined is what a plan is made for: ranks that need not be there, a link between them, and devices.
type imagined struct {
	ranks int
	link  scaling.Link  // without a bandwidth where none is known
	speed scaling.Speed // without flops where the rate of each stage counts
}

// scaled is a stage on these ranks: by shard, the chosen one marked.
type scaled struct {
	Address string            `json:"address"`
	Shard   program.Shard     `json:"shard"`
	Speed   scaling.Speed     `json:"speed"`
	Ranks   []*program.Scaled `json:"shards"`
}

// imagine reads the flags about ranks.
func imagine(ranks int, link, speed string) (i imagined, err error) {
	i.ranks = ranks
	if link != "" {
		if i.link, err = scaling.ParseLink(link); err != nil {
			return i, fmt.Errorf("-link: %w", err)
		}
	}
	if speed != "" {
		if i.speed, err = scaling.ParseSpeed(speed); err != nil {
			return i, fmt.Errorf("-speed: %w", err)
		}
	}
	return i, nil
}

// scale works out what the stages of a plan take on ranks.
func (a *app) scale(p *plan.Plan, i *imagined) (list []*scaled, err error) {
	if i.link.Bandwidth == 0 {
		i.link, _ = scaling.Recorded(p.State.Rates)
	}
	programs := program.NewPrograms(p.Caps)
	for _, x := range p.Actions {
		s, ok := x.Block.(*stage.Stage)
		if !ok || s.Imported != nil {
			continue
		}
		y := &scaled{Address: x.Addr.String(), Shard: s.Shard, Speed: i.speed}
		if y.Speed.FLOPs == 0 {
			y.Speed.FLOPs = s.DeviceRate()
			if a.opened != nil && y.Speed.FLOPs > 0 {
				y.Speed.Bandwidth = a.opened.Bandwidth()
			}
		}
		for _, shard := range program.Shards {
			z, err := programs.Scale(&s.Stage, i.ranks, shard, s.Checkpointing, y.Speed, i.link)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", x.Addr, err)
			}
			y.Ranks = append(y.Ranks, z)
		}
		list = append(list, y)
	}
	return list, nil
}

// scaledText is what stages take on ranks, as a table.
func scaledText(list []*scaled, i imagined) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s, ", words.Plural(i.ranks, "rank"))
	switch l := i.link; {
	case l.Bandwidth == 0:
		b.WriteString("no link described: give -link, or measure one with stepflow bench -ranks.\n")
	default:
		name := ""
		if l.Name != "" {
			name = l.Name + ": "
		}
		fmt.Fprintf(&b, "%s%.3g us and %sB/s. Bytes are of the rank with most, as its program takes them; sent is the mean of all ranks.\n",
			name, 1e6*l.Latency, words.Count(l.Bandwidth))
	}
	for _, s := range list {
		b.WriteString("\n" + s.Address)
		if s.Speed.FLOPs > 0 {
			fmt.Fprintf(&b, ", at %sFLOP/s", words.Count(s.Speed.FLOPs))
			if s.Speed.Bandwidth > 0 {
				fmt.Fprintf(&b, " and %sB/s of memory", words.Count(s.Speed.Bandwidth))
			}
		}
		b.WriteString("\n")
		kinds := slices.DeleteFunc(slices.Clone(program.ByteKinds), func(k string) bool {
			return !slices.ContainsFunc(s.Ranks, func(x *program.Scaled) bool { return x.ByKind[k] > 0 })
		})
		fmt.Fprintf(&b, "  %-11s %10s", "shard", "a rank")
		for _, k := range kinds {
			fmt.Fprintf(&b, " %11s", k)
		}
		fmt.Fprintf(&b, " %11s %9s %9s\n", "sent a step", "step", "waiting")
		for _, x := range s.Ranks {
			mark := " "
			if x.Shard == s.Shard {
				mark = "*"
			}
			fmt.Fprintf(&b, "%s %-11s %10s", mark, x.Shard, dsl.FormatBytes(x.Bytes))
			for _, k := range kinds {
				fmt.Fprintf(&b, " %11s", dsl.FormatBytes(x.ByKind[k]))
			}
			step, waiting := "?", "?"
			if x.Seconds > 0 && i.link.Bandwidth > 0 {
				step, waiting = shortTime(x.Seconds), fmt.Sprintf("%.1f %%", 100*x.Exposed/x.Seconds)
			}
			fmt.Fprintf(&b, " %11s %9s %9s\n", dsl.FormatBytes(x.Sent), step, waiting)
		}
	}
	return b.String()
}

// shortTime writes the time of a step with three digits, which tell shards apart.
func shortTime(seconds float64) string {
	if seconds >= 10 {
		return words.Duration(seconds)
	}
	d, digit := time.Duration(seconds*float64(time.Second)), time.Duration(1)
	for d/digit >= 1000 {
		digit *= 10
	}
	return d.Round(digit).String()
}
