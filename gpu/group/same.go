package group

import (
	"fmt"
	"slices"
	"strings"
)

// Fact is something that should be the same on all ranks.
type Fact struct {
	Name  string
	Value string // what is compared: a hash where it is long
	Shown bool   // the value tells a reader something
	Mixed bool   // ranks may differ in it, at a price
}

// Difference is a fact that is not the same on all ranks, in words.
type Difference struct {
	Fact
	Text string
}

// Differences compares the facts of all ranks; list holds those of each rank. A rank may have some that others lack.
func (g *Group) Differences(list [][]Fact) (all []Difference) {
	var names []Fact
	values := make([]map[string]string, len(list))
	for r, facts := range list {
		values[r] = map[string]string{}
		for _, f := range facts {
			values[r][f.Name] = f.Value
			if !slices.ContainsFunc(names, func(x Fact) bool { return x.Name == f.Name }) {
				names = append(names, f)
			}
		}
	}
	for _, f := range names {
		var kinds []string // values, in the order of ranks
		with := map[string][]int{}
		for r := range list {
			v, ok := values[r][f.Name]
			if !ok {
				v = "\x00"
			}
			if with[v] == nil {
				kinds = append(kinds, v)
			}
			with[v] = append(with[v], r)
		}
		if len(kinds) == 1 {
			continue
		}
		var parts []string
		for _, v := range kinds {
			who := g.Names(with[v])
			switch {
			case v == "\x00":
				parts = append(parts, "missing on "+who)
			case f.Shown:
				parts = append(parts, v+" on "+who)
			default:
				parts = append(parts, fmt.Sprintf("%.8s on %s", v, who))
			}
		}
		all = append(all, Difference{f, f.Name + " differs: " + strings.Join(parts, "; ")})
	}
	return all
}

// Names are ranks in words, with their hosts: "ranks 1, 3 to 5 (node1, node2)".
func (g *Group) Names(list []int) string {
	var parts, hosts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		switch {
		case j == i:
			parts = append(parts, fmt.Sprint(list[i]))
		case j == i+1:
			parts = append(parts, fmt.Sprint(list[i]), fmt.Sprint(list[j]))
		default:
			parts = append(parts, fmt.Sprintf("%d to %d", list[i], list[j]))
		}
		i = j + 1
	}
	for _, r := range list {
		if h := g.Members[r].Host; !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	const shown = 4
	if n := len(hosts); n > shown {
		hosts = append(hosts[:shown:shown], fmt.Sprintf("and %d more hosts", n-shown))
	}
	word := "rank"
	if len(list) > 1 {
		word = "ranks"
	}
	return fmt.Sprintf("%s %s (%s)", word, strings.Join(parts, ", "), strings.Join(hosts, ", "))
}
