package main

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"maps"
	"math"
	"slices"
	"strings"

	"stepflow/dsl"
	"stepflow/runtime"
	"stepflow/runtime/metrics"
	"stepflow/runtime/state"
)

func (r *report) render() ([]byte, error) {
	t, err := template.New("report").Parse(reportHTML)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, r); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

type point struct{ tokens, flops float64 }

// series is the loss of a stage, behind what the stages before it have seen.
type series struct {
	name  string
	from  point
	steps []metrics.Step
	grown bool
}

func (s series) end() point {
	if len(s.steps) == 0 {
		return s.from
	}
	last := s.steps[len(s.steps)-1]
	return point{s.from.tokens + float64(last.Tokens), s.from.flops + float64(last.FLOPs)}
}

func (s series) x(i int, flops bool) float64 {
	if flops {
		return s.from.flops + float64(s.steps[i].FLOPs)
	}
	return s.from.tokens + float64(s.steps[i].Tokens)
}

const (
	chartW, chartH          = 860, 320
	left, right, top, under = 56, 16, 14, 40
)

// svg is a drawing under construction.
type svg struct{ strings.Builder }

func newSVG(w, h int, title string) *svg {
	s := &svg{}
	fmt.Fprintf(s, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, w, h, html.EscapeString(title))
	return s
}

func (s *svg) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(s, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`, x, y, class, anchor, html.EscapeString(text))
}

func (s *svg) done() template.HTML { return template.HTML(s.String() + "</svg>") }

// ticks gives about n round values from lo to hi.
func ticks(lo, hi float64, n int) (list []float64) {
	if !(hi > lo) {
		return []float64{lo}
	}
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/float64(n))))
	for _, m := range []float64{1, 2, 5, 10} {
		if (hi-lo)/(step*m) <= float64(n) {
			step *= m
			break
		}
	}
	for v := math.Ceil(lo/step) * step; v <= hi+step*1e-9; v += step {
		list = append(list, v)
	}
	return list
}

// lossChart draws the training loss of all stages over tokens or FLOPs: each step faint, an
// exponential mean on top, a dashed line where the model grew.
func lossChart(curves []series, flops bool) (template.HTML, []legend) {
	var hi, lowest, highest = 0.0, math.Inf(1), math.Inf(-1)
	for _, c := range curves {
		for i, s := range c.steps {
			hi = math.Max(hi, c.x(i, flops))
			if !s.Skipped {
				lowest, highest = math.Min(lowest, s.Loss), math.Max(highest, s.Loss)
			}
		}
	}
	if hi == 0 || math.IsInf(lowest, 0) {
		return "", nil
	}
	unit := "tokens"
	if flops {
		unit = "FLOPs"
	}
	pad := (highest - lowest) * 0.05
	lowest, highest = lowest-pad, highest+pad+1e-9
	px := func(x float64) float64 { return left + x/hi*(chartW-left-right) }
	py := func(y float64) float64 { return top + (highest-y)/(highest-lowest)*(chartH-top-under) }
	s := newSVG(chartW, chartH, "Training loss over "+unit)
	for _, y := range ticks(lowest, highest, 6) {
		fmt.Fprintf(s, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, left, chartW-right, py(y), py(y))
		s.text(left-6, py(y)+4, "tick", "end", fmt.Sprintf("%.4g", y))
	}
	for _, x := range ticks(0, hi, 7) {
		s.text(px(x), chartH-under+18, "tick", "middle", count(x))
	}
	s.text(chartW/2, chartH-6, "label", "middle", unit)
	s.text(14, top+4, "label", "start", "loss, nats a token")
	var keys []legend
	for n, c := range curves {
		if len(c.steps) == 0 {
			continue
		}
		class := fmt.Sprintf("c%d", n%8)
		keys = append(keys, legend{class, c.name})
		if c.grown {
			x := px(map[bool]float64{false: c.from.tokens, true: c.from.flops}[flops])
			fmt.Fprintf(s, `<line class="grow" x1="%.1f" x2="%.1f" y1="%d" y2="%d"><title>grown: %s</title></line>`, x, x, top, chartH-under, html.EscapeString(c.name))
		}
		var raw, smooth []string
		mean, weight := 0.0, 0.0
		for i, m := range c.steps {
			if m.Skipped {
				continue
			}
			mean, weight = 0.9*mean+0.1*m.Loss, 0.9*weight+0.1
			raw = append(raw, fmt.Sprintf("%.1f,%.1f", px(c.x(i, flops)), py(m.Loss)))
			smooth = append(smooth, fmt.Sprintf("%.1f,%.1f", px(c.x(i, flops)), py(mean/weight)))
		}
		fmt.Fprintf(s, `<polyline class="raw %s" points="%s"/><polyline class="line %s" points="%s"><title>%s</title></polyline>`,
			class, strings.Join(raw, " "), class, strings.Join(smooth, " "), html.EscapeString(c.name))
	}
	return s.done(), keys
}

// memoryChart draws for each stage a bar of its planned bytes by kind, a mark at what was measured,
// and vanilla training beside it.
func memoryChart(p *runtime.Plan, d *state.Dir) (template.HTML, []legend) {
	type bar struct {
		name    string
		kinds   map[string]int64
		total   int64
		measure int64
	}
	var bars []bar
	most := int64(1)
	for _, a := range p.Actions {
		if a.Stage == nil {
			continue
		}
		f := a.Stage.Figures
		b := bar{name: a.Addr.String(), kinds: f.ByKind, total: f.Peak}
		if st := d.State.Blocks[a.Addr.String()]; st != nil && st.Memory != nil {
			b.measure = st.Memory.Measured
		}
		v := a.Stage.Vanilla
		bars = append(bars, b, bar{name: "vanilla", kinds: v.ByKind, total: v.Peak})
		most = max(most, f.Peak, v.Peak, b.measure)
	}
	if len(bars) == 0 {
		return "", nil
	}
	const row, label = 22, 170
	h := len(bars)*row + len(bars)/2*10 + 8
	s := newSVG(chartW, h, "Device memory of each stage by kind, vanilla training beside it")
	scale := float64(chartW-label-90) / float64(most)
	y := 6.0
	for i, b := range bars {
		class := "tick"
		if i%2 == 0 {
			class = "label"
		}
		s.text(label-8, y+row/2+2, class, "end", b.name)
		x := float64(label)
		for n, k := range runtime.ByteKinds {
			w := float64(b.kinds[k]) * scale
			fmt.Fprintf(s, `<rect class="k%d%s" x="%.1f" y="%.1f" width="%.1f" height="%d"><title>%s: %s %s</title></rect>`,
				n, map[bool]string{true: " faint"}[i%2 == 1], x, y, w, row-6, html.EscapeString(b.name), k, dsl.FormatBytes(b.kinds[k]))
			x += w
		}
		s.text(x+6, y+row/2+2, "tick", "start", dsl.FormatBytes(b.total))
		if b.measure > 0 {
			m := float64(label) + float64(b.measure)*scale
			fmt.Fprintf(s, `<line class="measured" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"><title>measured: %d bytes, planned: %d</title></line>`, m, m, y-3, y+row-3, b.measure, b.total)
		}
		y += row
		if i%2 == 1 {
			y += 10
		}
	}
	var keys []legend
	for n, k := range runtime.ByteKinds {
		keys = append(keys, legend{fmt.Sprintf("k%d", n), k})
	}
	return s.done(), keys
}

// graphChart lays the blocks out in columns by how far they are from the start.
func graphChart(p *runtime.Plan, d *state.Dir) template.HTML {
	depth := map[string]int{}
	var columns [][]*runtime.Action
	for _, a := range p.Actions {
		n := 0
		for in := range a.Inputs {
			n = max(n, depth[in]+1)
		}
		depth[a.Addr.String()] = n
		for len(columns) <= n {
			columns = append(columns, nil)
		}
		columns[n] = append(columns[n], a)
	}
	if len(columns) == 0 {
		return ""
	}
	const w, h, gapX, gapY = 172, 40, 36, 14
	tallest := 0
	for _, c := range columns {
		tallest = max(tallest, len(c))
	}
	width, height := len(columns)*(w+gapX)+8, tallest*(h+gapY)+8
	s := newSVG(width, height, "Graph of the pipeline's blocks")
	type at struct{ x, y float64 }
	places := map[string]at{}
	for i, c := range columns {
		for j, a := range c {
			y := float64(j*(h+gapY)) + float64(tallest-len(c))*(h+gapY)/2 + 4
			places[a.Addr.String()] = at{float64(i*(w+gapX)) + 4, y}
		}
	}
	for _, a := range p.Actions {
		to := places[a.Addr.String()]
		for _, in := range slices.Sorted(maps.Keys(a.Inputs)) {
			from, ok := places[in]
			if !ok {
				continue
			}
			x1, y1, x2, y2 := from.x+w, from.y+h/2, to.x, to.y+h/2
			fmt.Fprintf(s, `<path class="edge" d="M%.1f,%.1f C%.1f,%.1f %.1f,%.1f %.1f,%.1f"/>`, x1, y1, x1+gapX, y1, x2-gapX, y2, x2, y2)
		}
	}
	for _, a := range p.Actions {
		pl := places[a.Addr.String()]
		status := string(a.Verb)
		if b := d.State.Blocks[a.Addr.String()]; b != nil {
			status = b.Status
		}
		fmt.Fprintf(s, `<g><title>%s: %s</title><rect class="node %s" x="%.1f" y="%.1f" width="%d" height="%d" rx="5"/>`,
			html.EscapeString(a.Addr.String()), html.EscapeString(status), strings.ReplaceAll(status, " ", "-"), pl.x, pl.y, w, h)
		name := a.Addr.String()
		if len(name) > 26 {
			name = "…" + name[len(name)-25:]
		}
		s.text(pl.x+w/2, pl.y+17, "node-name", "middle", name)
		sub := status
		if a.Stage != nil {
			sub = fmt.Sprintf("%d layers · %s", len(a.Stage.Layers), status)
		}
		s.text(pl.x+w/2, pl.y+32, "node-sub", "middle", sub)
		s.WriteString("</g>")
	}
	return template.HTML(strings.Replace(string(s.done()), "<svg ", fmt.Sprintf(`<svg style="min-width:%dpx" `, width*3/4), 1))
}
