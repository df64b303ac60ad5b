package main

import (
	"flag"
	"fmt"
	"strings"

	"stepflow/dsl"
	"stepflow/gpu/cuda"
	"stepflow/runtime/blocks/stage"
)

// cardFit is what becomes of the stages on a card.
type cardFit struct {
	cuda.Model
	Capability string      `json:"compute_capability,omitempty"` // "" for an amount of memory
	Usable     bool        `json:"usable"`
	Stages     []*stageFit `json:"stages"`
}

// stageFit is a stage on a card.
type stageFit struct {
	Address string `json:"address"`
	*stage.Room
}

func fitsCommand() command {
	var cards string
	return command{name: "fits", args: "[flags] [DIR]", most: 1,
		short: "Says which cards the stages fit.",
		synopsis: "Says for every card of a list whether the stages of a pipeline fit it: as they are, with a smaller " +
			"micro-batch or with activations computed again, or by how much they miss and what would help. No card " +
			"need be there, and nothing is run. Peaks are those that plan shows for a card, to the byte; of a stage that is " +
			"measured on tasks between steps plan may show less, never more.",
		example: "stepflow fits pipelines/quickstart\n" +
			"stepflow fits -cards 'RTX 4090, L4, 10GiB' -var size=1.2B pipelines/paper",
		flags: func(a *app, f *flag.FlagSet) {
			f.BoolVar(&a.json, "json", false, "write JSON for machines")
			f.StringVar(&a.stateDir, "state-dir", "", "folder of state, checkpoints and caches (default: .stepflow in DIR)")
			lying(a, f)
			variables(a, f)
			f.StringVar(&cards, "cards", "",
				"the cards, by name or memory, as \"RTX 4090, 16GiB\" (default: those that are usual)")
		},
		run: func(a *app, args []string) int {
			list, err := cardsOf(cards)
			if err != nil {
				return a.fail(err)
			}
			var most int64
			for _, c := range list {
				most = max(most, c.Memory)
			}
			a.device, a.capability, a.deviceMemory = "cuda", "8.0", fmt.Sprintf("%d B", most)
			p, ok := a.plan(args, false)
			if !ok {
				return exitError
			}
			stages := 0
			for _, x := range p.Actions {
				s, ok := x.Block.(*stage.Stage)
				if !ok || s.Imported != nil {
					continue
				}
				stages++
				for _, c := range list {
					if !c.Usable {
						continue
					}
					r, err := s.Room(cuda.PlanCaps(c.Name, c.Memory).Memory)
					if err != nil {
						return a.fail(fmt.Errorf("%s: %w", x.Addr, err))
					}
					c.Stages = append(c.Stages, &stageFit{x.Addr.String(), r})
				}
			}
			switch {
			case a.json:
				a.line(map[string]any{"format_version": "1.0", "type": "fits", "reserve_bytes": cuda.Reserve, "cards": list})
			case stages == 0:
				fmt.Fprintln(a.stdout, "No stage of the pipeline can be planned yet.")
			default:
				fmt.Fprint(a.stdout, a.cardsText(list))
			}
			return exitOK
		}}
}

// cardsOf reads the flag -cards.
func cardsOf(text string) (list []*cardFit, err error) {
	add := func(m cuda.Model) {
		list = append(list, &cardFit{Model: m, Capability: m.Capability(), Usable: m.Usable()})
	}
	if text == "" {
		for _, m := range cuda.Models {
			add(m)
		}
		return list, nil
	}
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		if m, ok := cuda.FindModel(word); ok {
			add(m)
			continue
		}
		if names := cuda.Named(word); len(names) > 0 {
			return nil, fmt.Errorf("-cards: there is no card %q. Did you mean \"%s\"?", word, strings.Join(names, `" or "`))
		}
		if _, err := dsl.ParseBytes(word); err != nil {
			var names []string
			for _, m := range cuda.Models {
				names = append(names, m.Name)
			}
			return nil, fmt.Errorf("-cards: %q is neither an amount of memory, such as 24GiB, nor one of %s", word,
				strings.Join(names, ", "))
		}
		n, err := dsl.ParseMemory(word)
		if err != nil {
			return nil, fmt.Errorf("-cards: %w", err)
		}
		if n <= cuda.Reserve {
			return nil, fmt.Errorf("-cards: a card's context and libraries take %s beside the run: %s leaves nothing for it",
				dsl.FormatBytes(cuda.Reserve), word)
		}
		list = append(list, &cardFit{Model: cuda.Model{Name: word, Memory: n}, Usable: true})
	}
	return list, nil
}

// cardsText is a table of the cards with a line for each stage.
func (a *app) cardsText(list []*cardFit) string {
	type row struct {
		card *cardFit
		at   *stageFit
	}
	var rows []row
	for _, c := range list {
		for _, s := range c.Stages {
			rows = append(rows, row{c, s})
		}
		if !c.Usable {
			rows = append(rows, row{card: c})
		}
	}
	g := grid{rows: len(rows)}
	once := func(text func(*cardFit) string) func(int) string {
		return func(i int) string {
			if i > 0 && rows[i-1].card == rows[i].card {
				return ""
			}
			return text(rows[i].card)
		}
	}
	g.column("card", false, once(func(c *cardFit) string { return c.Name }))
	g.column("memory", true, once(func(c *cardFit) string { return dsl.FormatBytes(c.Memory) }))
	g.column("stage", false, func(i int) string {
		if rows[i].at == nil {
			return ""
		}
		return rows[i].at.Address
	})
	g.column("peak", true, func(i int) string {
		if rows[i].at == nil {
			return ""
		}
		return dsl.FormatBytes(rows[i].at.Fit.Bytes)
	})
	g.column("", false, func(i int) string {
		r := rows[i]
		if r.at == nil {
			return a.paint(red, fmt.Sprintf("cannot be used: compute capability %s, and the kernels need 8.0", r.card.Capability))
		}
		return a.paint(map[stage.Verdict]color{stage.FitsAsItIs: green, stage.FitsLess: yellow, stage.FitsNot: red}[r.at.Verdict],
			r.at.Room.String())
	})
	return g.text(0) + fmt.Sprintf("\nOf the memory of a card, %s are for its driver and libraries.\n",
		dsl.FormatBytes(cuda.Reserve))
}
